/** What is damaged on a disk: it costs itself, for as long as no other home has been asked, and nothing else. */
import { expect, test } from 'vitest'
import { type StoreKey, storeKey } from '../../src/core/ids.js'
import { verifyNode } from '../../src/store/verify.js'
import { type Ring, type Tab, nodeOf, openRing } from '../paper/ring.js'

const named = (key: string) => storeKey(3, '', key)
const damaged = (bytes: Uint8Array) => bytes.map((byte, i) => (i === 2 ? byte ^ 255 : byte))
const KEYS = ['a', 'b', 'c', 'd']

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
  const all = nodeOf(tab).scan({ from: named('a'), to: named('z'), reverse: false }, 3, { r: 1, strictQuorum: false })
  await ring.await(
    (async () => {
      for await (const { key } of all.entries()) found.push(key)
    })(),
  )
  return [found, all.complete]
}

test('a scan takes a damaged record from another home; alone, it leaves it out and says that it is not complete', async () => {
  const ring = await openRing(3, { scrubIntervalMs: 1e9 })
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
  const ring = await openRing(3, { scrubIntervalMs: 1e9 })
  const tab = ring.tab(0)
  await fill(ring, tab)
  await ring.pass(1000)
  await ring.world.close(tab)
  damageRecord(tab, 'b')
  await ring.reopen(tab)
  await ring.until('one ring', () => ring.isWhole())
  const context = await ring.await(nodeOf(tab).ownContext(named('b')))
  expect(context.vector.size).toBe(1)
  await ring.client(tab).put('b', '2')
  await ring.pass(1000)
  expect(await ring.client(ring.tab(1)).get('b', { r: 3 })).toContain('2')
})

// It had to be readable to be delivered, and everything for that home waited behind it.
test('a damaged hint is dropped, and the others reach their home', async () => {
  const ring = await openRing(4, { merkleSync: false }, { quiet: false })
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

// What had been mended was held against it, once.
test('a repair that has made a wrong tree anew and fetched the record that was missing says that all is well', async () => {
  const ring = await openRing(3, { scrubIntervalMs: 1e9 })
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
  const ring = await openRing(3, { scrubIntervalMs: 1e9 })
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
