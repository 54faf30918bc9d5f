/** Which partitions a node counts as whole, when its duties change while it fetches them. */
import { describe, expect, test } from 'vitest'
import { type NodeId, type Partition, storeKey } from '../../src/core/ids.js'
import type { Membership } from '../../src/core/membership/membership.js'
import type { Node } from '../../src/core/node.js'
import { Duties } from '../../src/core/replica/duties.js'
import type { Routing } from '../../src/core/routing.js'
import { type Tab, named, nodeOf, openRing, replicaAt } from '../paper/ring.js'
import { typeOf } from '../sim/trace.js'

const [SELF, OTHER] = ['self______', 'other_____'] as [NodeId, NodeId]
const Q = 8
const [FIRST, SECOND] = [3 * Q, 3 * Q + 1] as [Partition, Partition]

/** A node whose homes and records are said, among others. */
class Scene {
  homes: Partition[] = [FIRST, SECOND]
  records = 1
  placed: NodeId[]
  /** What is on the disk of it. */
  written: Uint8Array | undefined
  readonly duties: Duties = new Duties(
    SELF,
    { homesOf: (partition: Partition) => (this.homes.includes(partition) ? [SELF] : [OTHER]) } as unknown as Routing,
    { placed: () => this.placed } as unknown as Membership,
    Q,
    () => this.records,
    () => {
      this.written = this.duties.encoded()
    },
  )

  constructor(placed = [SELF, OTHER]) {
    this.placed = placed
    this.duties.addClass(3)
  }

  /** The placement makes it the home of these. */
  place(homes: Partition[], joined: NodeId[] = []): void {
    this.homes = homes
    this.duties.placementChanged(joined)
  }
}

// Meanwhile writes went to others, also to such parts as had been fetched by then.
describe('what was fetched while', () => {
  test('nothing else happened is whole', () => {
    const { duties } = new Scene()
    duties.markComplete(FIRST, duties.generationOf(FIRST))
    expect([duties.isComplete(FIRST), duties.filling()]).toEqual([true, [SECOND]])
  })

  test('the home was lost and regained is not, and all else is', () => {
    const scene = new Scene()
    const { duties } = scene
    const [first, second] = [duties.generationOf(FIRST), duties.generationOf(SECOND)]
    scene.place([SECOND])
    scene.place([FIRST, SECOND])
    duties.markComplete(FIRST, first)
    duties.markComplete(SECOND, second)
    expect([duties.isComplete(FIRST), duties.isComplete(SECOND)]).toEqual([false, true])
    duties.markComplete(FIRST, duties.generationOf(FIRST))
    expect(duties.isComplete(FIRST)).toBe(true)
  })

  test('all homes were lost and regained is not', () => {
    const scene = new Scene()
    const { duties } = scene
    const generation = duties.generationOf(FIRST)
    scene.place([])
    scene.place([FIRST])
    duties.markComplete(FIRST, generation)
    expect(duties.isComplete(FIRST)).toBe(false)
  })

  test('the duty of a stand-in ended and began again is not', () => {
    const scene = new Scene()
    const { duties } = scene
    scene.place([])
    duties.setStandIns(new Set([FIRST]))
    const generation = duties.generationOf(FIRST)
    duties.setStandIns(new Set())
    duties.setStandIns(new Set([FIRST]))
    duties.markComplete(FIRST, generation)
    expect(duties.isComplete(FIRST)).toBe(false)
  })

  // After a crash the node was a source again of what others had written to since.
  test('the duty of a stand-in ended is on its disk as not whole any more', () => {
    const scene = new Scene()
    const { duties } = scene
    scene.place([])
    duties.setStandIns(new Set([FIRST]))
    duties.markComplete(FIRST, duties.generationOf(FIRST))
    duties.setStandIns(new Set())
    expect(scene.written).toEqual(duties.encoded())
    expect(duties.isSource(FIRST)).toBe(false)
  })

  test('others joined, who may come from a ring that has what this node has nothing of, is not', () => {
    const scene = new Scene()
    scene.records = 0
    const { duties } = scene
    const generation = duties.generationOf(FIRST)
    scene.place([FIRST, SECOND], [OTHER])
    duties.markComplete(FIRST, generation)
    expect(duties.isComplete(FIRST)).toBe(false)
  })

  test('the node was replaced is not', () => {
    const { duties } = new Scene()
    const generation = duties.generationOf(FIRST)
    duties.distrustAll()
    duties.markComplete(FIRST, generation)
    expect(duties.isComplete(FIRST)).toBe(false)
  })
})

test('a newcomer that loses and regains homes during its fetch is not whole before it has what was written meanwhile', async () => {
  const ring = await openRing(4, { hintedHandoff: false, merkleSync: false, readRepair: false })
  const [writer] = ring.tabs as [Tab]
  const keys = Array.from({ length: 40 }, (_, i) => `k${i}`)
  for (const key of keys) await ring.client(writer).put(key, 'early', { w: 3 })
  ring.world.network.knobs.latency = (_, __, frame) => (typeOf(frame) === 'Entries' ? 4000 : 10)
  const newcomer = await ring.join()
  const { duties } = nodeOf(newcomer)
  const isHome = (key: string) => duties.isHome(nodeOf(newcomer).partitionOf(named(key)))
  const isWhole = (key: string) => duties.isComplete(nodeOf(newcomer).partitionOf(named(key)))
  await ring.until('its share', () => ring.tabs.every((tab) => nodeOf(tab).membership.placed().length === 5))
  await ring.pass(1500)
  const had = keys.filter(isHome)
  nodeOf(newcomer).membership.declare({ capacity: 0.1 })
  await ring.pass(300)
  const lost = had.filter((key) => !isHome(key))
  expect(lost.length).toBeGreaterThan(0)
  for (const key of lost) await ring.client(writer).put(key, 'late', { w: 3 })
  nodeOf(newcomer).membership.declare({ capacity: 1 })
  await ring.pass(300)
  expect(lost.every(isHome)).toBe(true)
  await ring.until('some are whole', () => lost.some(isWhole))
  for (const key of lost.filter(isWhole)) expect(replicaAt(newcomer, key)).toContain('late')
})

// The two cancelled each other out in the combined root: nothing and nothing is the same, so nothing was fetched and it counted as whole.
test('a partition that a node stood in for and is now its own is one duty, and compared as one', async () => {
  const scene = new Scene()
  scene.place([])
  scene.duties.setStandIns(new Set([FIRST]))
  scene.place([FIRST, SECOND])
  expect([scene.duties.onDuty(), scene.duties.filling()]).toEqual([
    [FIRST, SECOND],
    [FIRST, SECOND],
  ])

  const ring = await openRing(4, { replaceAfterMs: 8000, hintedHandoff: false, readRepair: false }, { quiet: false })
  const keys = Array.from({ length: 60 }, (_, i) => `k${i}`)
  for (const key of keys) await ring.client(ring.tab(0)).put(key, 'there', { w: 3 })
  await ring.pass(3000)
  const others = ring.tabs.slice(0, 3)
  const room = (usage: number) => {
    for (const tab of others) nodeOf(tab).replica.pressure.note({ usage, quota: 1 })
  }
  // Without room for the copies that they should fetch as stand-ins, they still lack them when they become homes.
  room(1)
  ring.crash(ring.tab(3))
  const isPlaced = () => others.every((tab) => nodeOf(tab).membership.placed().length === 3)
  await ring.until('the new placement', isPlaced, 60_000)
  const lacking = (tab: Tab) => keys.filter((key) => replicaAt(tab, key).length === 0)
  expect(others.some((tab) => lacking(tab).length > 0)).toBe(true)
  room(0)
  for (let i = 0; i < 400; i++) {
    await ring.pass(10)
    for (const tab of others)
      expect(lacking(tab).filter((key) => nodeOf(tab).duties.isComplete(nodeOf(tab).partitionOf(named(key))))).toEqual(
        [],
      )
  }
  expect(others.flatMap(lacking)).toEqual([])
})

// It was whole beside those that brought more: an empty newcomer had come a moment before them.
test('what is whole only because nobody else was there is whole no more once somebody brings something', () => {
  const scene = new Scene([SELF])
  const { duties } = scene
  expect(duties.isComplete(FIRST)).toBe(true)
  scene.placed = [SELF, OTHER]
  scene.place([FIRST, SECOND], [])
  expect(duties.isComplete(FIRST)).toBe(true)
  scene.place([FIRST, SECOND], [OTHER])
  expect(duties.isComplete(FIRST)).toBe(false)
  duties.markComplete(FIRST, duties.generationOf(FIRST))
  scene.place([FIRST, SECOND], [OTHER])
  expect(duties.isComplete(FIRST)).toBe(true)
})

// All partitions of the second factor counted as new at each start: nobody could deny a key of it until every member had been open once more.
test('a restart knows what was whole of every replication factor', async () => {
  const ring = await openRing(3, {}, { knobs: { replication: [3, 2] } })
  const [a, b] = ring.tabs as [Tab, Tab]
  ring.crash(...ring.tabs)
  await ring.reopen(a, b)
  await ring.until('they meet', () => nodeOf(a).peers.reachable().length === 1)
  await ring.pass(3000)
  const keys = Array.from({ length: 30 }, (_, i) => storeKey(2, 'pairs', `k${i}`))
  const ofBoth = keys.find((key) => !nodeOf(a).routing.homes(key).includes(ring.tab(2).id))
  if (!ofBoth) throw new Error('a key whose homes are the two')
  // By now they stand in for the third, and wait for it.
  const ownMissing = ({ duties }: Node) => duties.filling().filter((partition) => duties.isHome(partition))
  expect([a, b].map((tab) => ownMissing(nodeOf(tab)))).toEqual([[], []])
  expect(await ring.await(nodeOf(a).coordinator.get(ofBoth, { r: 2, strictQuorum: true }))).toMatchObject({ met: true })
})
