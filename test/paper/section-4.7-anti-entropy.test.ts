/** §4.7, 'Handling permanent failures: replica synchronization', sentence by sentence. Hinted handoff and read repair are off: only Merkle trees are left. */
import { describe, expect, test } from 'vitest'
import { type Ring, type Sent, type Tab, nodeOf, openRing, replicaAt } from './ring.js'

const TREES_ONLY = { hintedHandoff: false, readRepair: false, syncIntervalMs: 5000 }
const SYNC = [
  'CompareRoots',
  'Roots',
  'CompareGroups',
  'CompareLeaves',
  'Digests',
  'ListLeaves',
  'KeyDigests',
  'CheckKeys',
]
const DATA = ['Store', 'Entries']

/** Three homes of everything, with that many keys; everybody has everything. */
async function threeEqual(keys: number): Promise<Ring> {
  const ring = await openRing(3, TREES_ONLY)
  const ann = ring.client(ring.tab(0))
  for (let i = 0; i < keys; i++) await ann.put(`key ${i}`, `value ${i}`, { w: 3 })
  await ring.pass(10_000)
  expect(areEqual(ring)).toBe(true)
  return ring
}

function areEqual(ring: Ring): boolean {
  const [first, ...rest] = ring.tabs.map((tab) => rootsOf(tab))
  return rest.every((roots) => roots === first)
}

function rootsOf(tab: Tab): string {
  const { duties, replica } = nodeOf(tab)
  return JSON.stringify(duties.partitionsOf(3).map((partition) => replica.forest.root(partition)))
}

function moved(ring: Ring): number {
  let keys = 0
  for (const tab of ring.tabs) {
    const { counters } = nodeOf(tab).metrics.snapshot()
    keys += (counters.syncPulled ?? 0) + (counters.syncPushed ?? 0)
  }
  return keys
}

function count(sent: Sent[], types: string[]): number {
  return sent.filter(({ type }) => types.includes(type)).length
}

describe('§4.7 Replica synchronization', () => {
  test('an anti-entropy protocol keeps the replicas synchronized: homes that diverged become equal', async () => {
    const ring = await threeEqual(20)
    const [a, b, c] = [ring.tab(0), ring.tab(1), ring.tab(2)]

    ring.partition([a], [b, c])
    for (let i = 0; i < 10; i++) await ring.client(a).put(`left ${i}`, 'a', { w: 1 })
    for (let i = 0; i < 10; i++) await ring.client(b).put(`right ${i}`, 'b', { w: 1 })
    await ring.client(a).put('both', 'a', { w: 1 })
    await ring.client(c).put('both', 'c', { w: 1 })
    expect(areEqual(ring)).toBe(false)

    ring.heal()
    await ring.until('equal trees', () => areEqual(ring), 30_000)
    for (const tab of ring.tabs) {
      expect(replicaAt(tab, 'left 3')).toEqual(['a'])
      expect(replicaAt(tab, 'right 7')).toEqual(['b'])
      expect(replicaAt(tab, 'both')).toEqual(['a', 'c'])
    }
  })

  test('a replica that missed writes while it was closed gets them when it is back', async () => {
    const ring = await threeEqual(10)
    const away = ring.tab(2)
    ring.crash(away)
    await ring.pass(3000)
    for (let i = 0; i < 10; i++) await ring.client(ring.tab(0)).put(`missed ${i}`, 'yes', { w: 2 })
    await ring.reopen(away)
    await ring.until('equal trees', () => areEqual(ring), 30_000)
    expect(replicaAt(away, 'missed 9')).toEqual(['yes'])
  })

  test('a replica that lost everything it had gets it all back', async () => {
    const ring = await threeEqual(20)
    const lost = ring.tab(2)
    ring.crash(lost)
    await ring.pass(3000)
    lost.disk.wipe()
    await ring.reopen(lost)
    await ring.until('equal trees', () => areEqual(ring), 30_000)
    expect(replicaAt(lost, 'key 7')).toEqual(['value 7'])
  })

  test('a deletion synchronizes as a version: the value does not come back', async () => {
    const ring = await threeEqual(10)
    const away = ring.tab(2)
    ring.crash(away)
    await ring.pass(3000)
    const ann = ring.client(ring.tab(0))
    await ann.get('key 5')
    await ann.delete('key 5')
    await ring.reopen(away)
    await ring.until('equal trees', () => areEqual(ring), 30_000)
    for (const tab of ring.tabs) expect(replicaAt(tab, 'key 5')).toEqual([])
  })

  test('if the hash values of the root of two trees are equal, the nodes require no synchronization', async () => {
    const ring = await threeEqual(200)
    const sent = await ring.messages(() => ring.pass(60_000))
    const comparisons = count(sent, ['CompareRoots'])
    expect(comparisons).toBeGreaterThan(6)
    // One may be under way when the minute begins, and one when it ends.
    expect(Math.abs(count(sent, ['Roots']) - comparisons)).toBeLessThanOrEqual(1)
    expect(count(sent, SYNC)).toBe(comparisons + count(sent, ['Roots']))
    expect(count(sent, DATA)).toBe(0)
  })

  test('what equal trees cost does not grow with the number of keys', async () => {
    const bytes = async (keys: number) => {
      const ring = await threeEqual(keys)
      const sent = await ring.messages(() => ring.pass(30_000))
      const roots = sent.filter(({ type }) => SYNC.includes(type))
      return Math.max(...roots.map((message) => message.bytes))
    }
    const [few, many] = [await bytes(5), await bytes(300)]
    expect(many).toBeLessThan(few + 20)
    expect(many).toBeLessThan(200)
  })

  test('each branch can be checked independently, without downloading the entire tree or the entire data set', async () => {
    const ring = await threeEqual(300)
    const away = ring.tab(2)
    ring.crash(away)
    await ring.pass(3000)
    await ring.client(ring.tab(0)).put('one more', 'value', { w: 2 })

    const sent = await ring.messages(async () => {
      await ring.reopen(away)
      await ring.until('equal trees', () => areEqual(ring), 30_000)
      await ring.pass(3000)
    })

    // One partition's groups, one group's leaves, one leaf's keys, one key; two homes may do so at once, from either side.
    for (const type of ['CompareGroups', 'CompareLeaves', 'ListLeaves'])
      expect(count(sent, [type]), type).toBeLessThanOrEqual(4)
    expect(moved(ring)).toBeGreaterThanOrEqual(1)
    expect(moved(ring)).toBeLessThanOrEqual(4)
    const bytes = sent.filter(({ type }) => [...SYNC, ...DATA].includes(type)).reduce((sum, m) => sum + m.bytes, 0)
    expect(bytes).toBeLessThan(8000)
  })

  test('the nodes exchange the keys that are out of sync, and only those', async () => {
    const ring = await threeEqual(300)
    const away = ring.tab(2)
    ring.crash(away)
    await ring.pass(3000)
    const ann = ring.client(ring.tab(0))
    for (let i = 0; i < 10; i++) await ann.put(`key ${i * 30}`, 'changed', { w: 2 })
    await ring.reopen(away)
    await ring.until('equal trees', () => areEqual(ring), 30_000)
    await ring.pass(3000)
    // Each of two homes may bring the same key, and take note of it, at once.
    expect(moved(ring)).toBeGreaterThanOrEqual(10)
    expect(moved(ring)).toBeLessThanOrEqual(40)
  })

  test('each node maintains a separate Merkle tree for each key range it hosts', async () => {
    const ring = await openRing(6, TREES_ONLY)
    const ann = ring.client(ring.tab(0))
    for (let i = 0; i < 60; i++) await ann.put(`key ${i}`, 'value', { w: 3 })
    await ring.pass(5000)
    for (const tab of ring.tabs) {
      const { duties, replica, routing } = nodeOf(tab)
      for (const partition of duties.held()) {
        const homes = ring.tabsOf(routing.homesOf(partition))
        const roots = homes.map((home) => JSON.stringify(nodeOf(home).replica.forest.root(partition)))
        expect(new Set(roots).size).toBe(1)
        expect(homes).toContain(tab)
      }
      expect(replica.forest.held().every((partition) => duties.isHome(partition))).toBe(true)
    }
  })

  test('two nodes compare the key ranges that they host in common', async () => {
    const ring = await openRing(6, TREES_ONLY)
    const [a, b] = [nodeOf(ring.tab(0)), nodeOf(ring.tab(1))]
    const common = a.duties.held().filter((partition) => b.duties.isHome(partition))
    expect(new Set(a.antiEntropy.shared(ring.tab(1).id))).toEqual(new Set(common))
    expect(new Set(b.antiEntropy.shared(ring.tab(0).id))).toEqual(new Set(common))
    expect(common.length).toBeLessThan(a.duties.held().length)
  })
})
