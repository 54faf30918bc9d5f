/**
 * How much each node is liked by each partition: the pseudo-random part of the placement. Every node ranks the Q partitions by a shuffle of
 * its own, seeded by nothing but its id, so that the opinion about one node never depends on which others are there: that is what
 * keeps movement small (rendezvous hashing, Thaler & Ravishankar 1998). A shuffle instead of independent draws gives
 * each node the same set of scores; that alone nearly halves the spread of the loads.
 *
 * Invariant: only 32-bit integers and IEEE +, -, ×, ÷. `Math.log` may differ by a bit between browsers, and with it the ring.
 */
import type { NodeId } from '../ids.js'

/** One node's side of it: lower cost is closer. `order` lists the partition indexes by rising cost. */
export interface Scores {
  cost: Float64Array
  order: Uint16Array
}

/**
 * The costs of one node for Q partitions, exponentially distributed with this rate: a node of twice the rate is the cheapest twice as
 * often (weighted rendezvous). The order does not depend on the rate.
 */
export function scoresOf(node: NodeId, rate: number, Q: number): Scores {
  const seed = seedOf(node)
  const order = new Uint16Array(Q)
  for (let i = 0; i < Q; i++) {
    const j = scale(mix(seed, i), i + 1)
    order[i] = order[j] as number
    order[j] = i
  }
  const cost = new Float64Array(Q)
  for (let rank = 0; rank < Q; rank++) {
    const partition = order[rank] as number
    // The place within the rank's slice decides between nodes that give a partition the same rank.
    const jitter = (mix(seed ^ 0x5bd1e995, partition) + 0.5) / 2 ** 32
    cost[partition] = minusLog(1 - (rank + jitter) / Q) / rate
  }
  return { cost, order }
}

/** FNV-1a over the UTF-16 units, then well mixed. */
function seedOf(text: string): number {
  let hash = 0x811c9dc5
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193)
  return mix(hash, 0)
}

/** A cheap 32-bit mixing hash of two integers (a golden-ratio step, then `scattered`). */
export function mix(seed: number, value: number): number {
  return scattered(seed ^ Math.imul(value + 1, 0x9e3779b1))
}

/** The finaliser of MurmurHash3: every bit of the result depends on every bit given. */
export function scattered(bits: number): number {
  let hash = bits
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return (hash ^ (hash >>> 16)) >>> 0
}

/** A uniform 32-bit integer to 0 .. below - 1. */
function scale(uniform: number, below: number): number {
  return Math.floor((uniform / 2 ** 32) * below)
}

/** -ln(x) for 0 < x <= 1, to about 1e-10, the same bits on every engine. */
export function minusLog(x: number): number {
  let halvings = 0
  let mantissa = x
  while (mantissa < 0.75) {
    mantissa *= 2
    halvings++
  }
  // ln m = 2 artanh((m - 1) / (m + 1)), with |argument| <= 0.2
  const y = (mantissa - 1) / (mantissa + 1)
  const square = y * y
  let sum = 0
  for (let k = 15; k >= 1; k -= 2) sum = sum * square + 1 / k
  return halvings * Math.LN2 - 2 * y * sum
}
