/**
 * How fast gossip spreads: a model of it against known medians and 99th percentiles, and the production core on a simulated network
 * against the bound of 2 log2(S) + 4 rounds. A round of the core is a second on average; no node keeps step with another.
 */
import { describe, expect, test } from 'vitest'
import { SeededRandom } from '../random.js'
import { Ring, type Tab, nodeOf } from '../ring.js'
import { roundsUntilEverywhere, spreadOf } from './gossip.js'

const RUNS = 2000
const ROUND_MS = 1000

describe('the model: rounds until all know', () => {
  test.each([
    { nodes: 10, loss: 0, median: 4, p99: 5 },
    { nodes: 30, loss: 0, median: 5, p99: 6 },
    { nodes: 100, loss: 0, median: 7, p99: 8 },
    { nodes: 300, loss: 0, median: 8, p99: 9 },
    { nodes: 10, loss: 0.3, median: 4, p99: 8 },
    { nodes: 30, loss: 0.3, median: 7, p99: 10 },
    { nodes: 100, loss: 0.3, median: 9, p99: 12 },
    { nodes: 300, loss: 0.3, median: 11, p99: 13 },
  ])(
    '$nodes nodes, $loss of the exchanges lost: $median, in 99 % of all cases $p99',
    ({ nodes, loss, median, p99 }) => {
      const random = new SeededRandom(nodes)
      const spread = spreadOf(Array.from({ length: RUNS }, () => roundsUntilEverywhere(nodes, loss, random)))
      if (process.env.PAPER) console.log(nodes, loss, spread)
      expect(Math.abs(spread.median - median)).toBeLessThanOrEqual(1)
      expect(Math.abs(spread.p99 - p99)).toBeLessThanOrEqual(1)
    },
  )
})

describe('the production core: rounds until all know', () => {
  test.each([10, 30])(
    '%i tabs',
    async (tabs) => {
      const ring = new Ring({ seed: 1987, tuning: { gossipIntervalMs: ROUND_MS } })
      await ring.open(tabs)
      const bound = 2 * Math.log2(tabs) + 4
      const told = await roundsOf(ring, 10)
      // Nor does it need the two exchanges with which a node tells a change at once.
      for (const tab of ring.tabs) nodeOf(tab).gossip.spread = () => {}
      const rounds = await roundsOf(ring, 10)
      if (process.env.PAPER) console.log(tabs, bound, { told, rounds })
      expect(Math.max(...told, ...rounds)).toBeLessThanOrEqual(bound)
      expect(spreadOf(told).median).toBeLessThan(spreadOf(rounds).median)
      // It is gossip that is measured here, not something that tells everybody.
      expect(spreadOf(rounds).median).toBeGreaterThan(1)
      expect(ring.world.errors).toEqual([])
    },
    60_000,
  )
})

/** One change after another, each declared at some tab. */
async function roundsOf(ring: Ring, changes: number): Promise<number[]> {
  const rounds: number[] = []
  for (let i = 0; i < changes; i++) {
    const name = `name ${ring.world.time.now}`
    const origin = ring.random.pick(ring.tabs)
    nodeOf(origin).membership.declare({ name })
    const start = ring.world.time.now
    const knows = (tab: Tab) => nodeOf(tab).membership.get(origin.id)?.name === name
    await ring.world.time.until('all to know', () => ring.tabs.every(knows), 60_000, 10)
    rounds.push((ring.world.time.now - start) / ROUND_MS)
  }
  return rounds
}
