/** A key whose versions are together larger than a frame: it is in no other key's way, and nobody says that it is not there. */
import { expect, test } from 'vitest'
import { type Message, mayTravel } from '../../src/core/messages.js'
import { type Ring, type Tab, named, nodeOf, openRing } from '../paper/ring.js'

/** No answer of a peer is waited for until its time-out. */
const AT_ONCE_MS = 1000

const VERSIONS = 28

/** A ring of four, each of which has written some versions of 'k' while it was alone; each home has all of them, and the stranger its own. */
async function ringOfLargeKey(): Promise<Ring> {
  const ring = await openRing(4, { batchKeys: 4 })
  const sides = ring.tabs.map((tab) => [tab])
  for (const [i, side] of sides.entries()) ring.partition(side, ring.tabs.slice(i + 1))
  await ring.pass(5000)
  for (const [i, tab] of ring.tabs.entries())
    for (let j = 0; j < VERSIONS / ring.tabs.length; j++) {
      const client = ring.client(tab)
      client.forget('k')
      await client.put('k', `${i} ${j}`.padEnd(850_000, '.'), { w: 1 })
    }
  const isTooLarge = (home: Tab) => {
    const record = home.disk.records.get(named('k'))
    return record !== undefined && !mayTravel(record.container)
  }
  // The homes first: else the stranger, which stands in for those that come last, could still be given what the first one has.
  const homes = ring.homes('k')
  ring.heal()
  ring.partition(ring.others('k'), homes)
  await ring.until('more than travels', () => homes.every(isTooLarge), 120_000)
  ring.heal()
  await ring.until('one ring', () => ring.isWhole(), 120_000)
  await ring.pass(60_000)
  expect(homes.every(isTooLarge)).toBe(true)
  return ring
}

/** Opens tabs until one of them is a home of 'k'. */
async function newHome(ring: Ring): Promise<Tab> {
  for (let i = 0; i < 10; i++) {
    const newcomer = await ring.join()
    await ring.pass(30_000)
    if (ring.homes('k').includes(newcomer)) return newcomer
  }
  throw new Error('no newcomer became a home')
}

// It was left out of the pages that a newcomer fetches without a word: that took what it had for all, and denied the key with a vote.
test('a newcomer that cannot be given a key denies it to nobody, until somebody resolves it', async () => {
  const ring = await ringOfLargeKey()
  const newcomer = await newHome(ring)
  const isComplete = () => nodeOf(newcomer).duties.isComplete(nodeOf(newcomer).partitionOf(named('k')))
  expect([newcomer.disk.records.has(named('k')), isComplete()]).toEqual([false, false])
  const start = ring.world.time.now
  const { met, answers } = await ring.client(newcomer).ask('k', { r: 1 })
  expect({ met, answers }).toEqual({ met: false, answers: 0 })
  expect(ring.world.time.now - start).toBeLessThan(AT_ONCE_MS)
  const full = ring.homes('k').find((home) => home.disk.records.has(named('k'))) as Tab
  const client = ring.client(full)
  expect((await client.get('k', { r: 2 })).length).toBe(VERSIONS)
  await client.put('k', 'resolved', { w: 3 })
  await ring.until('all of the partition', isComplete)
  expect(await ring.client(newcomer).get('k', { r: 1 })).toEqual(['resolved'])
})

test('a read does not say that it repaired who cannot be sent what is missing there', async () => {
  const ring = await ringOfLargeKey()
  const newcomer = await newHome(ring)
  const full = ring.homes('k').find((home) => home.disk.records.has(named('k'))) as Tab
  const repaired: string[] = []
  nodeOf(full).coordinator.events.on('repair', ({ nodes }) => repaired.push(...nodes))
  expect((await ring.client(full).get('k', { r: 2 })).length).toBe(VERSIONS)
  await ring.pass(10_000)
  expect(newcomer.disk.records.has(named('k'))).toBe(false)
  expect(repaired).toEqual([])
})

// The homes' answers were dropped on their way out: it took eleven seconds.
test('a get at a tab that is no home ends at once, and without a quorum', async () => {
  const ring = await ringOfLargeKey()
  const [stranger] = ring.others('k')
  const start = ring.world.time.now
  const { met, answers, container } = await ring.client(stranger).ask('k', { r: 2 })
  expect({ met, answers }).toEqual({ met: false, answers: 0 })
  // What it wrote itself.
  expect(container.siblings.length).toBe(VERSIONS / ring.tabs.length)
  expect(ring.world.time.now - start).toBeLessThan(AT_ONCE_MS)
})

// The page with it was larger than a frame and was dropped: all keys behind it were lost, after two time-outs.
test.each([false, true])(
  'a scan shows all other keys, and that this one has no quorum (reverse: %s)',
  async (reverse) => {
    const ring = await ringOfLargeKey()
    const others = ['a', ...Array.from({ length: 40 }, (_, i) => `z${i}`)]
    for (const key of others) await ring.client(ring.tab(1)).put(key, 'there', { w: 3 })
    await ring.pass(5000)
    const [stranger] = ring.others('k')
    const scan = async () => {
      const range = { from: named('a'), to: named('zz'), reverse }
      const scanned = nodeOf(stranger).coordinator.scan(range, 3, { r: 2, strictQuorum: false })
      const found = new Map<string, boolean>()
      const all = async () => {
        for await (const { key, outcome } of scanned.entries()) found.set(key, outcome.met)
      }
      const start = ring.world.time.now
      await ring.await(all())
      expect(ring.world.time.now - start).toBeLessThan(AT_ONCE_MS)
      return { found, complete: scanned.complete }
    }
    const { found } = await scan()
    expect(found.size).toBe(others.length + 1)
    for (const key of others) expect(found.get(named(key))).toBe(true)
    expect(found.get(named('k'))).toBe(false)
    // Without what it wrote itself, there is nothing to show but that something is missing.
    await ring.await(nodeOf(stranger).copies.clear())
    const without = await scan()
    expect([without.found.size, without.found.has(named('k')), without.complete]).toEqual([others.length, false, false])
  },
)

// Together with the records of the partitions before it, the page was larger than a frame, and nobody ever got either.
test('a large record does not share a page with what it does not fit together with', async () => {
  const ring = await openRing(2, { batchBytes: 10_000_000 })
  const [holder, other] = ring.tabs as [Tab, Tab]
  const { replica } = nodeOf(holder)
  const partitionOf = (key: string) => replica.addressOf(named(key)).partition
  const smaller = Array.from({ length: 9 }, (_, i) => `smaller ${i}`)
  for (const key of smaller) await ring.client(holder).put(key, '.'.repeat(1_090_000), { w: 2 })
  for (let i = 0; i < 7; i++) await ring.client(holder).blind('k', `${i}`.padEnd(1_090_000, '.'), { w: 2 })
  const partitions = [...new Set([...smaller, 'k'].map(partitionOf))]
  expect(partitions.at(-1)).toBe(partitionOf('k'))
  const keys: string[] = []
  let after: string | undefined
  do {
    const message: Message = { type: 'FetchPartitions', partitions, after }
    const reply = await ring.await(nodeOf(other).peers.request(holder.id, message, AT_ONCE_MS))
    if (reply?.type !== 'Entries') throw new Error(`no page but ${reply?.type}`)
    keys.push(...reply.entries.map(([key]) => key))
    after = reply.cursor
  } while (after !== undefined)
  expect(keys.toSorted()).toEqual([...smaller, 'k'].map(named).toSorted())
})
