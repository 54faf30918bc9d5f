/**
 * §6.3, 'Divergent versions: when and how many?'. The paper counted one version in 99.94 % of the gets; its divergence came from concurrent
 * writers. With one causal writer per key it is all of them, whatever fails.
 */
import { describe, expect, test } from 'vitest'
import { type Client, type Ring, openRing, textsOf } from './ring.js'

/** How many gets saw how many versions. */
type Histogram = Map<number, number>

const KEYS = Array.from({ length: 8 }, (_, i) => `cart ${i}`)

interface Day {
  rounds: number
  /** Something that happens in this round, before the writes. */
  event?: (round: number) => Promise<void> | void
}

/** Every key has one writer, at a tab of its own, that reads before it writes; everybody reads everything. */
async function shop(ring: Ring, writers: Client[], { rounds, event }: Day): Promise<Histogram> {
  const seen: Histogram = new Map()
  for (let round = 0; round < rounds; round++) {
    await event?.(round)
    for (const [i, key] of KEYS.entries()) {
      const writer = writers[i % writers.length] as Client
      await writer.put(key, `${round}`, { w: 2 })
      if (round % 2 === 0) await writer.get(key)
      for (const tab of ring.world.alive()) {
        const { container } = await ring.client(tab).ask(key, { r: 1 })
        const versions = textsOf(container).length
        seen.set(versions, (seen.get(versions) ?? 0) + 1)
      }
    }
  }
  return seen
}

function versionsSeen(seen: Histogram): number[] {
  return [...seen.keys()]
}

describe('§6.3 Divergent versions: when and how many?', () => {
  test('with one causal writer per key, 100 % of the gets see exactly one version', async () => {
    const ring = await openRing(5)
    const seen = await shop(
      ring,
      ring.tabs.map((tab) => ring.client(tab)),
      { rounds: 6 },
    )
    expect([...seen]).toEqual([[1, 6 * KEYS.length * 5]])
  })

  test('also while tabs crash and come back', async () => {
    const ring = await openRing(6)
    const [frail, stout] = [ring.tabs.slice(2), ring.tabs.slice(0, 2)]
    const writers = stout.map((tab) => ring.client(tab))
    const seen = await shop(ring, writers, {
      rounds: 8,
      event: async (round) => {
        const [tab] = frail.slice(round % frail.length)
        if (!tab) return
        if (tab.node) ring.crash(tab)
        else await ring.reopen(tab)
        await ring.pass(1500)
      },
    })
    expect(versionsSeen(seen)).toEqual([1])
  })

  test('also when the writer itself crashes: it goes on from what it reads', async () => {
    const ring = await openRing(5)
    const home = ring.tab(0)
    const seen: number[] = []
    for (let life = 0; life < 6; life++) {
      const writer = ring.client(home)
      await ring.until('the tab to be back', () => ring.isWhole(), 30_000)
      await writer.get('cart', { r: 2 })
      await writer.put('cart', `life ${life}`, { w: 2 })
      ring.crash(home)
      await ring.pass(2000)
      for (const tab of ring.tabs.slice(1)) seen.push((await ring.client(tab).get('cart')).length)
      expect(await ring.client(ring.tab(1)).get('cart')).toEqual([`life ${life}`])
      await ring.reopen(home)
    }
    expect(new Set(seen)).toEqual(new Set([1]))
  })

  test('also while the ring is cut in two: a reader sees an old version or the new one, never both', async () => {
    const ring = await openRing(5)
    const writers = [ring.client(ring.tab(0))]
    const seen = await shop(ring, writers, {
      rounds: 6,
      event: async (round) => {
        if (round === 1) ring.partition(ring.tabs.slice(0, 2), ring.tabs.slice(2))
        if (round === 4) ring.heal()
        await ring.pass(3000)
      },
    })
    expect(versionsSeen(seen)).toEqual([1])
    await ring.pass(20_000)
    for (const tab of ring.tabs) for (const key of KEYS) expect(await ring.client(tab).get(key)).toEqual(['5'])
  })

  test('while members join and leave', async () => {
    const ring = await openRing(4)
    const writers = ring.tabs.map((tab) => ring.client(tab))
    const seen = await shop(ring, writers, {
      rounds: 4,
      event: async (round) => {
        if (round > 0) await ring.join()
        await ring.until('one ring', () => ring.isWhole(), 30_000)
      },
    })
    expect(versionsSeen(seen)).toEqual([1])
  })

  test('the number of versions is due to the number of concurrent writers, and no retry adds one', async () => {
    const ring = await openRing(5)
    const writers = ring.tabs.slice(0, 4).map((tab) => ring.client(tab))
    const puts = writers.map((writer, i) => writer.begin('cart', `writer ${i}`, { w: 2 }))
    for (const put of puts) await ring.await(put)
    await ring.pass(3000)
    for (const tab of ring.tabs)
      expect(await ring.client(tab).get('cart')).toEqual(['writer 0', 'writer 1', 'writer 2', 'writer 3'])
  })
})
