/** The Merkle leaves of one partition as a row of the database, and as the groups that the core knows. */
import { type Address, GROUPS, LEAVES, LEAVES_PER_GROUP, type LeafGroup } from '../../core/environment.js'
import type { Partition } from '../../core/ids.js'
import type { LeafRow, RecordRow } from './database.js'

export function groupOf(leaf: number): number {
  return Math.floor(leaf / LEAVES_PER_GROUP)
}

/** A row that may be changed; the original must stay as it is on the disk in case the transaction fails. */
export function copyOf(row: LeafRow | undefined): LeafRow {
  if (row)
    return {
      digests: row.digests.slice(),
      records: row.records.slice(),
      live: row.live.slice(),
      bytes: row.bytes.slice(),
    }
  return {
    digests: new Uint32Array(2 * LEAVES),
    records: new Uint32Array(GROUPS),
    live: new Uint32Array(GROUPS),
    bytes: new Float64Array(GROUPS),
  }
}

/** Adds a record to its leaf, or takes it away. */
export function changeLeaf(
  { digests, records, live, bytes }: LeafRow,
  leaf: number,
  { h, l, k, c }: RecordRow,
  sign: 1 | -1,
): void {
  const group = groupOf(leaf)
  digests[2 * leaf] = (digests[2 * leaf] as number) ^ h
  digests[2 * leaf + 1] = (digests[2 * leaf + 1] as number) ^ l
  records[group] = (records[group] as number) + sign
  live[group] = (live[group] as number) + (k === undefined ? 0 : sign)
  bytes[group] = (bytes[group] as number) + sign * c.length
}

/** Whether there is certainly no record at this leaf: digests are hashes, so a leaf with records is zero only by a miracle. */
export function isEmptyLeaf(leaves: Map<number, LeafRow>, { partition, leaf }: Address): boolean {
  const row = leaves.get(partition)
  return !row || row.records[groupOf(leaf)] === 0 || (row.digests[2 * leaf] === 0 && row.digests[2 * leaf + 1] === 0)
}

export function leafGroup(leaves: Map<number, LeafRow>, partition: number, group: number): LeafGroup {
  const row = leaves.get(partition) ?? copyOf(undefined)
  const from = 2 * LEAVES_PER_GROUP * group
  return {
    partition: partition as Partition,
    group,
    digests: row.digests.slice(from, from + 2 * LEAVES_PER_GROUP),
    records: row.records[group] as number,
    live: row.live[group] as number,
    bytes: row.bytes[group] as number,
  }
}

/** All groups that hold anything. */
export function leafGroups(leaves: Map<number, LeafRow>): LeafGroup[] {
  const groups: LeafGroup[] = []
  for (const [partition, row] of leaves) {
    for (let group = 0; group < GROUPS; group++)
      if (row.records[group] !== 0) groups.push(leafGroup(leaves, partition, group))
  }
  return groups
}
