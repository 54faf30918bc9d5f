/** What is damaged on a disk: it costs itself, for as long as no other home has been asked, and nothing else. */
import { expect, test } from 'vitest'
import { type StoreKey, storeKey } from '../../src/core/ids.js'
import { verifyNode } from '../../src/store/verify.js'
import { type Ring, type Tab, nodeOf, openRing, replicaAt } from '../paper/ring.js'
import { typeOf } from '../sim/trace.js'

const named = (key: string) => storeKey(3, '', key)
const damaged = (bytes: Uint8Array) => bytes.map((byte, i) => (i === 2 ? byte ^ 255 : byte))
const KEYS = ['a', 'b', 'c', 'd']
/** Of damage that is met, the node tells. */
const TOLD = { quiet: false }

function damageRecord(tab: Tab, key: string): void {
  const row = tab.disk.records.get(named(key))
  if (row) tab.disk.records.set(named(key), { ...row, container: damaged(row.container) })
}

/** Members, incarnation and complete partitions: no byte is as it was. */
function damageBookkeeping({ disk: { meta } }: Tab): void {
  for (const [name, value] of meta)
    meta.set(
      name,
      value.map((byte) => byte ^ 0xa5),
    )
}

async function fill(ring: Ring, tab: Tab): Promise<void> {
  for (const key of KEYS) await ring.client(tab).put(key, `${key} 1`)
}

/** The keys of a scan at that tab, and whether it was complete. */
async function scan(ring: Ring, tab: Tab): Promise<[StoreKey[], boolean]> {
  const found: StoreKey[] = []
  const all = nodeOf(tab).coordinator.scan({ from: named('a'), to: named('z'), reverse: false }, 3, {
    r: 1,
    strictQuorum: false,
  })
  await ring.await(
    (async () => {
      for await (const { key } of all.entries()) found.push(key)
    })(),
  )
  return [found, all.complete]
}

test('a scan takes a damaged record from another home; alone, it leaves it out and says that it is not complete', async () => {
  const ring = await openRing(3, { scrubIntervalMs: 1e9 }, TOLD)
  const [tab, ...others] = ring.tabs as [Tab, ...Tab[]]
  await fill(ring, tab)
  await ring.pass(1000)
  damageRecord(tab, 'b')
  expect(await scan(ring, tab)).toEqual([KEYS.map(named), true])
  expect(await scan(ring, others[0] as Tab)).toEqual([KEYS.map(named), true])
  ring.crash(...others)
  await ring.pass(5000)
  expect(await scan(ring, tab)).toEqual([['a', 'c', 'd'].map(named), false])
})

test('a reloaded tab whose own record is damaged writes to that key, and knows of it by the others', async () => {
  const ring = await openRing(3, { scrubIntervalMs: 1e9 }, TOLD)
  const tab = ring.tab(0)
  await fill(ring, tab)
  await ring.pass(1000)
  await ring.world.close(tab)
  damageRecord(tab, 'b')
  await ring.reopen(tab)
  await ring.until('one ring', () => ring.isWhole())
  const context = await ring.await(nodeOf(tab).coordinator.ownContext(named('b')))
  expect(context.vector.size).toBe(1)
  await ring.client(tab).put('b', '2')
  await ring.pass(1000)
  expect(await ring.client(ring.tab(1)).get('b', { r: 3 })).toContain('2')
})

// As long as other homes answered, nobody was told, and it stayed damaged until its partition had its turn.
test('a damaged record that is read is told of once, and taken anew from the others with the next round of the scrub', async () => {
  const ring = await openRing(3, {}, TOLD)
  const tab = ring.tab(0)
  await fill(ring, tab)
  await ring.pass(1000)
  for (const key of KEYS) damageRecord(tab, key)
  for (const _ of ['first', 'second'])
    for (const key of KEYS) expect(await ring.client(tab).get(key, { r: 3 })).toEqual([`${key} 1`])
  const told = ring.world.errors.map(String)
  expect(told).toEqual(KEYS.map(() => expect.stringContaining('a record is damaged')))
  await ring.pass(35_000)
  expect(KEYS.map((key) => replicaAt(tab, key))).toEqual(KEYS.map((key) => [`${key} 1`]))
})

// It was overwritten by the copy that had been asked for before it came.
test('what is written while a damaged record is being healed stays', async () => {
  const ring = await openRing(3, { scrubIntervalMs: 1e9, merkleSync: false, readRepair: false }, TOLD)
  const [tab] = ring.tabs as [Tab]
  await ring.client(tab).put('k', 'old', { w: 3 })
  damageRecord(tab, 'k')
  const { knobs } = ring.world.network
  knobs.latency = () => 100
  knobs.lose = (_from, _to, frame) => typeOf(frame) === 'Store'
  const verified = verifyNode(nodeOf(tab), true)
  await ring.pass(150)
  await ring.client(tab).blind('k', 'new', { w: 1 })
  await ring.await(verified)
  expect(replicaAt(tab, 'k')).toEqual(['new', 'old'])
})

test('a home that has nothing of it heals no damaged record', async () => {
  const ring = await openRing(2, { scrubIntervalMs: 1e9, merkleSync: false, hintedHandoff: false }, TOLD)
  const [tab, other] = ring.tabs as [Tab, Tab]
  ring.world.network.knobs.lose = (_from, to, frame) => to === other.id && typeOf(frame) === 'Store'
  await ring.client(tab).put('k', 'there', { w: 1 })
  await ring.pass(10_000)
  damageRecord(tab, 'k')
  const row = tab.disk.records.get(named('k'))
  expect(await ring.await(verifyNode(nodeOf(tab), true))).toMatchObject({ healed: 0 })
  expect(tab.disk.records.get(named('k'))).toEqual(row)
})

// Each was walked over again while the others were, and the round never ended.
test('damaged records that nobody can heal, and that are read all the time, do not keep the scrub from all else', async () => {
  const ring = await openRing(1, { scrubIntervalMs: 1000 }, TOLD)
  const tab = ring.tab(0)
  await fill(ring, tab)
  await ring.pass(1000)
  const { storage } = tab
  if (!storage) throw new Error('it is open')
  for (const key of ['a', 'b', 'c']) damageRecord(tab, key)
  const read = () => nodeOf(tab).replica.readEach(['a', 'b', 'c'].map(named))
  await ring.await(read())
  const walked = new Set<number>()
  const { scanPartition } = storage
  storage.scanPartition = async (partition, options) => {
    walked.add(partition)
    await read()
    return scanPartition.call(storage, partition, options)
  }
  await ring.pass(60_000)
  expect(walked.has(nodeOf(tab).routing.addressOf(named('d')).partition)).toBe(true)
})

// It had to be readable to be delivered, and everything for that home waited behind it.
test('a damaged hint is dropped, and the others reach their home', async () => {
  const ring = await openRing(4, { merkleSync: false }, TOLD)
  const [writer, home] = [ring.tab(0), ring.tab(1)]
  ring.crash(home)
  await ring.pass(4000)
  const keys = Array.from({ length: 40 }, (_, i) => `k${i}`)
  for (const key of keys) await ring.client(writer).put(key, 'late')
  const holders = ring.tabs.filter((tab) => tab.disk.hints.size > 0)
  expect(holders.length).toBeGreaterThan(0)
  for (const { disk } of holders)
    for (const [key, row] of [...disk.hints].slice(0, 1))
      disk.hints.set(key, { ...row, container: damaged(row.container) })
  await ring.reopen(home)
  await ring.until('no hints', () => ring.tabs.every(({ disk }) => disk.hints.size === 0))
  const here = keys.filter((key) => nodeOf(home).routing.homes(named(key)).includes(home.id))
  const missing = here.filter((key) => !home.disk.records.has(named(key)))
  expect(missing.length).toBeLessThanOrEqual(holders.length)
  expect(here.length).toBeGreaterThan(10)
})

// RangeError out of openStore, for every tab of the profile.
test('a node whose bookkeeping is damaged opens, learns everything anew, and has its data', async () => {
  const ring = await openRing(3)
  const tab = ring.tab(0)
  await fill(ring, tab)
  await ring.world.close(tab)
  damageBookkeeping(tab)
  await ring.reopen(tab)
  await ring.until('one ring', () => ring.isWhole())
  for (const key of KEYS) expect(await ring.client(tab).get(key, { r: 3 })).toEqual([`${key} 1`])
})

test('a closed tab whose bookkeeping is damaged is adopted all the same', async () => {
  const ring = await openRing(4)
  const [adopter, orphan] = [ring.tab(0), ring.tab(3)]
  await fill(ring, orphan)
  await ring.world.close(orphan)
  damageBookkeeping(orphan)
  await ring.adopt(adopter, orphan)
  await ring.until('one ring', () => ring.isWhole())
  for (const key of KEYS) expect(await ring.client(adopter).get(key, { r: 3 })).toEqual([`${key} 1`])
})

test('what is damaged on the disk of an adopted tab is told of, and costs only itself', async () => {
  const ring = await openRing(4, {}, TOLD)
  const [adopter, orphan] = [ring.tab(0), ring.tab(3)]
  await fill(ring, orphan)
  const held = KEYS.filter((key) => orphan.disk.records.has(named(key)))
  expect(held.length).toBeGreaterThan(1)
  await ring.world.close(orphan)
  damageRecord(orphan, held[0] as string)
  await ring.adopt(adopter, orphan)
  expect(ring.world.errors.map(String)).toEqual([
    'StorageFailure: of a closed tab, so many damaged rows are dropped: 1',
  ])
  for (const key of KEYS) expect(await ring.client(adopter).get(key, { r: 3 })).toEqual([`${key} 1`])
})

const MANY = Array.from({ length: 60 }, (_, i) => `k${i}`)
const UNSCRUBBED = { scrubIntervalMs: 1e9 }
const partitionOf = (tab: Tab, key: string) => nodeOf(tab).partitionOf(named(key))

// All of it was fetched again and again, and came to an end at the damaged record each time.
test('a new home gets all but the damaged record of its only source, and does not deny that one', async () => {
  const ring = await openRing(1, UNSCRUBBED, TOLD)
  const tab = ring.tab(0)
  for (const key of MANY) await ring.client(tab).put(key, 'there', { w: 1 })
  damageRecord(tab, 'k7')
  const late = await ring.join()
  await ring.pass(20_000)
  expect(late.disk.records.size).toBe(MANY.length - 1)
  // The partition is not whole: its "not found" is no vote, neither by a get nor by a scan.
  expect(nodeOf(late).duties.filling()).toEqual([partitionOf(tab, 'k7')])
  const sent = await ring.messages(() => ring.pass(60_000))
  expect(sent.filter(({ type }) => type === 'AskComplete').length).toBeLessThanOrEqual(6)
  for (const reader of [tab, late])
    expect(await ring.client(reader).ask('k7', { r: 1 })).toMatchObject({ met: false, container: { siblings: [] } })
  await ring.client(late).put('k7', 'anew', { w: 2 })
  await ring.until('the new home is whole', () => ring.isWhole())
  for (const reader of [tab, late]) expect(await ring.client(reader).get('k7', { r: 2 })).toEqual(['anew'])
})

test('a new home takes what is damaged at one home from another, and is whole', async () => {
  const ring = await openRing(2, UNSCRUBBED, TOLD)
  const [a, b] = [ring.tab(0), ring.tab(1)]
  for (const key of MANY) await ring.client(a).put(key, 'there', { w: 2 })
  for (const [i, key] of MANY.entries()) damageRecord(i % 2 ? a : b, key)
  const late = await ring.join()
  await ring.until('the new home is whole', () => nodeOf(late).duties.isHome(partitionOf(late, 'k0')) && ring.isWhole())
  expect(late.disk.records.size).toBe(MANY.length)
})

// It is damaged, or it was written where nobody else was; either way it was in the way of all others.
test('a damaged record does not keep others from being brought to where they lack', async () => {
  const ring = await openRing(2, { ...UNSCRUBBED, hintedHandoff: false, readRepair: false }, TOLD)
  const [a, b] = [ring.tab(0), ring.tab(1)]
  ring.partition([a], [b])
  await ring.pass(3000)
  for (const key of MANY) await ring.client(a).put(key, 'there', { w: 1 })
  damageRecord(a, 'k7')
  a.disk.hints.clear()
  ring.heal()
  await ring.until('all others are there', () => b.disk.records.size === MANY.length - 1)
  // Also what is damaged and lacks elsewhere does not make each of them sync again and again.
  const sent = await ring.messages(() => ring.pass(60_000))
  expect(sent.filter(({ type }) => type === 'ListLeaves').length).toBeLessThanOrEqual(12)
  await ring.client(b).put('k7', 'anew', { w: 2 })
  expect(replicaAt(a, 'k7')).toEqual(['anew'])
})

test('sync does not put an older version in the place of a damaged one', async () => {
  const ring = await openRing(3, { ...UNSCRUBBED, hintedHandoff: false, readRepair: false }, TOLD)
  const [a, b, c] = ring.tabs as [Tab, Tab, Tab]
  const client = ring.client(a)
  for (const key of KEYS) await client.put(key, 'old', { w: 3 })
  ring.partition([a, b], [c])
  await ring.pass(3000)
  for (const key of KEYS) await client.put(key, 'new', { w: 2 })
  for (const { disk, node } of [a, b]) {
    disk.hints.clear()
    node?.replica.hints.clear()
  }
  damageRecord(a, 'b')
  ring.crash(b)
  ring.heal()
  await ring.pass(60_000)
  expect(KEYS.map((key) => replicaAt(c, key))).toEqual([['new'], ['old'], ['new'], ['new']])
  // Of the two that wrote the new version, one cannot say so and the other is away.
  expect(await ring.client(c).ask('b', { r: 2 })).toMatchObject({ met: false })
  await ring.reopen(b)
  await ring.until('the new one is there', () => replicaAt(c, 'b')[0] === 'new')
  expect(await ring.client(c).get('b', { r: 2 })).toEqual(['new'])
})

// Its last step could not tell whether the record was still the same, and all of leaving failed.
test('a tab with a damaged record leaves, as the others have the same', async () => {
  const ring = await openRing(4, UNSCRUBBED, TOLD)
  const leaver = ring.tab(3)
  for (const key of MANY) await ring.client(leaver).put(key, 'there', { w: 3 })
  await ring.pass(1000)
  const [damaged] = leaver.disk.records.keys()
  if (damaged) leaver.disk.flipByte(damaged, 2)
  await ring.leave(leaver)
  expect(leaver.disk.records.size).toBe(0)
  for (const key of MANY) expect(await ring.client(ring.tab(0)).get(key, { r: 3 })).toEqual(['there'])
})

// What had been mended was held against it, once.
test('a repair that has made a wrong tree anew and fetched the record that was missing says that all is well', async () => {
  const ring = await openRing(3, { scrubIntervalMs: 1e9 }, TOLD)
  const tab = ring.tab(0)
  await fill(ring, tab)
  await ring.pass(1000)
  tab.disk.records.delete(named('b'))
  const verify = (repair: boolean) => ring.await(verifyNode(nodeOf(tab), repair))
  expect(await verify(false)).toMatchObject({ records: 3, wrongTrees: 1, ok: false })
  expect(await verify(true)).toMatchObject({ records: 3, wrongTrees: 1, ok: true })
  expect(await verify(false)).toMatchObject({ records: 4, wrongTrees: 0, ok: true })
})

// Healing took the damaged digest out of a tree that had never had it.
test('one repair heals a record whose digest alone is damaged, and its tree', async () => {
  const ring = await openRing(3, { scrubIntervalMs: 1e9 }, TOLD)
  const tab = ring.tab(0)
  await fill(ring, tab)
  await ring.pass(1000)
  const row = tab.disk.records.get(named('b'))
  if (!row) throw new Error('not a home')
  tab.disk.records.set(named('b'), { ...row, digest: { ...row.digest, high: row.digest.high ^ 5 } })
  const verify = (repair: boolean) => ring.await(verifyNode(nodeOf(tab), repair))
  expect(await verify(true)).toMatchObject({ corrupt: ['b'], healed: 1, ok: true })
  expect(await verify(false)).toMatchObject({ corrupt: [], wrongTrees: 0, ok: true })
})

// At every comparison both went down to the keys, found them equal, and began anew: eight minutes long, until a scrub came by.
test('trees that differ over equal records are mended by the comparison that finds it', async () => {
  const ring = await openRing(3, UNSCRUBBED, TOLD)
  const tab = ring.tab(0)
  await fill(ring, tab)
  await ring.pass(1000)
  await ring.world.close(tab)
  expect(tab.disk.flipLeaf(named('b'))).toBe(true)
  await ring.reopen(tab)
  await ring.pass(10_000)
  const { sent } = ring.world.trace
  const before = sent.get('CompareGroups')
  expect(before).toBeGreaterThan(0)
  await ring.pass(10_000)
  expect(sent.get('CompareGroups')).toBe(before)
  expect(await ring.await(verifyNode(nodeOf(tab), false))).toMatchObject({ records: 4, wrongTrees: 0, ok: true })
})
