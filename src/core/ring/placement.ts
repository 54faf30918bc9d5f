/**
 * Which nodes hold which partition: a pure function of the members, Q and n, the same on every node that has the same member list, with no
 * history, no leader and no agreed state (§6.2 strategy 3: each node holds Q/S tokens). See `claims.ts` for how homes are
 * chosen; here the rest of each preference list is put behind them (§4.3, §4.6).
 */
import type { DeviceId, NodeId, ReplicationFactor } from '../ids.js'
import { invariant } from '../invariant.js'
import { claimHomes } from './claims.js'
import { scoresOf } from './scores.js'
import { fairShares, ratesFor } from './shares.js'

export interface PlacementMember {
  node: NodeId
  device: DeviceId
  /** Relative weight, above 0; 1 is normal. */
  capacity: number
}

/** Indexes run from 0 to Q - 1, within one replication class. Everything is computed once or on first use; nothing may be changed. */
export interface Placement {
  /** The nodes that hold the partition, closest first: n of them, or all members when there are fewer. */
  homes(index: number): readonly NodeId[]
  /** All members: the homes, then the stand-ins in the order in which they take over. */
  preferenceList(index: number): readonly NodeId[]
  /** The partitions that the node is home of, rising. */
  partitionsOf(node: NodeId): readonly number[]
}

/**
 * Places Q partitions on the members. The order of the input does not matter. About a millisecond for 30 members and 256 partitions.
 *
 * - Balance: no node has more homes than its fair share and 5 %, less for large shares, rounded up (`fairShares`, `limitFor`). The mean
 *   load is at least 0.94 of the highest at S = 30, Q = 256, n = 3.
 * - Devices: the homes of a partition are on min(n, devices) distinct devices, and the first n stand-ins on new ones while there are any.
 * - Movement: one join moves at most 1.3 × the newcomer's share, one leave 1.3 × what the leaver held. With n = 3 and a device each
 *   this holds for every change up to 16 nodes at Q = 256 (40 at Q = 1024), on average up to 30 (Q = 256). More nodes, and many tabs
 *   on few devices, cost more; the property tests hold bounds there too. The displaced home is nearly always the first stand-in.
 */
export function placement(members: readonly PlacementMember[], Q: number, n: ReplicationFactor): Placement {
  const sorted = [...members].sort((a, b) => (a.node < b.node ? -1 : a.node > b.node ? 1 : 0))
  sorted.forEach((member, i) => {
    invariant(member.capacity > 0 && member.capacity < Number.POSITIVE_INFINITY, 'a capacity is a positive number')
    invariant(member.node !== sorted[i - 1]?.node, 'a member is placed once')
  })
  const copies = Math.min(n === 'all' ? sorted.length : n, sorted.length)
  const shares = fairShares(sorted, Q, copies)
  // When all are homes anyway, the rate only says who comes first.
  const rates = copies === sorted.length ? sorted.map(({ capacity }) => capacity) : ratesFor(sorted, shares, Q, copies)
  const scores = sorted.map(({ node }, i) => scoresOf(node, rates[i] ?? 1, Q))
  const claimed = claimHomes(sorted, scores, shares, Q, copies)
  const byCost = (index: number) => (a: number, b: number) =>
    (scores[a]?.cost[index] ?? 0) - (scores[b]?.cost[index] ?? 0) || a - b
  const positions = new Map(sorted.map((member, i) => [member.node, i]))
  const names = (list: readonly number[]): readonly NodeId[] => list.map((i) => (sorted[i] as PlacementMember).node)

  const homes = claimed.map((set, index) => set.sort(byCost(index)))
  const homeNames = homes.map(names)
  const lists: (readonly NodeId[] | undefined)[] = []
  const held: number[][] = sorted.map(() => [])
  homes.forEach((set, index) => {
    for (const i of set) held[i]?.push(index)
  })

  return {
    homes: (index) => homeNames[index] ?? outside(index, Q),
    preferenceList: (index) => {
      const known = lists[index]
      if (known) return known
      const set = homes[index] ?? outside(index, Q)
      const rest = sorted.map((_, i) => i).filter((i) => !set.includes(i))
      const list = names([...set, ...standIns(sorted, set, rest.sort(byCost(index)))])
      lists[index] = list
      return list
    },
    partitionsOf: (node) => held[positions.get(node) ?? -1] ?? [],
  }
}

/**
 * Stand-ins in order: as many as there are homes from devices that have no copy yet, because a second copy on one disk protects from little
 * (§4.3); then all others, closest first.
 */
function standIns(members: readonly PlacementMember[], homes: readonly number[], rest: readonly number[]): number[] {
  const used = new Set(homes.map((i) => members[i]?.device))
  const first: number[] = []
  for (const i of rest) {
    if (first.length === homes.length) break
    if (used.has(members[i]?.device)) continue
    used.add(members[i]?.device)
    first.push(i)
  }
  return [...first, ...rest.filter((i) => !first.includes(i))]
}

function outside(index: number, Q: number): never {
  throw new RangeError(`tabring: partition index ${index} is not in 0..${Q - 1}`)
}
