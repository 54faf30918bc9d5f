/** From whom a new home fetches what it has to hold, and what a former one gives up. */
import { expect, test, vi } from 'vitest'
import { MAX_REPLICATION, type Partition, type ReplicationFactor, type StoreKey, storeKey } from '../../src/core/ids.js'
import { partitions, shapes } from '../../src/core/messages.js'
import { restored } from '../../src/core/meta.js'
import type { Node } from '../../src/core/node.js'
import { MAX_PARTITIONS } from '../../src/core/ring/partitions.js'
import { inParallel } from '../../src/core/sync/exchange.js'
import { isLive } from '../../src/core/versions/container.js'
import { EMPTY_CONTEXT } from '../../src/core/versions/context.js'
import { decodeContainer, digestOf } from '../../src/core/versions/encoding.js'
import { type Ring, type Tab, named, nodeOf, openRing, replicaAt, textsOf } from '../paper/ring.js'
import { type Row, SimulatedStorage } from '../sim/disk.js'
import { typeOf } from '../sim/trace.js'

/** Only one home a key, so that a newcomer finds no home that was one before: all who have the partition are former ones. */
const KEYS = Array.from({ length: 300 }, (_, i) => storeKey(1, '', `k${i}`))

// It had fetched from any of them: from one that was relieved long ago as well, and showed what had been deleted since.
test('where all who have a partition are relieved homes, a new one fetches from each of them', async () => {
  // Nobody lets go of a copy.
  const ring = await openRing(
    2,
    { scrubIntervalMs: 1e9, syncIntervalMs: 1e9, partitions: 128 },
    { knobs: { replication: [1] } },
  )
  const { coordinator } = nodeOf(ring.tab(0))
  const options = { w: 1, strictQuorum: false, durability: 'strict' } as const
  const put = (key: (typeof KEYS)[0], value: Uint8Array | undefined, context = EMPTY_CONTEXT) =>
    ring.await(coordinator.write(key, { value, expiresAt: 0 }, context, options).outcome)
  for (const key of KEYS) await put(key, Uint8Array.of(1))
  const grow = async () => {
    const newcomer = await ring.join()
    await ring.until('one ring', () => ring.isWhole())
    return newcomer
  }
  await grow()
  for (const key of KEYS) {
    const { container } = await ring.await(coordinator.get(key, { r: 1, strictQuorum: false }))
    await put(key, undefined, container.context)
  }
  await ring.pass(3000)
  const last = await grow()
  const mine = KEYS.filter((key) => nodeOf(last).routing.homes(key)[0] === last.id)
  expect(mine.length).toBeGreaterThan(5)
  const rows = mine.map((key) => last.disk.records.get(key))
  expect(rows.filter((row) => row && isLive(decodeContainer(row.container))).map((row) => row?.key)).toEqual([])
})

// It could not take what a newcomer had for it, which began anew every two seconds.
test('a full tab keeps no other from having all of its partitions', async () => {
  const ring = await openRing(1)
  for (let i = 0; i < 100; i++) await ring.client(ring.tab(0)).put(`k${i}`, 'value', { w: 1 })
  const newcomers = [await ring.join(), await ring.join(), await ring.join(), await ring.join()]
  nodeOf(newcomers[0] as Tab).replica.pressure.note({ usage: 1, quota: 1 })
  await ring.pass(10_000)
  expect(newcomers.slice(1).map((tab) => nodeOf(tab).duties.filling())).toEqual([[], [], []])
})

// They were more than a message or the note on the disk could name: a newcomer never filled, and its peers dropped it for malformed frames.
test('all partitions that a room can have fit into what is asked, and into what is kept of them', async () => {
  const replication: ReplicationFactor[] = ['all', ...Array.from({ length: MAX_REPLICATION }, (_, i) => i + 1)]
  const ring = await openRing(1, { partitions: MAX_PARTITIONS }, { knobs: { replication } })
  await ring.client(ring.tab(0)).put('k', 'there', { w: 1 })
  const newcomer = await ring.join()
  await ring.until('one ring', () => ring.isWhole())
  await ring.pass(3000)
  expect(replicaAt(newcomer, 'k')).toEqual(['there'])
  const held = nodeOf(newcomer).duties.held()
  expect(held.length).toBeGreaterThan(MAX_REPLICATION * MAX_PARTITIONS)
  expect(restored(newcomer.disk.meta.get('complete'), partitions)).toHaveLength(held.length)
})

// It was removed with the rest: each page was read anew after all heirs had confirmed that they hold the same.
test.each([1, 3] as const)('a former home keeps what it takes while it gives its copy up (n = %i)', async (n) => {
  let diskMs = 1
  let heard = true
  const gossip: number[] = [shapes.Gossip.code, shapes.GossipReply.code, shapes.Members.code]
  const ring = await openRing(
    n === 1 ? 3 : 5,
    { partitions: 16, scrubIntervalMs: 5000, standInAfterMs: 1e9, reapAfterMs: 1e9 },
    {
      knobs: {
        replication: [n],
        diskTime: () => diskMs,
        lose: (_, to, frame) => !heard && to === writer.id && gossip.includes(frame[1] as number),
      },
    },
  )
  const writer = ring.tabs.at(-1) as Tab
  const write = (tab: Tab, key: StoreKey, bytes: number, w: number) => {
    const options = { w, strictQuorum: false, durability: 'strict' } as const
    const written = { value: new Uint8Array(bytes), expiresAt: 0 }
    return ring.await(nodeOf(tab).coordinator.write(key, written, EMPTY_CONTEXT, options).outcome)
  }
  const { addressOf } = nodeOf(writer).routing
  const homesAt = (tab: Tab, key: StoreKey) => nodeOf(tab).routing.homes(key)
  const byPartition = new Map<number, StoreKey[]>()
  const keys = Array.from({ length: 400 }, (_, i) => storeKey(n, '', `k${i}`))
  for (const key of keys.sort((a, b) => addressOf(a).leaf - addressOf(b).leaf)) {
    const { partition } = addressOf(key)
    byPartition.set(partition, [...(byPartition.get(partition) ?? []), key])
  }
  // Each partition is three pages, and has a key that comes last in it.
  for (const some of byPartition.values()) for (const key of some.slice(0, 3)) await write(ring.tab(0), key, 700_000, n)
  await ring.pass(10_000)
  heard = false
  const joined = ring.world.addPlace()
  ring.world.network.cut(joined.id, writer.id)
  await ring.world.start(joined)
  const others = ring.tabs.filter((tab) => tab !== writer)
  await ring.until('known', () => others.every((tab) => nodeOf(tab).membership.placed().length === ring.tabs.length))
  // A partition that goes to the newcomer, from a home in which the writer still believes.
  const moved = [...byPartition].flatMap(([partition, some]) => {
    const last = some.at(-1) as StoreKey
    const [id] = homesAt(writer, last).filter((home) => !homesAt(joined, last).includes(home))
    const former = others.find((tab) => tab.id === id)
    return former && !homesAt(writer, last).includes(writer.id) ? [{ partition, last, former }] : []
  })
  const [{ partition, last, former } = { partition: 0, last: keys[0] as StoreKey, former: writer }] = moved
  const held = () => [...former.disk.records.values()].filter(({ address }) => address.partition === partition)
  expect(held().length).toBe(3)
  diskMs = 50
  await ring.world.time.until('the first page is gone', () => held().length === 2, 60_000, 5)
  for (const home of homesAt(writer, last)) if (home !== former.id) ring.world.network.cut(writer.id, home)
  expect((await write(writer, last, 10, 1)).acks).toContain(former.id)
  diskMs = 1
  await ring.until('the others are gone', () => held().length === 1)
  expect(held().map(({ key }) => key)).toEqual([last])
  // It says so, and gives that up as well once the homes have it.
  expect(nodeOf(former).transfers.strays()).toContain(partition)
  heard = true
  ring.crash(writer)
  await ring.pass(120_000)
  expect(held()).toEqual([])
  expect(
    homesAt(joined, last).filter((home) => !others.find((tab) => tab.id === home)?.disk.records.has(last)),
  ).toEqual([])
})

// Only a tree that is wrong lacks it, as after a write whose outcome nobody knows: the heirs are asked whether theirs is the same.
test('a former home does not give up what its tree does not know of', async () => {
  const ring = await openRing(3, { scrubIntervalMs: 1e9 })
  for (let i = 0; i < 50; i++) await ring.client(ring.tab(0)).put(`k${i}`, 'there', { w: 3 })
  for (let i = 0; i < 3; i++) await ring.join()
  await ring.until('one ring', () => ring.isWhole())
  await ring.pass(5000)
  const { disk, node } = ring.tab(0)
  const { transfers, routing } = node as Node
  const [partition] = transfers.strays()
  const known = [...disk.records.values()].find(({ address }) => address.partition === partition) as Row
  const hidden = Array.from({ length: 500 }, (_, i) => named(`hidden ${i}`)).find(
    (key) => routing.addressOf(key).partition === partition,
  ) as StoreKey
  const digest = digestOf(hidden, decodeContainer(known.container))
  disk.records.set(hidden, { ...known, key: hidden, address: routing.addressOf(hidden), digest })
  await ring.await(transfers.releaseStrays())
  expect([...disk.records.keys()].filter((key) => routing.addressOf(key).partition === partition)).toContain(hidden)
})

/** Writes the keys at the first of three tabs, and once more, strictly, while the third one is cut off. */
async function writeBehindBack(ring: Ring, keys: readonly string[]): Promise<void> {
  const [writer, other, behind] = ring.tabs as [Tab, Tab, Tab]
  for (const key of keys) await ring.client(writer).put(key, 'old', { w: 3 })
  await ring.pass(3000)
  ring.partition([behind], [writer, other])
  await ring.pass(3000)
  for (const key of keys) {
    const client = ring.client(writer)
    await client.get(key)
    expect(await client.put(key, 'new', { w: 2, strictQuorum: true })).toMatchObject({ met: true })
  }
}

test('a home that is told only a part of what its sources have does not count as whole', async () => {
  const ring = await openRing(3, { hintedHandoff: false })
  const [, , behind] = ring.tabs as [Tab, Tab, Tab]
  await writeBehindBack(ring, ['k'])
  for (const { node } of ring.world.alive())
    node.peers.handle('ListLeaves', () => ({ type: 'KeyDigests', entries: [], whole: false }))
  ring.heal()
  nodeOf(behind).duties.distrustAll()
  await ring.pass(10_000)
  expect(replicaAt(behind, 'k')).toEqual(['old'])
  expect(nodeOf(behind).duties.isComplete(nodeOf(behind).partitionOf(named('k')))).toBe(false)
})

// A page of small records had thousands of them, written in one task: the tab stood still for seconds.
test('what comes by a transfer is written in parts', async () => {
  const ring = await openRing(1, { partitions: 8, batchKeys: 16 })
  for (let i = 0; i < 300; i++) await ring.client(ring.tab(0)).put(`k${i}`, 'small', { w: 1 })
  const commit = vi.spyOn(SimulatedStorage.prototype, 'commit')
  const newcomer = await ring.join()
  await ring.until('it has all', () => newcomer.disk.records.size === 300)
  const sizes = commit.mock.calls.map(([{ records = [] }]) => records.length)
  commit.mockRestore()
  expect(sizes.reduce((sum, size) => sum + size)).toBe(300)
  expect(Math.max(...sizes)).toBeLessThanOrEqual(16)
})

// It fetched from one home. That one and the newcomer were a quorum, and a write that both others had confirmed was not seen.
test('a newcomer does not count as whole with what one home has, which may lack what the others confirmed', async () => {
  const ring = await openRing(3)
  const [writer, other] = ring.tabs as [Tab, Tab]
  const keys = Array.from({ length: 30 }, (_, i) => `k${i}`)
  await writeBehindBack(ring, keys)
  const newcomer = await ring.join()
  await ring.until('it has met all', () => nodeOf(newcomer).peers.reachable().length === 3)
  await ring.until(
    'it has its share',
    () => nodeOf(newcomer).duties.held().length > 0 && nodeOf(newcomer).duties.filling().length === 0,
  )
  ring.world.network.knobs.latency = (from) => ([writer.id, other.id].includes(from) ? 1000 : 10)
  const stale: string[] = []
  const outcomes = await ring.await(
    Promise.all(
      keys.map(
        async (key) => [key, await nodeOf(newcomer).coordinator.get(named(key), { r: 2, strictQuorum: true })] as const,
      ),
    ),
  )
  for (const [key, { met, container }] of outcomes) {
    if (met && textsOf(container)[0] !== 'new') stale.push(key)
  }
  expect(stale).toEqual([])
})

// One of the two had it all from the other: that was no majority of those who had confirmed the writes, who were in reach and not asked.
test('a newcomer does not count as whole with what two homes have, of which one knows no more than the other', async () => {
  const ring = await openRing(3, { partitions: 64, hintedHandoff: false })
  const [writer, other, behind] = ring.tabs as [Tab, Tab, Tab]
  // So many that each partition holds some: of an empty one whose other homes are out of reach, nobody can tell that it is.
  const keys = Array.from({ length: 300 }, (_, i) => `k${i}`)
  await writeBehindBack(ring, keys)
  const second = ring.world.addPlace()
  ring.partition([second], [writer, other])
  await ring.reopen(second)
  await ring.until('it knows all', () => nodeOf(second).membership.placed().length === 4)
  const isWhole = ({ duties }: Node) => duties.held().length > 0 && duties.filling().length === 0
  await ring.until('it has its share', () => isWhole(nodeOf(second)))
  const third = await ring.join()
  await ring.until('it has met all', () => nodeOf(third).peers.reachable().length === 4)
  await ring.until('it has its share', () => isWhole(nodeOf(third)))
  const unaware = [behind, second, third].map(({ id }) => id)
  const theirs = keys.filter((key) =>
    nodeOf(third)
      .routing.homes(named(key))
      .every((home) => unaware.includes(home)),
  )
  expect(theirs.length).toBeGreaterThan(1)
  for (const key of theirs)
    expect([key, await ring.client(third).get(key, { r: 2, strictQuorum: true })]).toEqual([key, ['new']])
})

// It was noted up to 200 ms later: a tab that was closed in between came back with half of the partition, as one who has it whole.
test('that a copy is given up is on the disk before its first record is gone', async () => {
  const ring = await openRing(3, { partitions: 16, scrubIntervalMs: 2000, standInAfterMs: 1e9 })
  for (let i = 0; i < 100; i++) await ring.client(ring.tab(0)).put(`k${i}`, 'value', { w: 3 })
  await ring.pass(1000)
  const formers = [...ring.tabs]
  const rowsOf = (tab: Tab) => {
    const rows = new Map<Partition, number>()
    for (const { address } of tab.disk.records.values())
      rows.set(address.partition, (rows.get(address.partition) ?? 0) + 1)
    return rows
  }
  for (let i = 0; i < 3; i++) await ring.join()
  let before = formers.map(rowsOf)
  const givenUp = new Set<string>()
  for (let i = 0; i < 15_000; i++) {
    await ring.pass(2)
    formers.forEach((tab, at) => {
      const now = rowsOf(tab)
      for (const [partition, count] of before[at] as Map<Partition, number>) {
        if ((now.get(partition) ?? 0) >= count || nodeOf(tab).duties.isHome(partition)) continue
        givenUp.add(`${at} ${partition}`)
        expect(restored(tab.disk.meta.get('complete'), partitions)).not.toContain(partition)
      }
      before = before.map((rows, index) => (index === at ? now : rows))
    })
  }
  expect(givenUp.size).toBeGreaterThan(5)
})

// There was nobody to ask, and one that did not answer was asked for ever: it denied nothing any more, called no scan complete, and forgot nothing.
test('a tab on its own whose disk was deleted under it is whole again', async () => {
  const ring = await openRing(1, {}, { quiet: false })
  const tab = ring.tab(0)
  for (let i = 0; i < 20; i++) await ring.client(tab).put(`k${i}`, 'value', { w: 1 })
  ring.world.changeDisk(tab, 'has its disk deleted under it', () => tab.storage?.empty())
  await ring.pass(60_000)
  expect([nodeOf(tab).duties.filling(), nodeOf(tab).duties.isDistrusted]).toEqual([[], false])
  expect(await ring.client(tab).ask('nothing', { r: 1, strictQuorum: true })).toMatchObject({ met: true })
})

// It was given what the others had, which it does not take, and that counted as an answer that never came.
test.each([0, 1, 2])('founders that meet are whole, but for one that is full (tab %i)', async (full) => {
  const ring = await openRing(3)
  ring.partition([ring.tab(0)], [ring.tab(1), ring.tab(2)])
  ring.partition([ring.tab(1)], [ring.tab(2)])
  await ring.pass(8000)
  for (const [t, tab] of ring.tabs.entries())
    for (let i = 0; i < 40; i++) await ring.client(tab).put(`k${t} ${i}`, 'value', { w: 1 })
  nodeOf(ring.tab(full)).replica.pressure.note({ usage: 1, quota: 1 })
  for (const tab of ring.tabs) nodeOf(tab).duties.distrustAll()
  ring.heal()
  await ring.pass(30_000)
  const others = ring.tabs.filter((_, i) => i !== full)
  expect(others.map((tab) => nodeOf(tab).duties.filling())).toEqual([[], []])
  expect(nodeOf(ring.tab(full)).duties.filling().length).toBeGreaterThan(0)
})

test.each([0, 1, 2])('a tab that brings something to a ring with a full home is whole (tab %i)', async (full) => {
  const ring = await openRing(4, { partitions: 64 })
  const last = ring.tab(3)
  ring.partition([last], ring.tabs.slice(0, 3))
  await ring.pass(8000)
  for (let i = 0; i < 100; i++) await ring.client(last).put(`k${i}`, 'value', { w: 1 })
  nodeOf(ring.tab(full)).replica.pressure.note({ usage: 1, quota: 1 })
  nodeOf(last).duties.distrustAll()
  ring.heal()
  await ring.pass(30_000)
  expect(nodeOf(last).duties.filling()).toEqual([])
})

// Its time-out was waited for once for what it was to give first, and once more for what others had given.
test('a home that falls silent in the midst is waited for once', async () => {
  const told = { broken: '', newcomer: '', isSilent: false }
  const ring = await openRing(
    3,
    { partitions: 64 },
    {
      knobs: {
        lose: (from, to, frame) => {
          if (from === told.broken && to === told.newcomer && typeOf(frame) === 'Complete' && !told.isSilent) {
            told.isSilent = true
            return false
          }
          return told.isSilent && (from === told.broken || to === told.broken)
        },
      },
    },
  )
  for (let i = 0; i < 200; i++) await ring.client(ring.tab(0)).put(`k${i}`, 'value', { w: 3 })
  await ring.pass(3000)
  told.broken = ring.tab(0).id
  const newcomer = ring.world.addPlace()
  told.newcomer = newcomer.id
  await ring.world.start(newcomer)
  await ring.pass(14_000)
  expect(told.isSilent).toBe(true)
  expect(nodeOf(newcomer).duties.filling()).toEqual([])
})

// It answered with what it had then, nothing, and the newcomer took what had come before for all there is.
test('a newcomer whose source loses its disk in the midst does not count as whole with the half that it has got', async () => {
  const ring = await openRing(
    2,
    { partitions: 8, batchBytes: 2000, replaceAfterMs: 1e9 },
    { quiet: false, knobs: { replication: [1] } },
  )
  const [source, other] = ring.tabs as [Tab, Tab]
  const options = { w: 1, strictQuorum: false, durability: 'strict' } as const
  for (const key of KEYS) {
    const written = { value: new Uint8Array(200), expiresAt: 0 }
    await ring.await(nodeOf(source).coordinator.write(key, written, EMPTY_CONTEXT, options).outcome)
  }
  ring.crash(other)
  await ring.pass(3000)
  // Some of them are home of something that the source has.
  const newcomers = [await ring.join(), await ring.join(), await ring.join()]
  const arrived = () => newcomers.reduce((sum, { disk }) => sum + disk.records.size, 0)
  await ring.until('some of it is there', () => arrived() > 0)
  source.storage?.empty()
  await ring.pass(10_000)
  const denied = newcomers.flatMap((newcomer) => {
    const node = nodeOf(newcomer)
    return KEYS.filter((key) => node.duties.isComplete(node.partitionOf(key)) && !newcomer.disk.records.has(key))
  })
  expect([arrived() > 0, denied]).toEqual([true, []])
})

// The others went on, with nobody to hear of them: of a leave that had failed, with giving copies up.
test('of what runs in parallel nothing more begins after the first failure', async () => {
  const begun: number[] = []
  const work = async (item: number) => {
    begun.push(item)
    if (item === 1) throw new Error('no')
  }
  await expect(inParallel([1, 2, 3, 4, 5, 6], 2, work)).rejects.toThrow('no')
  await ended()
  expect(begun).toEqual([1, 2])
})

/** All that promises set off has come to its end. */
function ended(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}
