/**
 * Push-pull gossip as a model (Demers et al. 1987): in each round every node exchanges what it knows with one random other node. In step, a node passes on
 * what it knew before the round, and EXPECTED_ROUNDS is what is to be expected; without step, as the production core works, a change is passed
 * on as soon as it is known, and needs less.
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

/** The same with nodes that keep no step: the time between a node’s exchanges is 0.8 to 1.2 rounds, as in the core, and an exchange takes none. */
export function roundsWithoutStep(nodes: number, lossRate: number, random: SeededRandom): number {
  const knows = Array.from({ length: nodes }, (_, node) => node === 0)
  const next = Array.from({ length: nodes }, () => random.next())
  for (;;) {
    let node = 0
    for (let other = 1; other < nodes; other++) if ((next[other] ?? 0) < (next[node] ?? 0)) node = other
    const now = next[node] ?? 0
    next[node] = now + 0.8 + 0.4 * random.next()
    const peer = (node + 1 + random.below(nodes - 1)) % nodes
    if (random.chance(lossRate) || knows[node] === knows[peer]) continue
    knows[node] = knows[peer] = true
    if (!knows.includes(false)) return now
  }
}

/** docs/simulator.md, Calibration (e): rounds until all know, in step. */
export const EXPECTED_ROUNDS = [
  { nodes: 10, loss: 0, median: 4, p99: 5 },
  { nodes: 30, loss: 0, median: 5, p99: 6 },
  { nodes: 100, loss: 0, median: 7, p99: 8 },
  { nodes: 300, loss: 0, median: 8, p99: 9 },
  { nodes: 10, loss: 0.3, median: 4, p99: 8 },
  { nodes: 30, loss: 0.3, median: 7, p99: 10 },
  { nodes: 100, loss: 0.3, median: 9, p99: 12 },
  { nodes: 300, loss: 0.3, median: 11, p99: 13 },
]

/** In no more rounds than this a ring change has to be everywhere. */
export function boundOf(nodes: number): number {
  return 2 * Math.log2(nodes) + 4
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
