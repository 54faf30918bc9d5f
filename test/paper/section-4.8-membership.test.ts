/** §4.8, 'Membership and failure detection', sentence by sentence. Opening a tab is the administrator's explicit join. */
import { describe, expect, test } from 'vitest'
import { type Ring, type Tab, nodeOf, openRing, replicaAt } from './ring.js'

const ROUND_MS = 1000

function knows(tab: Tab, other: Tab): boolean {
  return nodeOf(tab).membership.get(other.id)?.state === 'up'
}

function hashes(ring: Ring): Set<string> {
  return new Set(ring.world.alive().map(({ node }) => String(node.membership.hash())))
}

function nameOf(tab: Tab, seenBy: Tab): string | undefined {
  return nodeOf(seenBy).membership.get(tab.id)?.name
}

async function roundsUntil(ring: Ring, what: string, condition: () => boolean): Promise<number> {
  const start = ring.world.time.now
  await ring.until(what, condition)
  return Math.ceil((ring.world.time.now - start) / ROUND_MS)
}

describe('§4.8.1 Ring membership', () => {
  test('an explicit mechanism adds a node to the ring: a tab that opens is a member', async () => {
    const ring = await openRing(3)
    const newcomer = await ring.join()
    expect(nodeOf(newcomer).membership.self.state).toBe('up')
    await ring.until('everybody to know', () => ring.tabs.every((tab) => knows(tab, newcomer)), 10_000)
    expect(ring.tabs.every((tab) => nodeOf(tab).membership.placed().length === 4)).toBe(true)
  })

  test('an explicit mechanism removes a node from the ring: a tab that only closes stays a member', async () => {
    const ring = await openRing(4)
    const closed = ring.tab(3)
    const node = nodeOf(closed)
    await ring.await(node.stop())
    ring.crash(closed)
    await ring.pass(120_000)
    for (const { node: other } of ring.world.alive()) {
      expect(other.membership.get(closed.id)?.state).toBe('up')
      expect(other.membership.placed()).toContain(closed.id)
    }
  })

  test('the node that serves the request writes the membership change to persistent store', async () => {
    const ring = await openRing(4)
    await ring.pass(1000)
    const others = ring.tabs.map(({ id }) => id)
    ring.crash(...ring.tabs)
    await ring.reopen(ring.tab(2))
    // Alone, it still knows the whole ring.
    expect(new Set(nodeOf(ring.tab(2)).membership.placed())).toEqual(new Set(others))
  })

  test.each([12, 30])(
    'a gossip-based protocol propagates membership changes within 2·log2(S) + 4 rounds: S = %d',
    async (S) => {
      const ring = await openRing(S, { partitions: 8 })
      const newcomer = await ring.join()
      const rounds = await roundsUntil(
        ring,
        'one view',
        () => hashes(ring).size === 1 && ring.tabs.every((tab) => knows(tab, newcomer)),
      )
      expect(rounds).toBeLessThanOrEqual(2 * Math.log2(S) + 4)

      // So does any other change of a member record.
      nodeOf(newcomer).membership.declare({ name: 'kitchen' })
      const everybody = () => ring.tabs.every((tab) => nameOf(newcomer, tab) === 'kitchen')
      expect(await roundsUntil(ring, 'the name', everybody)).toBeLessThanOrEqual(2 * Math.log2(S) + 4)
    },
    60_000,
  )

  test('each node contacts a peer chosen at random every second', async () => {
    const ring = await openRing(8)
    await ring.pass(5000)
    const sent = (await ring.messages(() => ring.pass(60_000))).filter(({ type }) => type === 'Gossip')
    for (const tab of ring.tabs) {
      const own = sent.filter(({ from }) => from === tab.id)
      expect(own.length).toBeGreaterThan(45)
      expect(own.length).toBeLessThan(80)
      expect(new Set(own.map(({ to }) => to)).size).toBe(7)
    }
  })

  test('the two nodes efficiently reconcile their persisted membership change histories', async () => {
    const ring = await openRing(5)
    const left = [ring.tab(0), ring.tab(1)]
    const right = [ring.tab(2), ring.tab(3), ring.tab(4)]
    ring.partition(left, right)
    await ring.pass(5000)
    nodeOf(ring.tab(0)).membership.declare({ name: 'kitchen' })
    nodeOf(ring.tab(4)).membership.declare({ name: 'office' })
    await ring.pass(5000)
    expect(hashes(ring).size).toBe(2)

    ring.heal()
    await ring.until('one view', () => hashes(ring).size === 1, 20_000)
    for (const tab of ring.tabs) {
      expect(nameOf(ring.tab(0), tab)).toBe('kitchen')
      expect(nameOf(ring.tab(4), tab)).toBe('office')
    }
    // And where there is nothing to reconcile, no record travels.
    await ring.pass(5000)
    const sent = await ring.messages(() => ring.pass(30_000))
    expect(sent.some(({ type }) => type === 'Members')).toBe(false)
  })

  test('partitioning and placement information propagates along: every node routes every key alike', async () => {
    const ring = await openRing(7)
    await ring.join()
    await ring.until('one ring', () => ring.isWhole())
    for (let i = 0; i < 20; i++) {
      const key = `key ${i}`
      const lists = ring.tabs.map((tab) => ring.preferenceList(key, tab).map(({ id }) => id))
      for (const list of lists) expect(list).toEqual(lists[0])
    }
  })

  test('a node that is partitioned is not removed before replaceAfter', async () => {
    const ring = await openRing(5, { replaceAfterMs: 60_000 })
    const lost = ring.tab(4)
    const rest = ring.tabs.slice(0, 4)
    ring.partition([lost], rest)
    await ring.pass(50_000)
    for (const tab of rest) expect(knows(tab, lost)).toBe(true)
    for (const tab of rest) expect(knows(lost, tab)).toBe(true)

    await ring.until('the rest to replace it', () => rest.every((tab) => !knows(tab, lost)), 20_000)
    for (const tab of rest) expect(nodeOf(tab).membership.get(lost.id)?.state).toBe('asleep')
  })

  test('a member that only some can reach is not put to sleep by the others', async () => {
    const ring = await openRing(5, { replaceAfterMs: 20_000 })
    const [far, near] = [ring.tab(4), ring.tab(0)]
    ring.partition([far], [ring.tab(1), ring.tab(2), ring.tab(3)])
    await ring.pass(90_000)
    for (const tab of [near, ring.tab(1), ring.tab(2), ring.tab(3)]) expect(knows(tab, far)).toBe(true)
  })

  test('a sleeper returns by refuting, and gets its partitions', async () => {
    const ring = await openRing(5, { replaceAfterMs: 20_000 })
    const ann = ring.client(ring.tab(0))
    for (let i = 0; i < 20; i++) await ann.put(`key ${i}`, 'before', { w: 3 })
    await ring.pass(3000)
    const sleeper = ring.tab(4)
    const formerly = [...nodeOf(sleeper).duties.held()]
    const rest = ring.tabs.slice(0, 4)
    ring.partition([sleeper], rest)
    await ring.until('the sleep', () => rest.every((tab) => !knows(tab, sleeper)), 40_000)
    for (let i = 0; i < 20; i++) await ann.put(`key ${i}`, 'meanwhile')

    ring.heal()
    await ring.until('the return', () => ring.isWhole() && hashes(ring).size === 1, 60_000)
    expect(new Set(nodeOf(sleeper).duties.held())).toEqual(new Set(formerly))
    await ring.pass(30_000)
    for (let i = 0; i < 20; i++)
      for (const home of ring.homes(`key ${i}`)) expect(replicaAt(home, `key ${i}`)).toEqual(['meanwhile'])
  })
})

describe('§4.8.2 External discovery', () => {
  test('A and B, that joined through different peers, come to know each other', async () => {
    const ring = await openRing(4)
    const [a, b] = [ring.world.addPlace(), ring.world.addPlace()]
    const [seed1, ...others1] = ring.tabs.slice(0, 4)
    // A can only talk to the first tab, B only to the last; and never to each other.
    const seed2 = others1.pop() as Tab
    ring.partition([a], [...others1, seed2, b])
    ring.partition([b], [...others1, seed1 as Tab])
    await ring.reopen(a, b)
    await ring.until('acquaintance', () => knows(a, b) && knows(b, a), 20_000)
    await ring.until('one view', () => hashes(ring).size === 1, 20_000)
  })

  test('a logically partitioned ring is not permanent: two rings that meet become one', async () => {
    const ring = await openRing(0)
    for (let i = 0; i < 6; i++) ring.world.addPlace()
    const [left, right] = [ring.tabs.slice(0, 3), ring.tabs.slice(3)]
    ring.partition(left, right)
    await ring.reopen(...ring.tabs)
    await ring.pass(10_000)
    expect(hashes(ring).size).toBe(2)
    await ring.client(ring.tab(0)).put('left', 'yes')
    await ring.client(ring.tab(5)).put('right', 'yes')

    ring.heal()
    await ring.until('one ring', () => ring.isWhole() && hashes(ring).size === 1, 60_000)
    await ring.pass(20_000)
    for (const tab of ring.tabs) {
      expect(await ring.client(tab).get('left')).toEqual(['yes'])
      expect(await ring.client(tab).get('right')).toEqual(['yes'])
    }
  })
})

describe('§4.8.3 Failure detection', () => {
  test('a purely local notion of failure is entirely sufficient: A may find B failed while C does not', async () => {
    const ring = await openRing(4, {}, { noticeMs: Number.MAX_SAFE_INTEGER })
    const [a, b, c] = [ring.tab(0), ring.tab(1), ring.tab(2)]
    const before = [...hashes(ring)]
    ring.partition([a], [b])
    await ring.until('A to suspect B', () => !nodeOf(a).peers.isReachable(b.id), 30_000)

    await ring.pass(30_000)
    expect(nodeOf(a).peers.isReachable(b.id)).toBe(false)
    expect(nodeOf(c).peers.isReachable(b.id)).toBe(true)
    expect(nodeOf(b).peers.isReachable(c.id)).toBe(true)
    // Nobody was told: the member records are what they were.
    expect([...hashes(ring)]).toEqual(before)
  })

  test('node A considers B failed if B does not respond, even if B is responsive to C; it then uses alternate nodes', async () => {
    const ring = await openRing(5)
    const [a, b, c] = ring.homes('cart')
    const [d] = ring.others('cart')
    ring.partition([a], [b])
    await ring.pass(10_000)
    expect(new Set((await ring.client(a).put('cart', 'apple', { w: 3 })).acks)).toEqual(new Set([a.id, c.id, d.id]))
    expect(new Set((await ring.client(c).put('cart', 'bread', { w: 3 })).acks)).toEqual(new Set([a.id, b.id, c.id]))
  })

  test('a tab that is frozen is found unresponsive although its links stay up', async () => {
    const ring = await openRing(4)
    ring.world.freeze(ring.tab(3))
    await ring.until('suspicion', () => !nodeOf(ring.tab(0)).peers.isReachable(ring.tab(3).id), 30_000)
    expect(knows(ring.tab(0), ring.tab(3))).toBe(true)
  })

  test('A periodically retries B to check for its recovery', async () => {
    const ring = await openRing(4, {}, { noticeMs: Number.MAX_SAFE_INTEGER })
    const [a, b] = [ring.tab(0), ring.tab(1)]
    ring.partition([a], [b])
    await ring.until('suspicion', () => !nodeOf(a).peers.isReachable(b.id), 30_000)
    const retries = await ring.messages(() => ring.pass(10_000))
    expect(retries.filter(({ from, to }) => from === a.id && to === b.id).length).toBeGreaterThan(5)
    ring.heal()
    await ring.until('recovery', () => nodeOf(a).peers.isReachable(b.id) && nodeOf(b).peers.isReachable(a.id), 10_000)
  })

  test('neither node needs to know whether the other is reachable: a ring without traffic keeps its placement', async () => {
    const ring = await openRing(5)
    const homes = ring.homes('cart')
    ring.partition([ring.tab(0), ring.tab(1)], [ring.tab(2), ring.tab(3), ring.tab(4)])
    await ring.pass(120_000)
    for (const tab of ring.tabs) expect(ring.homes('cart', tab)).toEqual(homes)
  })
})
