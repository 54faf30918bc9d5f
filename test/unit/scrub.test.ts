/** The walk over everything on a disk: what it writes, and when. See also damage.test.ts. */
import { expect, test } from 'vitest'
import type { Message } from '../../src/core/messages.js'
import { type Ring, type Tab, named, nodeOf, openRing, replicaAt } from '../paper/ring.js'

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
