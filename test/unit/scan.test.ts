/** How a scan finds out what there is without asking for every key. */
import { expect, test } from 'vitest'
import { storeKey } from '../../src/core/ids.js'
import { EMPTY_CONTEXT } from '../../src/core/versions/context.js'
import { type Ring, type Tab, named, nodeOf, openRing } from '../paper/ring.js'
import { typeOf } from '../sim/trace.js'
import { answerOf, passing, storeAt } from './support/stores.js'

const KEYS = Array.from({ length: 64 }, (_, i) => `k${String(i).padStart(2, '0')}`)

/** The keys that a scan at that tab yields, how long it takes in virtual milliseconds, and how many reads it sends. */
async function scan(
  ring: Ring,
  tab: Tab,
  reverse = false,
): Promise<{ keys: string[]; complete: boolean; ms: number; reads: number }> {
  const { time, trace } = ring.world
  const [start, before] = [time.now, trace.sent.get('Read') ?? 0]
  const range = { from: named('k'), to: named('l'), reverse }
  const found = nodeOf(tab).coordinator.scan(range, 3, { r: 2, strictQuorum: false })
  const keys: string[] = []
  const all = async () => {
    for await (const { key } of found.entries()) keys.push(key)
  }
  await ring.await(all())
  return { keys, complete: found.complete, ms: time.now - start, reads: (trace.sent.get('Read') ?? 0) - before }
}

// Each key was read with a quorum as long as a newcomer was filling: thousands of round trips, one after the other.
test('a home that is still filling is not taken for one that denies a key', async () => {
  const ring = await openRing(4)
  for (const key of KEYS) await ring.client(ring.tab(0)).put(key, 'there', { w: 3 })
  await ring.pass(5000)
  ring.world.network.knobs.lose = (_, __, frame) => typeOf(frame) === 'Entries'
  const newcomer = await ring.join()
  await ring.until('its share', () => nodeOf(ring.tab(0)).membership.placed().includes(newcomer.id))
  await ring.pass(3000)
  expect(nodeOf(newcomer).duties.filling().length).toBeGreaterThan(0)
  const { keys, complete, reads } = await scan(ring, ring.tab(0))
  expect({ keys, complete, reads }).toEqual({ keys: KEYS.map(named), complete: true, reads: 0 })
})

test('a scan of which the only home of some keys is gone after its first page says that it is not complete', async () => {
  const ring = await openRing(2, {}, { knobs: { replication: [1] } })
  const [reader, other] = ring.tabs as [Tab, Tab]
  const written = { value: Uint8Array.of(1), expiresAt: 0 }
  const put = async (i: number) => {
    const options = { w: 1, strictQuorum: true, durability: 'relaxed' } as const
    await nodeOf(reader).coordinator.write(storeKey(1, '', `k${i}`), written, EMPTY_CONTEXT, options).outcome
  }
  await ring.await(Promise.all(Array.from({ length: 600 }, (_, i) => put(i))))
  const range = { from: storeKey(1, '', 'k'), to: storeKey(1, '', 'l'), reverse: false }
  const found = nodeOf(reader).coordinator.scan(range, 1, { r: 1, strictQuorum: false })
  const entries = found.entries()
  await ring.await(entries.next())
  expect(found.complete).toBe(true)
  ring.crash(other)
  let shown = 1
  while (!(await ring.await(entries.next())).done) shown++
  expect(shown).toBeLessThan(600)
  expect(found.complete).toBe(false)
})

// With a page that came again and again, a scan never ended; keys that nobody had asked for were yielded.
test.each<[what: string, keys: string[], reverse: boolean]>([
  ['the same page over and over', ['k00', 'k01'], false],
  ['the same page over and over, backwards', ['k63', 'k62'], true],
  ['keys out of order', ['k63', 'k62'], false],
  ['a key twice', ['k02', 'k02'], false],
  ['keys behind the range', ['k00', 'x'], false],
  ['keys before the range', ['a', 'k00'], false],
  ['more, and no key', [], false],
])('a peer that answers with %s has not answered', async (_, keys, reverse) => {
  const ring = await openRing(4)
  const [reader, liar] = ring.tabs as [Tab, Tab]
  for (const key of KEYS) await ring.client(reader).put(key, 'there', { w: 3 })
  await ring.pass(5000)
  const { storage, addressOf } = nodeOf(ring.homes('k00')[0]).replica
  const [container = new Uint8Array()] = await ring.await(storage.get([addressOf(named('k00'))]))
  let asked = 0
  nodeOf(liar).peers.handle('Scan', () => {
    asked++
    return { type: 'ScanPage', entries: keys.map((key) => [named(key), container]), more: true, lacking: [] }
  })
  const found = await scan(ring, reader, reverse)
  expect(found.keys).toEqual((reverse ? KEYS.toReversed() : KEYS).map(named))
  // The others cover everything, and nothing is read because that one denies it.
  expect([found.complete, found.reads]).toEqual([true, 0])
  expect(asked).toBeLessThanOrEqual(2)
})

// Another tab deletes the database of a closed one while this one looks into it: the application's scan was what failed.
test('a scan goes on without what closed tabs have left when that cannot be read, and with its own copies', async () => {
  const atticError = new Error('the database is gone')
  const ring = await openRing(5, {}, { knobs: { atticError }, quiet: false })
  const key = KEYS.find((name) => !ring.homes(name).includes(ring.tab(0))) as string
  await ring.client(ring.tab(0)).put(key, 'there', { w: 3 })
  await ring.pass(1000)
  ring.crash(...ring.tabs.slice(1))
  await ring.pass(10_000)
  const { keys, complete } = await scan(ring, ring.tab(0))
  expect({ keys, complete }).toEqual({ keys: [named(key)], complete: false })
  expect(ring.world.errors).toContain(atticError)
})

test('keys on which homes differ are read several at a time', async () => {
  const ring = await openRing(4, { hintedHandoff: false, merkleSync: false, readRepair: false })
  const reader = ring.tab(0)
  ring.world.network.knobs.lose = (_, to, frame) => to === ring.tab(3).id && typeOf(frame) === 'Store'
  for (const key of KEYS) await ring.client(reader).put(key, 'there')
  const start = ring.world.time.now
  await ring.client(reader).get(KEYS[0] as string)
  const one = ring.world.time.now - start
  const { keys, reads, ms } = await scan(ring, reader)
  expect(keys).toEqual(KEYS.map(named))
  expect(reads).toBeGreaterThan(30)
  expect(ms).toBeLessThan((KEYS.length * one) / 3)
})

const EVEN = { minLatencyMs: 10, maxLatencyMs: 10, diskTime: () => 1 }

// The page of the home was read before the hint came there, and the one of this tab that would have shown it after it had gone.
test.each([false, true])(
  'a write that is delivered while a scan goes on is not missed by it (backwards: %s)',
  async (reverse) => {
    const ring = await openRing(2, { standInAfterMs: 60_000 }, { knobs: { ...EVEN, replication: [3, 1] } })
    const [tab, home] = ring.tabs as [Tab, Tab]
    const { store } = storeAt(tab, { buckets: { single: { n: 1 } } })
    const bucket = store.bucket('single')
    const listOf = (key: string) => nodeOf(tab).routing.preferenceList(storeKey(1, 'single', key))
    const names = Array.from({ length: 2000 }, (_, i) => `k${String(i).padStart(4, '0')}`)
    const own = names.filter((key) => listOf(key)[0] === tab.id).slice(0, 230)
    const late = (reverse ? names : names.reverse()).find((key) => listOf(key)[0] === home.id) as string
    expect(own).toHaveLength(230)
    await answerOf(ring, bucket.putMany(own.map((key) => [key, 'there'] as const)))
    ring.partition([tab], [home])
    await passing(ring, 3000)
    expect(await answerOf(ring, bucket.put(late, 'late'))).toMatchObject({ hintedFor: [home.id] })
    const found: string[] = []
    const scan = bucket.scan({ reverse })
    const all = async () => {
      await store.ready()
      for await (const { key } of scan) if (found.push(key) === 1) await nodeOf(tab).pause(3000)
    }
    const scanned = all()
    ring.heal()
    await answerOf(ring, scanned)
    expect(nodeOf(tab).replica.hints.pending).toBe(0)
    expect({ keys: found.length, complete: scan.complete, isThere: found.includes(late) }).toEqual({
      keys: 231,
      complete: true,
      isThere: true,
    })
  },
)

// What it called complete was what it had seen before its own disk, the only one with everything, failed.
test('a scan whose own disk fails when it is listed once more is not complete', async () => {
  const ring = await openRing(3, {}, { quiet: false })
  const [tab, other, away] = ring.tabs as [Tab, Tab, Tab]
  for (const key of KEYS) await ring.client(other).put(key, 'there', { w: 3 })
  await ring.pass(3000)
  ring.crash(away)
  await ring.pass(10_000)
  // The other one has just begun to fill its disk anew.
  other.storage?.empty()
  nodeOf(other).duties.distrustAll()
  const storage = tab.storage as NonNullable<Tab['storage']>
  const scanKeys = storage.scanKeys.bind(storage)
  let listed = 0
  storage.scanKeys = async (range) => {
    if (++listed >= 2) storage.failingReads = 'unknown'
    return scanKeys(range)
  }
  const range = { from: named('k'), to: named('l'), reverse: false }
  const found = nodeOf(tab).coordinator.scan(range, 3, { r: 3, strictQuorum: false })
  const all = async () => {
    for await (const _ of found.entries());
  }
  await ring.await(all())
  expect([listed > 1, found.complete]).toEqual([true, false])
})

test('a scan of which fewer homes answer than a get asks for shows the copies that a get shows', async () => {
  const ring = await openRing(4, { hintedHandoff: false, merkleSync: false, readRepair: false })
  const [reader] = ring.others('k')
  const [lacking, ...others] = ring.homes('k')
  const { knobs } = ring.world.network
  knobs.lose = (_, to, frame) => to === lacking.id && typeOf(frame) === 'Store'
  await ring.client(others[0]).put('k', 'there')
  await ring.client(reader).get('k')
  await ring.pass(10_000)
  ring.crash(...others)
  await ring.until('they are missed', () => nodeOf(reader).peers.reachable().length === 1)
  expect(await ring.client(reader).get('k')).toEqual(['there'])
  expect((await scan(ring, reader)).keys).toEqual([named('k')])
})

test('what waits in the outbox is read from nobody where its homes show the same', async () => {
  const ring = await openRing(5)
  const [writer, away] = ring.tabs as [Tab, Tab]
  ring.crash(away)
  await ring.until('it is missed', () => nodeOf(writer).peers.reachable().length === 3)
  for (const key of KEYS) await ring.client(writer).put(key, 'there')
  await ring.pass(3000)
  expect(nodeOf(writer).replica.hints.keys().length).toBeGreaterThan(0)
  const { keys, reads } = await scan(ring, writer)
  expect({ keys, reads }).toEqual({ keys: KEYS.map(named), reads: 0 })
})

test('what one page of a home lacked is not covered by its next one', async () => {
  const ring = await openRing(3)
  const [reader, filling, whole] = ring.tabs as [Tab, Tab, Tab]
  const names = Array.from({ length: 600 }, (_, i) => `k${i}`)
  await ring.await(Promise.all(names.map((name) => ring.client(whole).put(name, 'there', { w: 3 }))))
  await ring.pass(3000)
  const all = nodeOf(reader).duties.partitionsOf(3)
  nodeOf(reader).duties.lacking = () => all
  nodeOf(filling).duties.lacking = () => all
  const range = { from: named('k'), to: named('l'), reverse: false }
  const found = nodeOf(reader).coordinator.scan(range, 3, { r: 1, strictQuorum: false })
  const entries = found.entries()
  await ring.await(entries.next())
  expect(found.complete).toBe(true)
  nodeOf(filling).duties.lacking = () => []
  ring.crash(whole)
  while (!(await ring.await(entries.next())).done);
  expect(found.complete).toBe(false)
})

// It said what it lacked once it had read the page: of what had been fetched in between the page had nothing, and the scan was complete without it.
test.each(['of its own', 'of a peer'])('a page %s that was read before the data came covers nothing', async (whose) => {
  const ring = await openRing(3, {}, { quiet: false })
  const [filling, other, whole] = ring.tabs as [Tab, Tab, Tab]
  for (const key of KEYS) await ring.client(whole).put(key, 'there', { w: 3 })
  await ring.pass(3000)
  const { knobs } = ring.world.network
  // The one that has everything does not hear of the scan, and the third gets nothing.
  knobs.lose = (_, to, frame) =>
    (to === whole.id && typeOf(frame) === 'Scan') || (to === other.id && typeOf(frame) === 'Complete')
  for (const tab of [filling, other]) tab.storage?.empty()
  const storage = filling.storage as NonNullable<Tab['storage']>
  const scanKeys = storage.scanKeys.bind(storage)
  storage.scanKeys = async (range) => {
    const page = await scanKeys(range)
    await nodeOf(filling).pause(4000)
    return page
  }
  const range = { from: named('k'), to: named('l'), reverse: false }
  const reader = whose === 'of a peer' ? other : filling
  const found = nodeOf(reader).coordinator.scan(range, 3, { r: 1, strictQuorum: false })
  const all = async () => {
    for await (const _ of found.entries());
  }
  await ring.await(all())
  expect([nodeOf(filling).duties.filling(), found.complete]).toEqual([[], false])
})

// Its homes slept by now, and those who had taken their place had nothing of it: a get showed it, and a scan denied it.
test('a scan shows what this handle has written or read, wherever that is by now', async () => {
  const ring = await openRing(6, { replaceAfterMs: 20_000 })
  const [writer, ...near] = ring.tabs.slice(0, 3) as [Tab, Tab, Tab]
  const far = ring.tabs.slice(3)
  const { store } = storeAt(writer)
  const keys = Array.from({ length: 100 }, (_, i) => `k${i}`)
  const there = keys.filter((key) => ring.homes(key).every((home) => far.includes(home)))
  expect(there.length).toBeGreaterThan(0)
  for (const key of there) await answerOf(ring, store.put(key, 'value', { w: 3 }))
  const [deleted, ...left] = there as [string, ...string[]]
  await answerOf(ring, store.delete(deleted, { w: 3 }))
  await passing(ring, 2000)
  ring.partition([writer, ...near], far)
  await passing(ring, 60_000)
  for (const reverse of [false, true]) {
    const found: string[] = []
    const scan = async () => {
      for await (const { key, value } of store.scan({ reverse })) if (value === 'value') found.push(key)
    }
    await answerOf(ring, scan())
    expect(found).toEqual(reverse ? left.toSorted().reverse() : left.toSorted())
  }
})
