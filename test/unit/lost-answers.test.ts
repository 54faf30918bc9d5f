/** Puts and gets where frames are lost. */
import { decode } from '@msgpack/msgpack'
import { expect, test } from 'vitest'
import { named, nodeOf, openRing } from '../paper/ring.js'
import { typeOf } from '../sim/trace.js'

// Two homes had said by their digests what there is. The one that was asked for it was waited for until the time was up, and with it went the quorum and the value.
test('a value whose sending was lost is asked for again, and not given up with its vote', async () => {
  const ring = await openRing(3, { patienceMinMs: 100 })
  const [writer, , reader] = ring.homes('k')
  const { knobs } = ring.world.network
  let lost = 0
  knobs.lose = (_, to, frame) => {
    if (typeOf(frame) === 'Store') return to === reader.id
    const isFull = typeOf(frame) === 'Read' && (decode(frame) as unknown[])[6] === true
    return isFull && lost++ === 0
  }
  await ring.client(writer).put('k', 'value', { w: 2 })
  const start = ring.world.time.now
  const { met, container } = await ring.await(nodeOf(reader).coordinator.get(named('k'), { r: 2, strictQuorum: false }))
  expect(lost).toBeGreaterThan(1)
  expect(met).toBe(true)
  expect(container.siblings).toHaveLength(1)
  expect(ring.world.time.now - start).toBeLessThan(1000)
})

// It was five: the first sending was not counted.
test('a put is sent four times to a home that says nothing, and no more', async () => {
  const ring = await openRing(3, { patienceMinMs: 100, patienceMaxMs: 100, hintedHandoff: false })
  const [writer, silent] = ring.homes('k')
  ring.world.network.knobs.lose = (from, _, frame) => from === silent.id && typeOf(frame) === 'Stored'
  const sent = await ring.messages(async () => {
    await ring.client(writer).put('k', 'value', { w: 3 })
  })
  expect(sent.filter(({ type, to }) => type === 'Store' && to === silent.id)).toHaveLength(4)
})
