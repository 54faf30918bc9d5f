import type { DeviceId, NodeId, ReplicationFactor } from '../ids.js'
export interface PlacementMember { node: NodeId; device: DeviceId; capacity: number }
export interface Placement {
  homes(index: number): readonly NodeId[]
  preferenceList(index: number): readonly NodeId[]
  isHome(node: NodeId, index: number): boolean
  partitionsOf(node: NodeId): number[]
}
function mix(a: number, b: number) { let h = Math.imul(a ^ 0x9e3779b9, 0x85ebca6b) ^ b; h = Math.imul(h ^ (h >>> 15), 0x2c1b3c6d); h = Math.imul(h ^ (h >>> 12), 0x297a2d39); return (h ^ (h >>> 15)) >>> 0 }
export function placement(members: PlacementMember[], Q: number, n: ReplicationFactor): Placement {
  const ids = members.map((m) => ({ node: m.node, h: [...m.node].reduce((s, c) => Math.imul(s, 31) + c.charCodeAt(0), 7) }))
  const lists = Array.from({ length: Q }, (_, i) => ids.map((m) => ({ node: m.node, s: mix(m.h, i) })).sort((a, b) => b.s - a.s || (a.node < b.node ? -1 : 1)).map((m) => m.node))
  const count = n === 'all' ? ids.length : Math.min(n, ids.length)
  return {
    preferenceList: (i) => lists[i] ?? [],
    homes: (i) => (lists[i] ?? []).slice(0, count),
    isHome: (node, i) => (lists[i] ?? []).slice(0, count).includes(node),
    partitionsOf: (node) => lists.flatMap((l, i) => (l.slice(0, count).includes(node) ? [i] : [])),
  }
}
