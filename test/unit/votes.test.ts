/** A home's answer to a read counts only with the versions that it stands for. */
import { expect, test } from 'vitest'
import { type Tab, nodeOf, openRing } from '../paper/ring.js'
import { typeOf } from '../sim/trace.js'

const TRUE = 0xc3

// The digest of a second home that said the same was counted, although the versions behind it had not come (seed 361).
test('homes that say the same are asked one after the other for what they have, until one gives it', async () => {
  const ring = await openRing(4, { hintedHandoff: false, merkleSync: false, readRepair: false })
  const [reader] = ring.others('k')
  const { routing } = nodeOf(reader)
  const [nearest, other] = ring.homes('k').toSorted((a, b) => routing.distance(a.id) - routing.distance(b.id)) as [
    Tab,
    Tab,
  ]
  const { knobs } = ring.world.network
  knobs.lose = (_, to, frame) => to === nearest.id && typeOf(frame) === 'Store'
  await ring.client(other).put('k', 'there')
  await ring.pass(10_000)
  // The nearest, which is asked for all it has, has nothing. Of the others, who say the same, one never hears that its versions are wanted.
  let deaf: string | undefined
  knobs.lose = (_, to, frame) => {
    if (to === nearest.id || typeOf(frame) !== 'Read' || frame.at(-1) !== TRUE) return false
    deaf ??= to
    return to === deaf
  }
  expect(await ring.client(reader).get('k', { r: 3 })).toEqual(['there'])
  expect(deaf).toBeDefined()
})
