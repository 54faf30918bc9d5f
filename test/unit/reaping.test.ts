/** What waits to be forgotten: it is asked about until it is gone, and then takes no room. */
import { expect, test } from 'vitest'
import { EMPTY_CONTAINER } from '../../src/core/versions/container.js'
import { digestOf } from '../../src/core/versions/encoding.js'
import { type Ring, type Tab, named, nodeOf, openRing, replicaAt } from '../paper/ring.js'
import type { SimulatedStorage } from '../sim/disk.js'
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

// "Has met nobody" was read from what it has whole alone, which members that come empty do not change.
test('a ring whose founder had data when the others joined forgets deletions', async () => {
  const ring = await openRing(1, SOON)
  const founder = ring.tab(0)
  for (const key of KEYS) await ring.client(founder).put(`x${key}`, 'x', { w: 1 })
  const late = await ring.join()
  await ring.join()
  await ring.until('one ring', () => ring.isWhole())
  const client = ring.client(late)
  for (const key of KEYS) await client.put(key, 'there', { w: 3 })
  for (const key of KEYS) await client.delete(key)
  await ring.pass(20_000)
  expect(KEYS.filter((key) => founder.disk.records.has(named(key)))).toEqual([])
})

test('a lone tab forgets what it deletes of a tab that it adopted', async () => {
  const ring = await openRing(1, SOON)
  const tab = ring.tab(0)
  const orphan = ring.world.addPlace({ device: tab.id })
  ring.partition([tab], [orphan])
  await ring.world.start(orphan)
  await ring.client(orphan).put('k', 'there', { w: 1 })
  ring.crash(orphan)
  await ring.adopt(tab, orphan)
  const client = ring.client(tab)
  expect(await client.get('k', { r: 1 })).toEqual(['there'])
  await client.delete('k')
  await ring.pass(20_000)
  expect(tab.disk.records.has(named('k'))).toBe(false)
})

test('so does one whose other member has left and is forgotten', async () => {
  const ring = await openRing(2, { ...SOON, replaceAfterMs: 60_000 })
  const [tab, leaver] = ring.tabs as [Tab, Tab]
  await ring.client(leaver).put('k', 'there', { w: 2 })
  await ring.leave(leaver)
  ring.crash(leaver)
  ring.gone(leaver)
  await ring.until('it is forgotten', () => nodeOf(tab).membership.all().length === 1, 1_000_000)
  ring.crash(tab)
  await ring.reopen(tab)
  const client = ring.client(tab)
  expect(await client.get('k', { r: 1 })).toEqual(['there'])
  await client.delete('k')
  await ring.pass(20_000)
  expect(tab.disk.records.has(named('k'))).toBe(false)
})

// It had what it wrote to the other one from itself, and not yet on its disk that there is another one.
test('a founder that is closed right after it has met somebody keeps its deletion', async () => {
  const ring = await openRing(1, SOON)
  const founder = ring.tab(0)
  const client = ring.client(founder)
  await client.put('other', 'there', { w: 1 })
  const other = ring.world.addPlace({})
  await ring.world.start(other)
  await ring.until('they have met', () => nodeOf(founder).membership.placed().length === 2)
  void client.begin('k', 'old', { w: 2 })
  await ring.until('it is there', () => other.disk.records.has(named('k')))
  ring.crash(founder)
  ring.partition([founder], [other])
  await ring.reopen(founder)
  await client.delete('k')
  await ring.pass(10_000)
  ring.heal()
  await ring.until('one ring', () => ring.isWhole())
  await ring.pass(10_000)
  expect(ring.tabs.map((tab) => replicaAt(tab, 'k'))).toEqual([[], []])
})

// Whoever was asked in between knew of no put and of no hint, and the hint brought the deleted value back.
test('a deletion is not forgotten while the hint of a put that has just ended is on its way to the disk', async () => {
  const ring = await openRing(3, { ...SOON, requestTimeoutMs: 4000 })
  const [a, , c] = ring.homes('k')
  const { hints } = nodeOf(a).replica
  const client = ring.client(a)
  const { knobs } = ring.world.network
  knobs.lose = (_from, to, frame) => to === c.id && typeOf(frame) === 'Store'
  const start = ring.world.time.now
  await client.put('k', 'old', { w: 2 })
  knobs.lose = () => false
  await client.delete('k')
  // One thing after the other: the read is before the commit of the hint.
  const storage = a.storage as SimulatedStorage
  const get = storage.get.bind(storage)
  const commit = storage.commit.bind(storage)
  const reads: (() => void)[] = []
  let queue: Promise<unknown> = Promise.resolve()
  await ring.pass(2400 - (ring.world.time.now - start))
  storage.get = async (addresses) => {
    if (hints.isUnderWay(named('k'))) await new Promise<void>((resolve) => reads.push(resolve))
    return get(addresses)
  }
  storage.commit = (batch, durability) => {
    if ((batch.hints?.length ?? 0) > 0) {
      for (const end of reads.splice(0)) end()
      queue = nodeOf(a).pause(20)
    }
    const done = queue.then(() => commit(batch, durability))
    queue = done.catch(() => {})
    return done
  }
  await ring.pass(20_000)
  expect(ring.tabs.map((tab) => replicaAt(tab, 'k'))).toEqual([[], [], []])
})
