/** §4.9, 'Adding/removing storage nodes', sentence by sentence. */
import { describe, expect, test } from 'vitest'
import { type Ring, type Tab, named, nodeOf, openRing, replicaAt } from './ring.js'

const KEYS = Array.from({ length: 60 }, (_, i) => `key ${i}`)
const TUNING = { partitions: 32, scrubIntervalMs: 3000 }

async function ringWithData(tabs: number): Promise<Ring> {
  const ring = await openRing(tabs, TUNING)
  for (const key of KEYS) await ring.client(ring.tab(0)).put(key, `value of ${key}`, { w: 3 })
  await ring.until('all hints delivered', () => ring.tabs.every((tab) => tab.disk.hints.size === 0), 10_000)
  return ring
}

function holders(ring: Ring, key: string): Tab[] {
  return ring.world.alive().filter((tab) => replicaAt(tab, key).includes(`value of ${key}`))
}

/** Every key lies at its homes and nowhere else. */
function isTidy(ring: Ring, seenBy?: Tab): boolean {
  return KEYS.every((key) => {
    const homes = new Set(ring.homes(key, seenBy))
    const held = holders(ring, key)
    return held.length === 3 && held.every((tab) => homes.has(tab))
  })
}

function share(tab: Tab): number {
  return nodeOf(tab).duties.held().length
}

describe('§4.9 Adding and removing storage nodes', () => {
  test('when a new node X is added into the system, it is assigned its share of the key ranges', async () => {
    const ring = await ringWithData(5)
    const x = await ring.join()
    await ring.until('the ring to take X in', () => ring.isWhole(), 30_000)
    const fair = (3 * TUNING.partitions) / 6
    expect(share(x)).toBeGreaterThanOrEqual(fair * 0.7)
    for (const tab of ring.tabs) expect(share(tab)).toBeLessThanOrEqual(Math.ceil(fair * 1.2))
  })

  test('the existing nodes offer X the appropriate set of keys, and it has them all', async () => {
    const ring = await ringWithData(5)
    const x = await ring.join()
    await ring.until('the ring to take X in', () => ring.isWhole(), 30_000)
    await ring.pass(5000)
    const its = KEYS.filter((key) => ring.homes(key).includes(x))
    expect(its.length).toBeGreaterThan(10)
    for (const key of its) expect(replicaAt(x, key)).toEqual([`value of ${key}`])
  })

  test('some existing nodes no longer have to store some of their keys, and these let go of them afterwards', async () => {
    const ring = await ringWithData(5)
    const x = await ring.join()
    await ring.until('every key at its homes only', () => ring.isWhole() && isTidy(ring), 60_000)
    expect(x.disk.records.size).toBeGreaterThan(10)
    for (const tab of ring.tabs) expect(nodeOf(tab).transfers.strays()).toEqual([])
  })

  test('they let go only upon confirmation from X: at every moment N nodes hold every key', async () => {
    const ring = await ringWithData(5)
    await ring.join()
    for (let step = 0; step < 300 && !(ring.isWhole() && isTidy(ring)); step++) {
      await ring.pass(100)
      for (const key of KEYS) expect(holders(ring, key).length).toBeGreaterThanOrEqual(3)
    }
    expect(isTidy(ring)).toBe(true)
  })

  test('a get finds every key at every moment of the transfer, at any node, X itself included', async () => {
    const ring = await ringWithData(5)
    const x = await ring.join()
    // A tab that has not met the ring yet says that it could not reach R nodes.
    expect(await ring.client(x).ask('key 0', { r: 2 })).toMatchObject({ met: false })
    await ring.until('X to meet the ring', () => nodeOf(x).peers.reachable().length === 5, 5000)
    for (let step = 0; step < 20; step++) {
      const key = KEYS[step * 3] as string
      expect(await ring.client(x).get(key)).toEqual([`value of ${key}`])
      expect(await ring.client(ring.tab(step % 5)).get(key)).toEqual([`value of ${key}`])
    }
  })

  test('X receives no duplicate transfers: each key comes about once', async () => {
    const ring = await ringWithData(5)
    const x = await ring.join()
    await ring.until('the ring to take X in', () => ring.isWhole(), 30_000)
    await ring.pass(5000)
    const { counters } = nodeOf(x).metrics.snapshot()
    const received = (counters.keysTransferred ?? 0) + (counters.syncPulled ?? 0)
    expect(received).toBeGreaterThan(0)
    expect(received).toBeLessThanOrEqual(1.5 * x.disk.records.size)
  })

  test('nodes that X does not displace keep their ranges: only its share moves', async () => {
    const ring = await ringWithData(5)
    const before = new Map(KEYS.map((key) => [key, ring.homes(key)]))
    const x = await ring.join()
    await ring.until('the ring to take X in', () => ring.isWhole(), 30_000)
    let moved = 0
    for (const key of KEYS) moved += ring.homes(key).filter((home) => !before.get(key)?.includes(home)).length
    const its = KEYS.filter((key) => ring.homes(key).includes(x)).length
    expect(moved).toBeLessThanOrEqual(1.5 * its)
  })

  test('when a node is removed from the system, the reallocation of keys happens in a reverse process', async () => {
    const ring = await ringWithData(6)
    const leaver = ring.tab(5)
    await ring.leave(leaver)
    // It left when the others had everything.
    expect(leaver.disk.hints.size).toBe(0)
    ring.crash(leaver)
    await ring.until('every key at its homes only', () => isTidy(ring), 60_000)
    for (const key of KEYS) {
      expect(ring.homes(key)).not.toContain(leaver)
      expect(await ring.client(ring.tab(0)).get(key, { r: 3 })).toEqual([`value of ${key}`])
    }
  })

  test('a node that leaves hands over the hints it holds, too', async () => {
    const ring = await openRing(6, { ...TUNING, standInAfterMs: 1_000_000 })
    const [a, b] = ring.homes('cart')
    const [d] = ring.others('cart')
    ring.crash(a)
    await ring.pass(3000)
    await ring.client(b).put('cart', 'apple', { w: 3 })
    expect(d.disk.hints.has(named('cart'))).toBe(true)
    await ring.reopen(a)
    await ring.leave(d)
    expect(d.disk.hints.size).toBe(0)
    expect(replicaAt(a, 'cart')).toEqual(['apple'])
  })

  test('nodes come and go while clients write: nothing is lost', async () => {
    const ring = await ringWithData(4)
    const ann = ring.client(ring.tab(0))
    for (let i = 0; i < 3; i++) {
      const newcomer = await ring.join()
      for (const key of KEYS.slice(i * 10, i * 10 + 10)) {
        await ann.get(key)
        await ann.put(key, `${i} of ${key}`)
      }
      await ring.until('one ring', () => ring.isWhole(), 60_000)
      if (i !== 1) continue
      await ring.leave(newcomer)
      ring.crash(newcomer)
    }
    await ring.pass(10_000)
    for (const [i, key] of KEYS.entries()) {
      const expected = i < 30 ? `${Math.floor(i / 10)} of ${key}` : `value of ${key}`
      expect(await ring.client(ring.tab(1)).get(key)).toEqual([expected])
    }
  })

  test('new nodes whose only source dies on them agree with each other: all that had its quorum is there', async () => {
    const ring = await openRing(1, TUNING)
    const [a, b, c] = [ring.tab(0), await ring.join(), await ring.join()]
    await ring.until('a triangle', () => ring.tabs.every((tab) => nodeOf(tab).peers.reachable().length === 2), 5000)
    expect(nodeOf(b).duties.filling().length).toBeGreaterThan(0)
    expect(await ring.client(a).put('cart', 'apple')).toMatchObject({ met: true })
    ring.crash(a)
    await ring.until(
      'the others to have what there is',
      () => [b, c].every((tab) => nodeOf(tab).duties.filling().length === 0),
      20_000,
    )
    expect(await ring.client(b).get('cart')).toEqual(['apple'])
    expect(await ring.client(c).ask('never written')).toMatchObject({ met: true })
  })

  test('but as long as a whole write quorum is away, "not found" is no answer', async () => {
    const ring = await openRing(2, TUNING)
    const x = await ring.join()
    await ring.until('X to meet both', () => nodeOf(x).peers.reachable().length === 2, 5000)
    ring.crash(ring.tab(0), ring.tab(1))
    await ring.pass(30_000)
    expect(nodeOf(x).duties.filling().length).toBeGreaterThan(0)
    expect(await ring.client(x).ask('never written')).toMatchObject({ met: false })
  })

  test('a node that is cut off while it leaves does not take its own opinion of the ring for the ring', async () => {
    const ring = await openRing(4, { ...TUNING, replaceAfterMs: 8000 })
    const [a, , , leaver] = ring.tabs as [Tab, Tab, Tab, Tab]
    ring.partition([leaver], ring.tabs.slice(0, 3))
    const leaving = ring.leave(leaver).catch((error) => error)
    await ring.client(leaver).put('cart', 'apple')
    // By now everybody else counts as asleep there.
    await ring.pass(30_000)
    // It is told that nobody takes anything, and stays.
    expect(await leaving).toMatchObject({ code: 'quorum' })
    expect(nodeOf(leaver).membership.self.state).toBe('up')
    ring.heal()
    await ring.until('one ring', () => ring.isWhole())
    await ring.leave(leaver)
    expect(await ring.client(a).get('cart')).toEqual(['apple'])
  })
})
