/** How a scan finds out what there is without asking for every key. */
import { expect, test } from 'vitest'
import { type Ring, type Tab, named, nodeOf, openRing } from '../paper/ring.js'
import { typeOf } from '../sim/trace.js'

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
