/** What waits to be forgotten: it is asked about until it is gone, and then takes no room. */
import { expect, test } from 'vitest'
import { EMPTY_CONTAINER } from '../../src/core/versions/container.js'
import { digestOf } from '../../src/core/versions/encoding.js'
import { type Ring, type Tab, named, nodeOf, openRing, replicaAt } from '../paper/ring.js'
import { typeOf } from '../sim/trace.js'

const SOON = { reapAfterMs: 1000, scrubIntervalMs: 1e9 }
const KEYS = Array.from({ length: 30 }, (_, i) => `k${i}`)

/** How many keys still wait at this tab, in memory. */
function waiting(tab: Tab): number {
  return nodeOf(tab).reaping.pending
}

async function deleteAll(ring: Ring): Promise<void> {
  const client = ring.client(ring.tab(0))
  for (const key of KEYS) await client.put(key, 'there', { w: 3 })
  for (const key of KEYS) await client.delete(key)
}

// They stayed in the lists of all but the first home, where they took the room of others until the tab was closed.
test('a tombstone that everybody has forgotten waits nowhere any more', async () => {
  const ring = await openRing(3, SOON)
  await deleteAll(ring)
  await ring.until('all are forgotten', () => ring.tabs.every(({ disk }) => disk.records.size === 0))
  await ring.pass(5000)
  expect(ring.tabs.map(waiting)).toEqual([0, 0, 0])
})

// It could not be read, and nothing that was asked about together with it came to an end.
test('a damaged record keeps no other tombstone from being forgotten', async () => {
  const ring = await openRing(3, SOON, { quiet: false })
  await deleteAll(ring)
  for (const [i, { disk }] of ring.tabs.entries()) disk.flipByte(named(`k${i}`), 20)
  await ring.until('the others are forgotten', () => ring.tabs.every(({ disk }) => disk.records.size <= 3))
  await ring.pass(10_000)
  const left = ring.tabs.map(({ disk }) => [...disk.records.keys()].sort())
  // The damaged ones are not agreed on, nor lost: the scrub has to heal them first.
  expect(left).toEqual(ring.tabs.map(() => ['k0', 'k1', 'k2'].map(named)))
})

// They stayed, and took the room of others: who has given its copy up hears no more of them.
test('a tombstone that is written anew elsewhere does not wait at a former home', async () => {
  const ring = await openRing(3, { reapAfterMs: 20_000, scrubIntervalMs: 2000, partitions: 16 })
  await deleteAll(ring)
  for (let i = 0; i < 3; i++) await ring.join()
  await ring.pass(10_000)
  expect(ring.tabs.some(({ disk }) => disk.records.size < KEYS.length)).toBe(true)
  for (const key of KEYS) await ring.client(ring.tab(0)).put(key, 'again', { w: 3 })
  await ring.pass(60_000)
  expect(ring.tabs.map(waiting)).toEqual([0, 0, 0, 0, 0, 0])
})

// A power cut took it back to the deleted version, and nobody knew any more that it was deleted.
test.each([
  ['asks', 0],
  ['is asked', 1],
])('a home that %s has the tombstone for good before anybody forgets it', async (_, which) => {
  const ring = await openRing(4, SOON)
  const home = ring.homes('k')[which] as Tab
  const client = ring.client(ring.homes('k')[2])
  await client.put('k', 'old', { w: 3, durability: 'all' })
  await client.put('k', undefined, { w: 3, durability: 'relaxed' })
  await ring.until('it is forgotten', () => ring.tabs.every(({ disk }) => disk.records.size === 0))
  ring.world.cutPower(home)
  await ring.reopen(home)
  await ring.pass(30_000)
  expect(ring.homes('k').map((tab) => replicaAt(tab, 'k'))).toEqual([[], [], []])
})

test('a tombstone that somebody has not answered for is asked about again', async () => {
  const ring = await openRing(3, SOON)
  const client = ring.client(ring.tab(0))
  await client.put('k', 'there', { w: 3 })
  await client.delete('k')
  let lost = 0
  ring.world.network.knobs.lose = (_from, _to, frame) => typeOf(frame) === 'Reap' && lost++ < 2
  await ring.until('it is forgotten', () => ring.tabs.every(({ disk }) => disk.records.size === 0))
  expect(lost).toBeGreaterThan(2)
})

test('what is written after everybody has agreed to forget its tombstone stays', async () => {
  const ring = await openRing(3, SOON)
  const tab = ring.tab(0)
  const client = ring.client(tab)
  await client.put('k', 'there', { w: 3 })
  await client.delete('k')
  const { replica } = nodeOf(tab)
  const [tombstone = EMPTY_CONTAINER] = await ring.await(replica.read([named('k')]))
  await client.put('k', 'anew', { w: 3 })
  const digest = digestOf(named('k'), tombstone)
  await ring.await(replica.settle([{ key: named('k'), digest, to: () => undefined }]))
  expect(replicaAt(tab, 'k')).toEqual(['anew'])
})

// It asked for none any more: of one partition a record was missing that nobody could read.
test('a home that waits for what is damaged elsewhere goes on asking for what may be forgotten', async () => {
  const ring = await openRing(1, SOON, { quiet: false })
  const tab = ring.tab(0)
  const client = ring.client(tab)
  for (const key of KEYS) await client.put(key, 'there', { w: 1 })
  tab.disk.flipByte(named('k0'), 2)
  const late = await ring.join()
  await ring.pass(20_000)
  expect(nodeOf(late).duties.filling()).toHaveLength(1)
  for (const key of KEYS.slice(1)) await client.delete(key)
  await ring.pass(20_000)
  expect([...late.disk.records.keys(), ...tab.disk.records.keys()]).toEqual([named('k0')])
})

// It was alone with an empty disk, forgot the deletion with nobody to ask, and the others brought the value back.
test('a tab that has met nobody keeps the deletion of what its disk never held', async () => {
  const ring = await openRing(3, SOON)
  const [tab, ...others] = ring.tabs as [Tab, Tab, Tab]
  const client = ring.client(tab)
  await client.put('k', 'old', { w: 3 })
  ring.crash(tab)
  ring.world.changeDisk(tab, 'is emptied', () => tab.disk.wipe())
  ring.partition([tab], others)
  await ring.reopen(tab)
  await client.delete('k')
  await ring.pass(10_000)
  ring.heal()
  await ring.until('one ring', () => ring.isWhole())
  await ring.pass(5000)
  expect(ring.tabs.map((each) => replicaAt(each, 'k'))).toEqual([[], [], []])
})

test('a tab that has met nobody forgets what it deletes of its own, also of its former lives', async () => {
  const ring = await openRing(1, SOON)
  const tab = ring.tab(0)
  const client = ring.client(tab)
  for (const value of ['there', 'again']) {
    for (const key of KEYS) await client.put(key, value, { w: 1 })
    ring.crash(tab)
    await ring.reopen(tab)
  }
  for (const key of KEYS) await client.delete(key)
  await ring.pass(10_000)
  expect(tab.disk.records.size).toBe(0)
})
