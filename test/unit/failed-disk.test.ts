/** A disk that fails under a request: another node is told, at once (P41), and this one asks the others. */
import { describe, expect, test } from 'vitest'
import { type Partition, storeKey } from '../../src/core/ids.js'
import type { Message } from '../../src/core/messages.js'
import type { Bucket } from '../../src/store/bucket.js'
import { type Tab, named, nodeOf, openRing } from '../paper/ring.js'
import { answerOf, passing, storeAt } from './support/stores.js'

const partition = 0 as Partition

// Those of Merkle sync were silence, and each waited ten seconds for it.
test.each<Message>([
  { type: 'Read', key: named('k'), full: true },
  { type: 'Fetch', keys: [named('k')] },
  { type: 'Scan', from: named('a'), to: named('z'), limit: 10, reverse: false },
  { type: 'ListLeaves', leaves: [[partition, 0]] },
  { type: 'CheckKeys', keys: [named('k')] },
  { type: 'FetchPartitions', partitions: [partition], after: undefined },
  { type: 'Reap', entries: [[named('k'), new Uint8Array(8)]], commit: false, left: undefined },
])('$type is answered by Failed when the disk fails', async (message) => {
  const ring = await openRing(2, {}, { quiet: false })
  const [asker, asked] = [ring.tab(0), ring.tab(1)]
  await ring.client(asker).put('k', 'there', { w: 2 })
  if (!asked.storage) throw new Error('it is open')
  asked.storage.failingReads = 'unavailable'
  const start = ring.world.time.now
  const reply = await ring.await(nodeOf(asker).peers.request(asked.id, message, 10_000, 'background'))
  expect(reply).toEqual({ type: 'Failed', kind: 'unavailable' })
  expect(ring.world.time.now - start).toBeLessThan(500)
  expect(ring.world.errors.length).toBeGreaterThan(0)
})

// It was kept as a copy of what passes through here, and shown as if somebody had it.
test('a put that rejected, as nobody has taken it, is shown by no get', async () => {
  const ring = await openRing(5, {}, { quiet: false })
  const [stranger] = ring.others('k')
  ring.partition(
    [stranger],
    ring.tabs.filter((tab) => tab !== stranger),
  )
  await ring.pass(10_000)
  const { store } = storeAt(stranger)
  if (!stranger.storage) throw new Error('it is open')
  stranger.storage.failingOnce = 'unknown'
  await expect(answerOf(ring, store.put('k', 'nobody took it'))).rejects.toThrow('The database failed')
  await passing(ring, 2000)
  expect((await answerOf(ring, store.get('k'))).value).toBeUndefined()
})

// Nobody was told: the calls resolved by what others confirmed.
test('a tab whose own disk is full says so, once a minute, also where its puts resolve', async () => {
  const ring = await openRing(3, {}, { quiet: false })
  const tab = ring.tab(0)
  const { store, errors } = storeAt(tab)
  if (!tab.storage) throw new Error('it is open')
  tab.storage.failing = 'quota'
  for (let i = 0; i < 5; i++) {
    const { acks } = await answerOf(ring, store.put(`k${i}`, 'value'))
    expect([acks.length > 0, acks.includes(tab.id)]).toEqual([true, false])
  }
  expect(errors).toMatchObject([{ name: 'StorageError', reason: 'quota' }])
})

// Only of a full disk it was told: of one that fails in any other way, nothing but the receipts' acks.
test('a tab whose own disk fails says so, also where its puts resolve', async () => {
  const ring = await openRing(3, {}, { quiet: false })
  const tab = ring.tab(0)
  const { store, errors } = storeAt(tab)
  if (!tab.storage) throw new Error('it is open')
  tab.storage.failing = 'unknown'
  expect(await answerOf(ring, store.put('k', 'value'))).toMatchObject({ quorum: { met: true } })
  expect(errors).toMatchObject([{ name: 'StorageError', reason: 'unknown' }])
})

function failReads(tab: Tab, kind: 'unknown' | undefined): void {
  if (!tab.storage) throw new Error('it is open')
  tab.storage.failingReads = kind
}

// Each rejected, or ended for good, though everything that it was to show was at other homes as well.
describe('when the own disk cannot be read for a moment', () => {
  /** What a scan shows; after the first key, something may happen. */
  async function scan(bucket: Pick<Bucket, 'scan'>, afterFirst = () => {}) {
    const found = bucket.scan()
    const keys: string[] = []
    for await (const { key } of found) if (keys.push(key) === 1) afterFirst()
    return { keys, complete: found.complete }
  }

  const KEYS = Array.from({ length: 300 }, (_, i) => `k${i}`).sort()

  test.each([
    ['from the beginning', true],
    ['after the first page', false],
  ])('a scan gives what the others have, and tells of it once: %s', async (_, isFirst) => {
    const ring = await openRing(4, {}, { quiet: false })
    const tab = ring.tab(0)
    const writer = storeAt(ring.tab(1)).store
    await answerOf(
      ring,
      writer.putMany(
        KEYS.map((key) => [key, 1] as const),
        { w: 3 },
      ),
    )
    const { store, errors } = storeAt(tab)
    if (isFirst) failReads(tab, 'unknown')
    const scanned = scan(store, () => failReads(tab, 'unknown'))
    expect(await answerOf(ring, scanned)).toEqual({ keys: KEYS, complete: true })
    expect(errors).toMatchObject([{ code: 'storage', reason: 'unknown' }])
  })

  test('a scan says that it is not complete where no other home answers', async () => {
    const ring = await openRing(4, {}, { quiet: false })
    const [tab, other, ...away] = ring.tabs as [Tab, Tab, Tab, Tab]
    const { store } = storeAt(tab)
    await answerOf(ring, storeAt(other).store.put('k', 1, { w: 3 }))
    ring.crash(...away)
    await passing(ring, 10_000)
    expect(await answerOf(ring, scan(store))).toEqual({ keys: ['k'], complete: true })
    failReads(tab, 'unknown')
    expect(await answerOf(ring, scan(store))).toEqual({ keys: ['k'], complete: false })
  })

  test('a scan rejects as a get does where nobody else answers', async () => {
    const ring = await openRing(1, {}, { quiet: false })
    const { store } = storeAt(ring.tab(0))
    await answerOf(ring, store.put('k', 1))
    failReads(ring.tab(0), 'unknown')
    await expect(answerOf(ring, store.get('k'))).rejects.toThrow('The database failed')
    await expect(answerOf(ring, scan(store))).rejects.toThrow('The database failed')
  })

  test('a watch of a prefix goes on', async () => {
    const ring = await openRing(4, {}, { quiet: false })
    const [tab, other, , cut] = ring.tabs as [Tab, Tab, Tab, Tab]
    const writer = storeAt(other).store
    await answerOf(ring, writer.put('a', 'there', { w: 3 }))
    const { store, errors } = storeAt(tab)
    const seen: unknown[] = []
    store.subscribe({ prefix: '' }, ({ value }) => seen.push(value))
    await passing(ring, 500)
    // A link comes back, and it looks again at everything, just when the disk fails.
    ring.partition([tab], [cut])
    await passing(ring, 5000)
    failReads(tab, 'unknown')
    ring.heal()
    await passing(ring, 4000)
    expect(errors).toMatchObject([{ code: 'storage' }])
    failReads(tab, undefined)
    await answerOf(ring, writer.put('b', 'later', { w: 3 }))
    await passing(ring, 2000)
    expect(seen).toEqual(['there', 'later'])
  })

  // One read that failed ended it for good, and nothing but the error event told.
  test.each<[what: string, target: string | { prefix: string }, shown: unknown[]]>([
    ['key', 'k', [undefined, 'written meanwhile', 'later']],
    ['prefix', { prefix: '' }, ['written meanwhile', 'later']],
  ])('a subscription to a %s goes on, and a watch rejects, where nobody else answers', async (_, target, shown) => {
    const ring = await openRing(1, {}, { quiet: false })
    const [tab] = ring.tabs as [Tab]
    const { store, errors } = storeAt(tab)
    const seen: unknown[] = []
    const stop = store.subscribe(target, ({ value }) => seen.push(value))
    await passing(ring, 500)
    failReads(tab, 'unknown')
    await answerOf(ring, store.put('k', 'written meanwhile'))
    await passing(ring, 10_000)
    await expect(answerOf(ring, store.watch('k').next())).rejects.toMatchObject({ code: 'storage' })
    const told = errors.length
    expect(told).toBeGreaterThan(0)
    expect(told).toBeLessThan(10)
    failReads(tab, undefined)
    await passing(ring, 10_000)
    expect(seen).toEqual(shown.slice(0, -1))
    await answerOf(ring, store.put('k', 'later'))
    await passing(ring, 100)
    expect(seen).toEqual(shown)
    stop()
  })

  test('a subscription that begins just then shows what there is once the disk can be read', async () => {
    const ring = await openRing(1, {}, { quiet: false })
    const [tab] = ring.tabs as [Tab]
    const { store, errors } = storeAt(tab)
    await answerOf(ring, store.put('k', 'there'))
    failReads(tab, 'unknown')
    const seen: unknown[] = []
    for (const target of ['k', { prefix: '' }]) store.subscribe(target, ({ value }) => seen.push(value))
    await passing(ring, 500)
    failReads(tab, undefined)
    await passing(ring, 2000)
    expect(seen).toEqual(['there', 'there'])
    expect(errors.length).toBeGreaterThan(0)
  })
})

// The watch had looked, and no link had ended: it stayed without what is there until that changed.
test.each<[what: string, target: string | { prefix: string }, shown: unknown[]]>([
  ['key', 'k', [undefined, 'there']],
  ['prefix', { prefix: '' }, ['there']],
])('a watch of a %s shows what its one home could not read at first', async (_, target, shown) => {
  const ring = await openRing(4, {}, { quiet: false, knobs: { replication: [3, 1] } })
  const settings = { replication: { n: 1 } }
  const homes = nodeOf(ring.tab(0)).routing.homes(storeKey(1, '', 'k'))
  const home = ring.tabs.find(({ id }) => homes.includes(id)) as Tab
  const stranger = ring.tabs.find((tab) => tab !== home) as Tab
  await answerOf(ring, storeAt(home, settings).store.put('k', 'there'))
  await passing(ring, 5000)
  const seen: unknown[] = []
  failReads(home, 'unknown')
  storeAt(stranger, settings).store.subscribe(target, ({ value }) => seen.push(value))
  await passing(ring, 1000)
  failReads(home, undefined)
  await passing(ring, 5000)
  expect(seen).toEqual(shown)
})

// Its tree said that there is no such key, until the walk over the whole disk came by.
test('a write that reached the disk although nobody was told is there after the next round of the scrub', async () => {
  const ring = await openRing(1, { scrubIntervalMs: 2000 }, { quiet: false })
  const tab = ring.tab(0)
  if (!tab.storage) throw new Error('it is open')
  tab.storage.loseOutcome = true
  expect(await ring.client(tab).put('k', 'there', { w: 1 })).toMatchObject({ met: false })
  Object.assign(tab.storage, { loseOutcome: false, closed: false })
  await ring.pass(2500)
  expect(await ring.client(tab).get('k', { r: 1 })).toEqual(['there'])
})

// It went on to write its bookkeeping every five seconds, as long as the page lived.
test('a node that could not start does nothing any more', async () => {
  const ring = await openRing(2, {}, { quiet: false })
  const [tab] = ring.tabs as [Tab, Tab]
  ring.crash(tab)
  ring.world.begin(tab)
  const { storage } = tab
  if (!storage) throw new Error('it is opening')
  storage.failing = 'unknown'
  await ring.until('it has failed', () => ring.world.errors.length > 0)
  const { commits } = storage
  await ring.pass(60_000)
  expect(storage.commits).toBe(commits)
})
