/**
 * Push-pull gossip as a model: rounds in step, in each of which every node exchanges all it knew before the round with one random other
 * node (Demers et al. 1987). What a change needs to be everywhere is what the simulated ring must not exceed.
 */
import type { SeededRandom } from '../random.js'

/** Rounds until a change at one node is everywhere. An exchange gets lost as a whole with the given probability. */
export function roundsUntilEverywhere(nodes: number, lossRate: number, random: SeededRandom): number {
  let knows = Array.from({ length: nodes }, (_, node) => node === 0)
  let rounds = 0
  for (; knows.includes(false); rounds++) {
    const after = [...knows]
    for (let node = 0; node < nodes; node++) {
      const peer = (node + 1 + random.below(nodes - 1)) % nodes
      if (random.chance(lossRate) || !(knows[node] || knows[peer])) continue
      after[node] = after[peer] = true
    }
    knows = after
  }
  return rounds
}

export interface Spread {
  median: number
  p99: number
}

export function spreadOf(rounds: readonly number[]): Spread {
  const sorted = [...rounds].sort((a, b) => a - b)
  const at = (share: number) => sorted[Math.ceil(share * sorted.length) - 1] ?? 0
  return { median: at(0.5), p99: at(0.99) }
}
