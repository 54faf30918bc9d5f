/**
 * Member records and their merge: the history that gossip reconciles (§4.8.1). Merging takes the greater of two records in one total
 * order, so every node that has seen the same records holds the same list, whatever the order (P30).
 */
import { sha256 } from '@noble/hashes/sha2.js'
import { utf8ToBytes } from '@noble/hashes/utils.js'
import type { DeviceId, NodeId } from '../ids.js'

/**
 * up: takes part in the placement (reachable or not). asleep: away for so long that others replace it; keeps its data. leaving: out of
 * the placement and handing over; what it still has may come back, so nothing is forgotten behind its back (P6).
 * left: handed everything over.
 */
export type MemberState = 'up' | 'asleep' | 'leaving' | 'left'

export interface MemberRecord {
  node: NodeId
  device: DeviceId
  /** Raised only by the node itself, to correct what others say of it. */
  incarnation: number
  state: MemberState
  /** Relative weight in the placement; 1 is normal. */
  capacity: number
  /** A label for people. */
  name: string
}

const RANK: Record<MemberState, number> = { up: 0, asleep: 1, leaving: 2, left: 3 }

/** One number that grows with every change of a record: what a gossip digest carries. */
export function recordVersion(record: MemberRecord): number {
  return record.incarnation * 4 + RANK[record.state]
}

/** Whether a record of this version says that the node has left. */
export function saysLeft(version: number): boolean {
  return version % 4 === RANK.left
}

export function newerRecord(a: MemberRecord, b: MemberRecord): MemberRecord {
  const difference = recordVersion(a) - recordVersion(b)
  if (difference !== 0) return difference > 0 ? a : b
  return describe(a) >= describe(b) ? a : b
}

export function sameRecord(a: MemberRecord, b: MemberRecord): boolean {
  return describe(a) === describe(b)
}

/** Eight bytes that are equal where the same members are known. Who has left is none: some still remember it, and some do not. */
export function hashRecords(records: Iterable<MemberRecord>): Uint8Array {
  const members = [...records].filter(({ state }) => state !== 'left')
  return sha256(utf8ToBytes(members.map(describe).sort().join('\n'))).slice(0, 8)
}

function describe(record: MemberRecord): string {
  const { node, device, incarnation, state, capacity, name } = record
  return JSON.stringify([node, device, incarnation, state, capacity, name])
}
