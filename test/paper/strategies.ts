/**
 * The three partitioning strategies of §6.2, reduced to what the paper compares: how evenly the key space is served (load efficiency = mean /
 * highest load, every replica serving its requests) for how much membership metadata. Strategies 1 and 2 exist here only, as
 * tooling; strategy 3 is the placement that tabring runs on. No network and no keys: loads are shares of a uniform key space.
 */
import type { DeviceId, NodeId } from '../../src/core/ids.js'
import { type PlacementMember, placement } from '../../src/core/ring/placement.js'

/** Uniform in [0, 1). */
export type Chance = () => number

/** Mulberry32: small, seeded, good enough to scatter tokens. */
export function chance(seed: number): Chance {
  let state = seed | 0
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/** Mean load over the highest load: 1 is perfect (§6.2). */
export function loadEfficiency(loads: readonly number[]): number {
  return loads.reduce((sum, load) => sum + load, 0) / loads.length / Math.max(...loads)
}

interface Token {
  at: number
  node: number
}

function randomTokens(nodes: number, tokensPerNode: number, random: Chance): Token[] {
  return Array.from({ length: nodes * tokensPerNode }, (_, i) => ({ at: random(), node: i % nodes })).sort(
    (a, b) => a.at - b.at,
  )
}

/** The first n distinct nodes clockwise from the token at position `start` (§4.3). */
function walk(tokens: readonly Token[], start: number, n: number): number[] {
  const homes: number[] = []
  for (let step = 0; step < tokens.length && homes.length < n; step++) {
    const node = tokens[(start + step) % tokens.length]?.node ?? 0
    if (!homes.includes(node)) homes.push(node)
  }
  return homes
}

/** Strategy 1: T random tokens per node, and the ranges between two tokens are the partitions. Metadata: S × T tokens. */
export function strategy1(nodes: number, tokensPerNode: number, n: number, random: Chance): number[] {
  const tokens = randomTokens(nodes, tokensPerNode, random)
  const loads = new Array<number>(nodes).fill(0)
  tokens.forEach((token, i) => {
    const before = i === 0 ? (tokens.at(-1)?.at ?? 0) - 1 : (tokens[i - 1]?.at ?? 0)
    for (const node of walk(tokens, i, n)) loads[node] = (loads[node] ?? 0) + token.at - before
  })
  return loads
}

/**
 * Strategy 2: T random tokens per node, Q equal partitions, and a partition's homes are those of its last point. Metadata: S × T tokens,
 * plus the map of Q partitions when it is stored instead of computed.
 */
export function strategy2(
  nodes: number,
  tokensPerNode: number,
  n: number,
  partitions: number,
  random: Chance,
): number[] {
  const tokens = randomTokens(nodes, tokensPerNode, random)
  const loads = new Array<number>(nodes).fill(0)
  let start = 0
  for (let index = 0; index < partitions; index++) {
    const end = (index + 1) / partitions
    while (start < tokens.length && (tokens[start]?.at ?? 1) < end) start++
    for (const node of walk(tokens, start % tokens.length, n)) loads[node] = (loads[node] ?? 0) + 1 / partitions
  }
  return loads
}

/** Strategy 3: Q / S tokens per node and equal partitions, placed as tabring does it. Metadata: Q entries if it were stored at all. */
export function strategy3(nodes: number, n: number, partitions: number, random: Chance): number[] {
  const members = Array.from({ length: nodes }, (_, i): PlacementMember => {
    const name = `${i}-${Math.floor(random() * 2 ** 32).toString(36)}`
    return { node: name as NodeId, device: name as DeviceId, capacity: 1 }
  })
  const ring = placement(members, partitions, n)
  return members.map(({ node }) => ring.partitionsOf(node).length / partitions)
}

/** The mean load efficiency over `runs` rings with seeds 1, 2, …, rounded to three digits. */
export function meanEfficiency(runs: number, loads: (random: Chance) => number[]): number {
  let sum = 0
  for (let seed = 1; seed <= runs; seed++) sum += loadEfficiency(loads(chance(seed * 7919)))
  return Math.round((sum / runs) * 1000) / 1000
}
