/** A home's answer to a read counts only with the versions that it stands for. */
import { expect, test } from 'vitest'
import type { Copies } from '../../src/core/requests/copies.js'
import { coordinateGet } from '../../src/core/requests/get.js'
import type { Replica } from '../../src/core/requests/replica.js'
import { type Container, EMPTY_CONTAINER } from '../../src/core/versions/container.js'
import { type Tab, named, nodeOf, openRing, textsOf } from '../paper/ring.js'
import { typeOf } from '../sim/trace.js'

const TRUE = 0xc3

/** A promise, and how to fulfil it. */
function deferred<T>(): { promise: Promise<T>; resolve: (value: T) => void } {
  let resolve: (value: T) => void = () => {}
  const promise = new Promise<T>((fulfil) => {
    resolve = fulfil
  })
  return { promise, resolve }
}

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

// The vote of this tab's own disk was counted a moment before its versions were there (seed 3095).
test('whenever the own disk answers a get that is over time, it counts with what it has or not at all', async () => {
  const ring = await openRing(1)
  const [home] = ring.tabs as [Tab]
  await ring.client(home).put('k', 'there')
  const { routing, peers, replica, options } = nodeOf(home)
  const { tuning } = options
  const found = await ring.await(replica.read([named('k')]))
  for (let turns = 0; turns < 40; turns++) {
    const [own, copy] = [deferred<Container[]>(), deferred<Container>()]
    const outcome = coordinateGet(
      named('k'),
      { r: 1, strictQuorum: false },
      {
        routing,
        peers,
        replica: Object.assign(Object.create(replica) as Replica, { read: () => own.promise }),
        copies: { find: () => copy.promise } as unknown as Copies,
        clock: {
          now: () => ring.world.time.now,
          wallTime: () => 0,
          setTimer: (delayMs, callback) => ring.world.time.at(delayMs, callback),
        },
        tuning,
        isComplete: () => true,
        mayRepair: () => false,
        repaired: () => {},
        onError: (error) => expect.fail(String(error)),
      },
    )
    await ring.pass(tuning.requestTimeoutMs + 1)
    copy.resolve(EMPTY_CONTAINER)
    for (let turn = 0; turn < turns; turn++) await undefined
    own.resolve(found)
    const { met, container } = await outcome
    expect({ turns, there: container.siblings.length > 0 }).toEqual({ turns, there: met })
  }
})

// With n = 1, and with r = 1 where w = n, gets showed former values while tabs came and went, and called that a quorum of homes.
test('what a home still has from its last time as a home is no answer as long as one that has all data may answer', async () => {
  const ring = await openRing(4, { hintedHandoff: false, merkleSync: false, readRepair: false })
  const [reader] = ring.others('k')
  const [late, ...others] = ring.homes('k')
  const { knobs } = ring.world.network
  const client = ring.client(others[0] as Tab)
  await client.put('k', 'former', { w: 3 })
  // Its fetching of what it may lack never gets anywhere.
  knobs.lose = (_, to, frame) => to === late.id && ['Store', 'Complete'].includes(typeOf(frame))
  knobs.latency = (from, to) => (from === late.id || to === late.id ? 1 : 30)
  nodeOf(late).duties.distrustAll()
  await client.put('k', 'now', { w: 2 })
  await ring.pass(10_000)
  expect(nodeOf(late).duties.filling().length).toBeGreaterThan(0)
  const { met, sloppy, container } = await ring.client(reader).ask('k', { r: 1 })
  expect([met, sloppy, textsOf(container)]).toEqual([true, false, ['now']])
})

test('a node that knows better than to be a home of the key is none, whatever the reader believes', async () => {
  const ring = await openRing(4)
  const [reader] = ring.others('k')
  await ring.client(reader).put('k', 'there', { w: 3 })
  const [former] = ring.homes('k')
  nodeOf(former).duties.isHome = () => false
  expect(await ring.client(reader).ask('k', { r: 3 })).toMatchObject({ met: true, sloppy: true, answers: 3 })
  expect(await ring.client(reader).ask('k', { r: 3, strictQuorum: true })).toMatchObject({ met: false, answers: 2 })
})
