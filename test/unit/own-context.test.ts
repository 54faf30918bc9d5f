/** What a put without any context descends from: what its own tab wrote before, also in an earlier life. */
import { expect, test } from 'vitest'
import { covers } from '../../src/core/versions/context.js'
import { type Ring, type Tab, named, nodeOf, openRing, replicaAt } from '../paper/ring.js'
import { typeOf } from '../sim/trace.js'
import { answerOf, passing, storeAt } from './support/stores.js'

/** Writes at that tab, without having seen anything or after a get. @returns whether the tab's own context covers it later */
async function put(ring: Ring, tab: Tab, seen: 'all' | 'nothing'): Promise<(own: Tab) => Promise<boolean>> {
  const client = ring.client(tab)
  if (seen === 'all') await client.get('k', { r: 3 })
  await client.put('k', `by ${tab.id}`, { w: 3 })
  const { dot } = ring.world.history.writesOf(named('k')).at(-1) ?? {}
  return async (own) =>
    dot !== undefined && covers(await ring.await(nodeOf(own).coordinator.ownContext(named('k'))), dot)
}

/** In its next life, the tab's put replaces what it wrote in this one. */
async function expectReplaced(ring: Ring, tab: Tab): Promise<void> {
  ring.crash(tab)
  await ring.reopen(tab)
  await ring.until('one ring', () => ring.isWhole())
  const { store } = storeAt(tab)
  await answerOf(ring, store.put('k', 'next'))
  expect(await answerOf(ring, store.get('k'))).toMatchObject({ value: 'next', conflict: false })
}

// The next put replaced the tab's own version and not what that had replaced, which came back from a tab that had been away (seed 4805).
test('after a reload it covers what the own version had replaced', async () => {
  const ring = await openRing(3)
  const [tab, other] = ring.tabs as [Tab, Tab]
  const former = await put(ring, other, 'nothing')
  const own = await put(ring, tab, 'all')
  ring.crash(tab)
  await ring.reopen(tab)
  expect([await former(tab), await own(tab)]).toEqual([true, true])
})

test('it covers nothing of what others wrote beside it', async () => {
  const ring = await openRing(3)
  const [tab, other] = ring.tabs as [Tab, Tab]
  const own = await put(ring, tab, 'nothing')
  const beside = await put(ring, other, 'nothing')
  expect([await own(tab), await beside(tab)]).toEqual([true, false])
})

// Each life left one more sibling: once its hint is delivered, nothing but its copy tells what a tab wrote that is no home of the key.
test('a reload makes no conflict, also where the tab is no home of the key', async () => {
  const ring = await openRing(5)
  const [tab] = ring.others('k') as [Tab]
  for (let life = 1; life <= 3; life++) {
    const { store } = storeAt(tab)
    await answerOf(ring, store.put('k', `life ${life}`))
    await answerOf(ring, store.flush())
    await passing(ring, 1000)
    ring.crash(tab)
    await ring.reopen(tab)
    await ring.until('it is up', () => nodeOf(tab).peers.reachable().length === 4)
    for (const home of ring.homes('k')) expect(replicaAt(home, 'k')).toHaveLength(1)
  }
  const { store } = storeAt(tab)
  expect(await answerOf(ring, store.get('k'))).toMatchObject({ value: 'life 3', conflict: false })
})

// A tab that put something and was loaded anew at once conflicted with itself, and alone it did not know what it had written: its hint was gone and its
// copy not yet written.
test('nor one right after its put was confirmed by all homes', async () => {
  const ring = await openRing(5)
  const [tab] = ring.others('k') as [Tab]
  await answerOf(ring, storeAt(tab).store.put('k', 'first'))
  await ring.until('the outbox is empty', () => tab.disk.hints.size === 0)
  ring.crash(tab)
  await ring.reopen(tab)
  const { store } = storeAt(tab)
  await answerOf(ring, store.put('k', 'second'))
  expect(await answerOf(ring, store.get('k'))).toMatchObject({ value: 'second', conflict: false })
})

// What was written before the tab was loaded anew, and delivered after that, was no copy in either life.
test('nor one before its put was confirmed', async () => {
  const ring = await openRing(5)
  const [tab] = ring.others('k') as [Tab]
  ring.partition(
    [tab],
    ring.tabs.filter((other) => other !== tab),
  )
  await ring.pass(3000)
  await answerOf(ring, storeAt(tab).store.put('k', 'first', { w: 1 }))
  ring.crash(tab)
  await ring.reopen(tab)
  ring.heal()
  await ring.until('the outbox is empty', () => tab.disk.hints.size === 0)
  const { store } = storeAt(tab)
  await answerOf(ring, store.put('k', 'second'))
  expect(await answerOf(ring, store.get('k'))).toMatchObject({ value: 'second', conflict: false })
})

// The answer of a get that had begun before the put, or a page of a scan, came after it, and took the place of the copy.
test('nor where it was shown once more after its put what had been there before', async () => {
  const ring = await openRing(5)
  const [tab] = ring.others('k') as [Tab]
  const { knobs } = ring.world.network
  const { store } = storeAt(tab)
  await answerOf(ring, store.put('k', 'first'))
  await passing(ring, 1000)
  knobs.latency = (_, to, frame) => (to === tab.id && ['ReadResult', 'ScanPage'].includes(typeOf(frame)) ? 300 : 5)
  const range = { from: named('k'), to: named('l'), reverse: false }
  const scan = async () => {
    for await (const _ of nodeOf(tab).coordinator.scan(range, 3, { r: 2, strictQuorum: false }).entries());
  }
  const shown = [store.get('k'), scan()]
  await ring.pass(50)
  await answerOf(ring, store.put('k', 'second'))
  await answerOf(ring, Promise.all(shown))
  await passing(ring, 1000)
  knobs.latency = undefined
  await expectReplaced(ring, tab)
})

test('nor where a scan that had read it before comes to it after all homes have confirmed its put', async () => {
  const ring = await openRing(5)
  const [tab] = ring.others('k') as [Tab]
  const { store } = storeAt(tab)
  for (const key of ['a', 'k']) await answerOf(ring, store.put(key, 'first'))
  await passing(ring, 1000)
  const range = { from: named('a'), to: named('l'), reverse: false }
  const entries = nodeOf(tab).coordinator.scan(range, 3, { r: 2, strictQuorum: false }).entries()
  await ring.await(entries.next())
  await answerOf(ring, store.put('k', 'second'))
  await ring.until('the outbox is empty', () => tab.disk.hints.size === 0)
  await ring.await(entries.next())
  await passing(ring, 1000)
  await expectReplaced(ring, tab)
})

// What it had written as a home went from its disk with the partition.
test('nor where the tab was a home of the key when it wrote it', async () => {
  const ring = await openRing(3, { scrubIntervalMs: 2000 })
  const [tab] = ring.tabs as [Tab]
  const keys = Array.from({ length: 60 }, (_, i) => `k${i}`)
  await answerOf(
    ring,
    storeAt(tab).store.putMany(
      keys.map((key) => [key, 'before'] as const),
      { w: 3 },
    ),
  )
  for (let i = 0; i < 3; i++) await ring.join()
  await ring.until('one ring', () => ring.isWhole())
  await ring.until('it gives up what is others’', () => nodeOf(tab).transfers.strays().length === 0)
  const others = keys.filter((key) => !ring.homes(key).includes(tab))
  expect(others.length).toBeGreaterThan(10)
  await ring.pass(1000)
  ring.crash(tab)
  await ring.reopen(tab)
  await ring.until('one ring again', () => ring.isWhole())
  const { store } = storeAt(tab)
  await answerOf(ring, store.putMany(others.map((key) => [key, 'after'] as const)))
  const entries = await answerOf(ring, store.getMany(others))
  expect(entries.filter(({ conflict }) => conflict).map(({ key }) => key)).toEqual([])
})

test('a disk that cannot be read keeps nobody from writing where the tab is no home', async () => {
  const ring = await openRing(5, {}, { quiet: false })
  const [tab] = ring.others('k') as [Tab]
  await answerOf(ring, storeAt(tab).store.put('k', 'before'))
  await passing(ring, 1000)
  if (!tab.storage) throw new Error('it is open')
  tab.storage.failingReads = 'unavailable'
  expect(await answerOf(ring, storeAt(tab).store.put('k', 'after'))).toMatchObject({ quorum: { met: true } })
})

// Each was given a context before the other's dot was minted, where the disk answered both at once: a conflict of a tab with itself.
test('two first puts of a key in one turn make no conflict, where its record is in memory', async () => {
  const ring = await openRing(3)
  const [tab, other] = ring.tabs as [Tab, Tab]
  await answerOf(ring, storeAt(other).store.put('k', 'of another tab'))
  await passing(ring, 1000)
  const { disk, storage } = tab
  if (!storage) throw new Error('it is open')
  // As the row cache of a tab does.
  storage.get = async (addresses) => addresses.map(({ key }) => disk.records.get(key)?.container)
  const { store } = storeAt(tab)
  await answerOf(ring, Promise.all([store.put('k', 'first'), store.put('k', 'second')]))
  const { siblings } = await answerOf(ring, store.get('k'))
  expect(siblings.sort()).toEqual(['of another tab', 'second'])
})

/** A tab that has written a key in an earlier life, its new handle, and how long its disk takes from now on. */
async function reopened() {
  const ring = await openRing(1)
  const [tab] = ring.tabs as [Tab]
  await answerOf(ring, storeAt(tab).store.put('k', 1))
  const { storage } = tab
  if (!storage) throw new Error('it is open')
  const get = storage.get.bind(storage)
  let diskMs = 0
  storage.get = async (addresses) => {
    if (diskMs > 0) await nodeOf(tab).pause(diskMs)
    return get(addresses)
  }
  const takes = (ms: number) => {
    diskMs = ms
  }
  return { ring, store: storeAt(tab).store, takes }
}

// One that still waited for the disk was written after one that had not to wait any more, descended from it, and replaced it.
test('puts of a key of an earlier life are written in the order of the calls, however long the disk takes for each', async () => {
  const { ring, store, takes } = await reopened()
  takes(100)
  const puts = [store.put('k', 2)]
  takes(200)
  puts.push(store.put('k', 3))
  takes(0)
  await passing(ring, 150)
  puts.push(store.put('k', 4))
  await answerOf(ring, Promise.all(puts))
  expect(await answerOf(ring, store.get('k'))).toMatchObject({ value: 4, conflict: false })
})

test('a put that waits for the disk is written before one that is called after a get', async () => {
  const { ring, store, takes } = await reopened()
  takes(500)
  const first = store.put('k', 2)
  takes(0)
  await answerOf(ring, store.get('k'))
  await answerOf(ring, Promise.all([first, store.put('k', 3)]))
  expect(await answerOf(ring, store.get('k'))).toMatchObject({ value: 3, conflict: false })
})

test('an update changes what a put writes that was called before it and waits for the disk', async () => {
  const { ring, store, takes } = await reopened()
  takes(500)
  const put = store.put('k', 10)
  takes(0)
  await answerOf(ring, Promise.all([put, store.update<number>('k', (value = 0) => value + 1)]))
  expect(await answerOf(ring, store.get('k'))).toMatchObject({ value: 11, conflict: false })
})

// The put was rejected, though a get of the same key was answered by the others, and they would have taken it.
test('after a reload, a disk that cannot be read keeps nobody from writing where others answer, and alone it says so', async () => {
  const ring = await openRing(3, {}, { quiet: false })
  const [tab, ...others] = ring.tabs as [Tab, ...Tab[]]
  await answerOf(ring, storeAt(tab).store.put('k', 'former'))
  await passing(ring, 1000)
  ring.crash(tab)
  await ring.reopen(tab)
  await ring.until('it is up', () => nodeOf(tab).peers.reachable().length === 2)
  if (!tab.storage) throw new Error('it is open')
  tab.storage.failingReads = 'unknown'
  await answerOf(ring, storeAt(tab).store.put('k', 'next'))
  expect(await answerOf(ring, storeAt(others[0] as Tab).store.get('k'))).toMatchObject({
    value: 'next',
    conflict: false,
  })
  ring.partition([tab], others)
  await passing(ring, 5000)
  await expect(answerOf(ring, storeAt(tab).store.put('k', 'alone'))).rejects.toMatchObject({ name: 'StorageError' })
})
