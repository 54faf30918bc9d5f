/**
 * Staleness of partial quorums as Bailis et al. model it (PBS, VLDB 2012): the four one-way delays of WARS, drawn per replica, and
 * how often a read that begins t after a write was acknowledged sees that write. The delays are those fitted to production systems in Table 3;
 * `latencyOf` makes them a simulated network's.
 */
import type { SeededRandom } from '../random.js'

/** One delay in milliseconds. */
export type Delay = (random: SeededRandom) => number

/** Delays of a write to a replica, its acknowledgement, a read request and its response. */
export interface Wars {
  w: Delay
  a: Delay
  r: Delay
  s: Delay
}

export interface Quorum {
  n: number
  r: number
  w: number
}

export function pareto(xm: number, alpha: number): Delay {
  return (random) => xm * (1 - random.next()) ** (-1 / alpha)
}

export function exponential(lambda: number): Delay {
  return (random) => -Math.log(1 - random.next()) / lambda
}

/** The first delay with this probability, otherwise the second. */
export function mixed(probability: number, body: Delay, tail: Delay): Delay {
  return (random) => (random.chance(probability) ? body : tail)(random)
}

const SSD = mixed(0.9122, pareto(0.235, 10), exponential(1.66))
const DISK_WRITE = mixed(0.38, pareto(1.05, 1.51), exponential(0.183))
const YMMR_WRITE = mixed(0.939, pareto(3, 3.35), exponential(0.0028))
const YMMR_REST = mixed(0.982, pareto(1.5, 3.8), exponential(0.0217))

export const LNKD_SSD: Wars = { w: SSD, a: SSD, r: SSD, s: SSD }
export const LNKD_DISK: Wars = { w: DISK_WRITE, a: SSD, r: SSD, s: SSD }
export const YMMR: Wars = { w: YMMR_WRITE, a: YMMR_REST, r: YMMR_REST, s: YMMR_REST }

/** docs/simulator.md, Calibration (c), in per cent: an independent model with the same delays, given to a tenth of a point. */
export const EXPECTED: {
  name: string
  wars: Wars
  quorum: Quorum
  /** Milliseconds after the acknowledgement. */
  times: number[]
  expected: number[]
}[] = [
  { name: 'LNKD-SSD', wars: LNKD_SSD, quorum: { n: 3, r: 1, w: 1 }, times: [0, 5], expected: [97.5, 99.999] },
  { name: 'LNKD-DISK', wars: LNKD_DISK, quorum: { n: 3, r: 1, w: 1 }, times: [0, 10], expected: [43.4, 92.7] },
  { name: 'YMMR', wars: YMMR, quorum: { n: 3, r: 1, w: 1 }, times: [0, 1000], expected: [88.7, 99.7] },
  { name: 'LNKD-DISK', wars: LNKD_DISK, quorum: { n: 3, r: 2, w: 1 }, times: [0, 10], expected: [76.1, 99.6] },
]

/** docs/simulator.md, Calibration (c), N = 3, R = W = 1: a read is within k versions, as a share. */
export const EXPECTED_WITHIN = [
  { k: 1, expected: 0.333 },
  { k: 2, expected: 0.556 },
  { k: 3, expected: 0.704 },
  { k: 5, expected: 0.868 },
  { k: 10, expected: 0.983 },
]

/** The delay as `NetworkKnobs.latency`. */
export function latencyOf(delay: Delay, random: SeededRandom): () => number {
  return () => delay(random)
}

/**
 * For each time t after the acknowledgement, the share of reads that see the write: one of the first r replicas to respond must have had
 * it when the request arrived. All times are judged by the same draws, so the result never falls.
 */
export function visibility(
  { w, a, r, s }: Wars,
  quorum: Quorum,
  times: readonly number[],
  draws: number,
  random: SeededRandom,
): number[] {
  const consistent = times.map(() => 0)
  for (let i = 0; i < draws; i++) {
    const writes = drawn(quorum.n, w, random)
    const acknowledged = nth(
      quorum.w,
      writes.map((write) => write + a(random)),
    )
    const requests = drawn(quorum.n, r, random)
    const responses = requests.map((request) => request + s(random))
    const last = nth(quorum.r, responses)
    // The write is seen from this long after its acknowledgement on.
    let seenFrom = Number.POSITIVE_INFINITY
    for (let replica = 0; replica < quorum.n; replica++) {
      if ((responses[replica] ?? 0) > last) continue
      seenFrom = Math.min(seenFrom, (writes[replica] ?? 0) - acknowledged - (requests[replica] ?? 0))
    }
    times.forEach((time, t) => {
      if (time >= seenFrom) consistent[t] = (consistent[t] ?? 0) + 1
    })
  }
  return consistent.map((count) => count / draws)
}

/** P(a read is at most k versions behind), closed form: k quorums in a row were all missed otherwise (PBS §3.1). */
export function withinVersions(k: number, { n, r, w }: Quorum): number {
  return 1 - (choose(n - w, r) / choose(n, r)) ** k
}

/** The same by drawing: each of the last k writes is on w random replicas, the read asks r random ones. */
export function drawnWithinVersions(k: number, { n, r, w }: Quorum, draws: number, random: SeededRandom): number {
  let seen = 0
  for (let i = 0; i < draws; i++) {
    const asked = sample(n, r, random)
    let sees = false
    for (let version = 0; version < k && !sees; version++)
      sees = sample(n, w, random).some((node) => asked.includes(node))
    if (sees) seen++
  }
  return seen / draws
}

function drawn(count: number, delay: Delay, random: SeededRandom): number[] {
  return Array.from({ length: count }, () => delay(random))
}

/** The nth smallest, counted from 1. */
function nth(n: number, values: readonly number[]): number {
  return [...values].sort((x, y) => x - y)[n - 1] ?? Number.POSITIVE_INFINITY
}

function sample(n: number, count: number, random: SeededRandom): number[] {
  const left = Array.from({ length: n }, (_, i) => i)
  return Array.from({ length: count }, () => left.splice(random.below(left.length), 1)[0] ?? 0)
}

function choose(n: number, k: number): number {
  let result = 1
  for (let i = 0; i < k; i++) result = (result * (n - i)) / (i + 1)
  return Math.max(0, result)
}
