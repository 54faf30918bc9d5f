/**
 * How fast gossip spreads: a model of it against known medians and 99th percentiles, and the production core on a simulated network against the same
 * model without step and against the bound of 2 log2(S) + 4 rounds.
 */
import { describe, expect, test } from 'vitest'
import { SeededRandom } from '../random.js'
import { EXPECTED_ROUNDS, boundOf, roundsUntilEverywhere, roundsWithoutStep, spreadOf } from './gossip.js'
import { measuredRounds, openQuietRing } from './ring-gossip.js'

const RUNS = 2000
const LOSS_RATES = [0, 0.3]

describe('the model: rounds until all know', () => {
  test.each(EXPECTED_ROUNDS)(
    '$nodes nodes, $loss of the exchanges lost: $median, in 99 % of all cases $p99',
    ({ nodes, loss, median, p99 }) => {
      const random = new SeededRandom(nodes)
      const spread = spreadOf(Array.from({ length: RUNS }, () => roundsUntilEverywhere(nodes, loss, random)))
      expect(Math.abs(spread.median - median)).toBeLessThanOrEqual(1)
      expect(Math.abs(spread.p99 - p99)).toBeLessThanOrEqual(1)
    },
  )
})

describe('the production core: rounds until all know', () => {
  test.each([
    // npm run paper measures more changes, for the 99th percentile.
    { tabs: 10, changes: 30 },
    { tabs: 30, changes: 12 },
    { tabs: 100, changes: 2 },
  ])('$tabs tabs, none or 30 % of the exchanges lost', async ({ tabs, changes }) => {
    const ring = await openQuietRing(tabs, 1987)
    for (const lossRate of LOSS_RATES) {
      const rounds = await measuredRounds(ring, lossRate, changes)
      expect(Math.max(...rounds)).toBeLessThanOrEqual(boundOf(tabs))
      // It is gossip that is measured here, neither more nor less.
      const random = new SeededRandom(tabs)
      const drawn = Array.from({ length: RUNS }, () => roundsWithoutStep(tabs, lossRate, random))
      const [mean, deviation] = [meanOf(drawn), deviationOf(drawn)]
      expect(Math.abs(meanOf(rounds) - mean)).toBeLessThanOrEqual(ON_THE_WAY + (4 * deviation) / Math.sqrt(changes))
    }
  })

  test('a change that is told at once is everywhere sooner', async () => {
    const ring = await openQuietRing(30, 1988)
    const [told, untold] = [await measuredRounds(ring, 0, 5, true), await measuredRounds(ring, 0, 5)]
    expect(spreadOf(told).median).toBeLessThan(spreadOf(untold).median)
  })
})

/** In rounds: frames take their time, a change some hops, and the model’s exchanges take none. */
const ON_THE_WAY = 0.5

function meanOf(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length
}

function deviationOf(values: readonly number[]): number {
  const mean = meanOf(values)
  return Math.sqrt(meanOf(values.map((value) => (value - mean) ** 2)))
}
