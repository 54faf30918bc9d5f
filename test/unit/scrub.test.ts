/** The walk over everything on a disk: what it writes, and when. See also damage.test.ts. */
import { expect, test } from 'vitest'
import type { Message } from '../../src/core/messages.js'
import { sameDigest } from '../../src/core/replica/merkle.js'
import { digestOf } from '../../src/core/versions/encoding.js'
import { type Ring, type Tab, containerAt, named, nodeOf, openRing, replicaAt } from '../paper/ring.js'

const UNSCRUBBED = { scrubIntervalMs: 1e9 }

/** Puts values that have expired by now, of which `tab` is the first home. */
async function putExpired(ring: Ring, tab: Tab, keys: readonly string[]): Promise<void> {
  const expiresAt = ring.world.wallTime(tab) + 60_000
  for (const key of keys) await ring.client(tab).put(key, 'v', { w: 3, expiresAt })
  await ring.pass(70_000)
}

/** Keys of which that tab is the first home. */
const keysOf = (ring: Ring, tab: Tab, count: number) =>
  Array.from({ length: 1000 }, (_, i) => `k${i}`)
    .filter((key) => ring.homes(key)[0] === tab)
    .slice(0, count)

// Any walk put the tombstones.
test('a verify without repair writes nothing, one with it puts tombstones in the place of what has expired', async () => {
  const ring = await openRing(3, UNSCRUBBED)
  const tab = ring.tab(0)
  const keys = keysOf(ring, tab, 5)
  await putExpired(ring, tab, keys)
  const verify = (repair: boolean) =>
    ring.messages(async () => {
      await ring.await(nodeOf(tab).scrub.verify(repair))
      await ring.pass(2000)
    })
  const stores = async (repair: boolean) => (await verify(repair)).filter(({ type }) => type === 'Store').length
  expect(await stores(false)).toBe(0)
  expect(keys.map((key) => replicaAt(tab, key))).toEqual(keys.map(() => ['v']))
  expect(await stores(true)).toBe(2 * keys.length)
  for (const each of ring.tabs) expect(keys.map((key) => replicaAt(each, key))).toEqual(keys.map(() => []))
})

// All of a partition's at once, and what they took counted as what users wait for: it slowed all other background work down as well.
test('each tombstone waits for its turn while users wait for something, and is no delete of the application', async () => {
  const ring = await openRing(3, { ...UNSCRUBBED, partitions: 16 })
  const tab = ring.tab(0)
  const keys = keysOf(ring, tab, 100)
  await putExpired(ring, tab, keys)
  const { background, scrub, metrics } = nodeOf(tab)
  void background.foreground(new Promise(() => {}))
  const before = metrics.snapshot().counters
  const sent = await ring.messages(async () => {
    void scrub.verify(true)
    await ring.pass(500)
  })
  const puts = sent.filter(({ type, from }) => type === 'Store' && from === tab.id).length / 2
  expect(puts).toBeGreaterThan(0)
  expect(puts).toBeLessThanOrEqual(50)
  await ring.until('all are deleted', () => keys.every((key) => replicaAt(tab, key).length === 0))
  expect(metrics.snapshot().counters).toEqual(before)
})

// Its answer was taken for what it should be: the walk ended there, and the rest of the disk was not looked at, by any scrub.
test.each<[what: string, entry: [key: string, bytes: Uint8Array]]>([
  ['nonsense', ['k', new Uint8Array(5)]],
  ['another key', ['other', new Uint8Array(5)]],
])('a peer that answers with %s keeps nobody from healing by the other homes', async (_, [key, bytes]) => {
  const ring = await openRing(3, UNSCRUBBED)
  const [victim, liar] = ring.tabs as [Tab, Tab]
  for (const each of ['k', 'l']) await ring.client(victim).put(each, 'there', { w: 3 })
  victim.disk.flipByte(named('k'), 20)
  const answer: Message = { type: 'Entries', entries: [[named(key), bytes]], cursor: undefined }
  nodeOf(liar).peers.handle('Fetch', () => answer)
  const report = await ring.await(nodeOf(victim).scrub.verify(true))
  expect(report).toMatchObject({ records: 2, corrupt: [named('k')], healed: 1 })
  expect(replicaAt(victim, 'k')).toEqual(['there'])
})

/** Visitors that write to the key without having read it, and delete what they wrote: each leaves a tombstone. @returns what deletes them */
async function visit(ring: Ring, visitors: number): Promise<() => Promise<void>> {
  const clients = Array.from({ length: visitors }, (_, i) => ring.client(ring.tab(i % 2)))
  for (const client of clients) await client.put('k', 'visit', { w: 3 })
  return async () => {
    for (const client of clients) await client.delete('k')
  }
}

const digestAt = (tab: Tab) => digestOf(named('k'), containerAt(tab, 'k'))

// Nothing ever took them away beside a version that lives: there was one more with each visitor, until all puts were refused.
test('many tombstones beside a version that lives become one, and what they deleted stays deleted everywhere', async () => {
  const ring = await openRing(3, { ...UNSCRUBBED, hintedHandoff: false, readRepair: false, reapAfterMs: 1e9 })
  const [first, second] = ring.homes('k')
  const late = ring.tab(2)
  const here = ring.tabs.filter((tab) => tab !== late)
  await ring.client(first).put('k', 'lives', { w: 3 })
  const leave = await visit(ring, 12)
  ring.partition([late], here)
  await ring.pass(5000)
  await leave()
  const scrubbing = first === late ? second : first
  expect(containerAt(scrubbing, 'k').siblings.length).toBe(13)
  await ring.await(nodeOf(scrubbing).scrub.verify(true))
  await ring.pass(2000)
  // The one that comes last has all that was deleted, and has seen no tombstone.
  expect(here.map((tab) => containerAt(tab, 'k').siblings.length)).toEqual([2, 2])
  expect(replicaAt(late, 'k').length).toBe(13)
  ring.heal()
  await ring.until('equal', () => ring.tabs.every((tab) => sameDigest(digestAt(tab), digestAt(first))), 120_000)
  expect(replicaAt(late, 'k')).toEqual(['lives'])
  expect(await ring.client(late).get('k', { r: 3 })).toEqual(['lives'])
})

test('a few tombstones are left alone, but for one that comes in the place of what has expired beside them', async () => {
  const ring = await openRing(3, { ...UNSCRUBBED, reapAfterMs: 1e9 })
  const [first, second] = ring.homes('k')
  await ring.client(first).put('k', 'lives', { w: 3 })
  await (await visit(ring, 3))()
  const sizes = async () => {
    await ring.await(nodeOf(first).scrub.verify(true))
    await ring.pass(2000)
    return ring.tabs.map((tab) => containerAt(tab, 'k').siblings.length)
  }
  expect(await sizes()).toEqual([4, 4, 4])
  for (let i = 0; i < 3; i++) {
    await ring.client(second).put('k', 'v', { w: 3, expiresAt: ring.world.wallTime(first) + 60_000 })
    await ring.pass(70_000)
    expect(await sizes()).toEqual([2, 2, 2])
  }
  expect(replicaAt(first, 'k')).toEqual(['lives'])
})
