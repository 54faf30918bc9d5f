/** Whose answer counts: a home's to a read, only with the versions that it stands for; and nobody's as a home's that counts itself none. */
import { expect, test } from 'vitest'
import { shapes } from '../../src/core/messages.js'
import type { Replica } from '../../src/core/replica/replica.js'
import type { Copies } from '../../src/core/requests/copies.js'
import { coordinateGet } from '../../src/core/requests/get.js'
import { type Container, EMPTY_CONTAINER } from '../../src/core/versions/container.js'
import { type Tab, named, nodeOf, openRing, replicaAt, textsOf } from '../paper/ring.js'
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

// A put counted it as a home, a get did not.
test('a node that knows better confirms no put as a home, whatever the writer believes; an older build does not say', async () => {
  const ring = await openRing(4)
  const [writer] = ring.others('k')
  const [former] = ring.homes('k')
  const client = ring.client(writer)
  nodeOf(former).duties.isHome = () => false
  expect(await client.put('k', '1', { w: 3 })).toMatchObject({ met: true, sloppy: true, answers: 3 })
  expect(await client.put('k', '2', { w: 3, strictQuorum: true })).toMatchObject({ met: false, answers: 2 })
  expect(await client.put('k', '3', { w: 2, strictQuorum: true })).toMatchObject({ met: true, sloppy: false })
  // It has the put all the same, and hands it over: the writer waits for nobody.
  await ring.pass(2000)
  expect(replicaAt(former, 'k')).toEqual(['3'])
  expect(nodeOf(writer).replica.hints.pending).toBe(0)
  nodeOf(former).peers.handle('Store', () => ({ type: 'Stored', refused: [], home: undefined }))
  expect(await client.put('k', '4', { w: 3, strictQuorum: true })).toMatchObject({ met: true, sloppy: false })
})

// It was refused at once: the writer had heard a few milliseconds before the home that this is one now (seed 150023).
test('a strict put gives a home a moment to hear that it is one', async () => {
  const ring = await openRing(5)
  const [late] = ring.homes('k')
  const writer = ring.others('k')[0] as Tab
  const { peers } = nodeOf(late)
  const since = ring.world.time.now
  peers.handle('Store', () => ({ type: 'Stored', refused: [], home: ring.world.time.now - since > 200 }))
  expect(await ring.client(writer).put('k', 'there', { w: 3, strictQuorum: true })).toMatchObject({ met: true })
  expect(ring.world.time.now - since).toBeLessThan(1000)
})

// With r + w > n, a strict get denied what a strict put had confirmed: one of its two was a former home, which only its writer took for one.
test('while a newcomer takes over from a home, a strict put is confirmed by those whom a strict get asks', async () => {
  const GOSSIP: number[] = [shapes.Gossip.code, shapes.GossipReply.code, shapes.Members.code]
  let writer: Tab | undefined
  const lose = (_: string, to: string, frame: Uint8Array) => to === writer?.id && GOSSIP.includes(frame[1] as number)
  const ring = await openRing(7, { standInAfterMs: 1e9 }, { knobs: { lose } })
  const stale = ring.tab(0)
  writer = stale
  const { network } = ring.world
  const newcomer = ring.world.addPlace()
  network.cut(newcomer.id, stale.id)
  await ring.world.start(newcomer)
  const others = ring.tabs.filter((tab) => tab !== stale)
  await ring.until('all others know it', () =>
    others.every((tab) => nodeOf(tab).membership.placed().length === 8 && nodeOf(tab).duties.filling().length === 0),
  )
  await ring.pass(2000)
  const homesAt = (tab: Tab, key: string) => nodeOf(tab).routing.homes(named(key))
  const key = Array.from({ length: 300 }, (_, i) => `k${i}`).find((one) => {
    const isStranger = [stale, newcomer].every((tab) => !homesAt(tab, one).includes(stale.id))
    return isStranger && homesAt(newcomer, one).includes(newcomer.id)
  }) as string
  const believed = ring.tabsOf(homesAt(stale, key))
  const former = believed.find((tab) => !homesAt(newcomer, key).includes(tab.id)) as Tab
  const [common, missed] = believed.filter((tab) => tab !== former) as [Tab, Tab]
  const reader = others.find((tab) => ![newcomer, ...believed].includes(tab)) as Tab
  // One link each: the put does without one home, the get without another.
  network.cut(stale.id, missed.id)
  network.cut(reader.id, common.id)
  await ring.pass(8000)
  const put = (strictQuorum: boolean) => ring.client(stale).put(key, 'there', { w: 2, strictQuorum })
  expect(await put(true)).toMatchObject({ met: false, answers: 1 })
  // Which may have missed it: sync alone brings it from the one home to the others.
  expect(await ring.client(reader).ask(key, { r: 2, strictQuorum: true })).toMatchObject({ met: true })
  expect(await put(false)).toMatchObject({ met: true, sloppy: true })
})

// They were two, and the third home, the only one that was whole, took longer than usual: what had replaced theirs was not seen, and the quorum was met.
test.each([true, false])(
  'homes that wait for their data do not outvote one that is slow (strict: %s)',
  async (strictQuorum) => {
    const ring = await openRing(6, { replaceAfterMs: 20_000, readRepair: false })
    const [first, second, whole] = ring.homes('k')
    const [reader] = ring.others('k').toReversed() as [Tab]
    await ring.client(reader).put('k', 'old', { w: 3 })
    await ring.pass(3000)
    ring.crash(first, second)
    await ring.until('others are homes', () => !ring.homes('k').includes(first) && !ring.homes('k').includes(second))
    await ring.pass(5000)
    const writer = ring.client(whole)
    await writer.get('k')
    expect(await writer.put('k', 'new', { w: 2, strictQuorum: true })).toMatchObject({ met: true })
    await ring.pass(5000)
    const { knobs } = ring.world.network
    // Those who come back get nothing yet.
    knobs.lose = (_, to, frame) =>
      [first.id, second.id].includes(to) && ['Entries', 'Store', 'Roots'].includes(typeOf(frame))
    await ring.reopen(first, second)
    await ring.until('they are homes again', () => {
      const homes = ring.homes('k', reader)
      return homes.includes(first) && homes.includes(second) && homes.includes(whole)
    })
    await ring.pass(2000)
    knobs.latency = (from, _, frame) => (from === whole.id && typeOf(frame) === 'ReadResult' ? 1200 : 10)
    const outcome = await ring.client(reader).ask('k', { r: 2, strictQuorum })
    expect({ met: outcome.met, texts: textsOf(outcome.container) }).toEqual({ met: true, texts: ['new'] })
  },
)

test('where homes that wait for their data are all that can vote, no more others are asked than may have been homes', async () => {
  const ring = await openRing(12, { hintedHandoff: false, merkleSync: false, readRepair: false })
  const homes = ring.homes('k')
  const [reader] = ring.others('k')
  await ring.client(reader).put('k', 'there', { w: 3 })
  ring.world.network.knobs.lose = (_, __, frame) => typeOf(frame) === 'Complete'
  for (const home of homes) nodeOf(home).duties.distrustAll()
  const { sent } = ring.world.trace
  const before = sent.get('Read') ?? 0
  expect(await ring.client(reader).ask('k', { r: 2 })).toMatchObject({ met: true, sloppy: false })
  expect((sent.get('Read') ?? 0) - before).toBeLessThan(2 * homes.length)
})

test('once a get has its answer, nobody is asked in the place of those who say nothing', async () => {
  const ring = await openRing(6, { hintedHandoff: false, merkleSync: false, readRepair: false })
  const [home, ...others] = ring.homes('k')
  await ring.client(home).put('k', 'there', { w: 3 })
  const silent = others.map(({ id }) => id)
  ring.world.network.knobs.lose = (_, to, frame) => silent.includes(to as Tab['id']) && typeOf(frame) === 'Read'
  const { sent } = ring.world.trace
  expect(await ring.client(home).get('k', { r: 1 })).toEqual(['there'])
  const before = sent.get('Read')
  await ring.pass(10_000)
  expect(sent.get('Read')).toBe(before)
})

test('a tab that loses its disk while it reads it denies nothing', async () => {
  const ring = await openRing(3, { merkleSync: false, readRepair: false }, { quiet: false })
  const [home] = ring.homes('k')
  await ring.client(home).put('k', 'there', { w: 3 })
  const outcome = nodeOf(home).coordinator.get(named('k'), { r: 1, strictQuorum: false })
  home.storage?.empty()
  const { met, container } = await ring.await(outcome)
  expect({ met, texts: textsOf(container) }).toEqual({ met: true, texts: ['there'] })
})

test('nor one that does so while it reads it for another', async () => {
  const ring = await openRing(4, { merkleSync: false, readRepair: false }, { quiet: false })
  const [reader] = ring.others('k')
  const [home] = ring.homes('k')
  await ring.client(home).put('k', 'there', { w: 3 })
  await ring.pass(5000)
  ring.world.network.knobs.latency = (from, to) => (from === home.id || to === home.id ? 1 : 30)
  const { storage } = home
  if (!storage) throw new Error('it is open')
  const get = storage.get.bind(storage)
  storage.get = (addresses) => {
    const rows = get(addresses)
    storage.empty()
    return rows
  }
  const { met, container } = await ring.client(reader).ask('k', { r: 1 })
  expect({ met, texts: textsOf(container) }).toEqual({ met: true, texts: ['there'] })
})

// It had said that it has the key and all else, and then that it has nothing: with the one answer's word for the other, that was a met "not found".
test('a home that loses its disk between its digest and its versions denies nothing', async () => {
  const ring = await openRing(4, { hintedHandoff: false, merkleSync: false, readRepair: false }, { quiet: false })
  const [reader] = ring.others('k')
  const [victim, ...others] = ring.homes('k')
  await ring.client(reader).put('k', 'there', { w: 3 })
  const { knobs } = ring.world.network
  let isLost = false
  knobs.lose = (_, to, frame) => {
    if (typeOf(frame) !== 'Read') return false
    if (to === victim.id && frame.at(-1) === TRUE && !isLost) {
      isLost = true
      victim.storage?.empty()
    }
    // The others do not hear of the get before that.
    return to !== victim.id && !isLost
  }
  knobs.latency = (_, to) => (to === victim.id ? 20 : 10)
  await ring.pass(5000)
  const { met, container } = await ring.client(reader).ask('k', { r: 1 })
  expect({ isLost, met, texts: textsOf(container) }).toEqual({ isLost: true, met: true, texts: ['there'] })
  expect(others.map((tab) => replicaAt(tab, 'k'))).toEqual([['there'], ['there']])
})
