/**
 * The Merkle leaves on disk and in memory. Every transaction that writes records adds one small journal row with all that it changed in the leaves, so
 * the leaves are true after any crash at the price of one request a transaction, not one a record. Now and then the journal is folded
 * into one row per partition.
 *
 * Invariant: leaf rows plus journal, on disk, are the leaves in memory, which are those of the records on disk. Where that cannot be, since rows of
 * another shape are there, they are made anew from the records: at each opening, as long as there is no room to write them.
 */
import type { IDBPDatabase } from 'idb'
import { type Address, GROUPS, LEAVES, LEAVES_PER_GROUP, type LeafGroup, isQuota } from '../../core/environment.js'
import type { Partition } from '../../core/ids.js'
import { type LeafRow, type RecordRow, type Schema, quiet, toFailure, writeAll } from './database.js'
import { leafOf, partitionOf } from './layout.js'
import { eachRow, recordRow } from './rows.js'

/** Journal rows that are folded at once: opening reads fewer than this. */
const FOLD_AFTER = 1000
/** Numbers per change of a leaf: see {@link Delta}. */
const WIDTH = 7

/** One record that came, went or changed. */
export interface LeafChange {
  address: { partition: number; leaf: number }
  former: RecordRow | undefined
  row: RecordRow | undefined
}

/** What an entry of the journal says of one leaf: digest (high, low) to XOR, then records, live and bytes to add. */
type Delta = [partition: number, leaf: number, high: number, low: number, records: number, live: number, bytes: number]

export class Leaves {
  private readonly rows = new Map<number, LeafRow>()
  /** Partitions that the journal says something about. */
  private readonly unfolded = new Set<number>()
  private journalRows = 0
  private nextJournalKey = 0
  /** Those on the disk are damaged, and must stay so until all of them can be written. */
  private unwritten = false

  /** Takes them from the disk, whatever is in memory. @returns false when they were damaged there, and had to be made anew. */
  async load(db: IDBPDatabase<Schema>): Promise<boolean> {
    const tx = quiet(db.transaction(['leaves', 'journal']))
    const [rows, partitions, journal, journalKeys] = await Promise.all([
      tx.objectStore('leaves').getAll(),
      tx.objectStore('leaves').getAllKeys(),
      tx.objectStore('journal').getAll(),
      tx.objectStore('journal').getAllKeys(),
    ])
    const areNumbers = [...partitions, ...journalKeys].every((key) => typeof key === 'number')
    if (!areNumbers || !rows.every(isLeafRow) || !journal.every(isEntry)) {
      await this.rebuild(db)
      if (this.unwritten) this.nextJournalKey = (journalKeys.findLast((key) => typeof key === 'number') ?? -1) + 1
      return false
    }
    this.unwritten = false
    this.rows.clear()
    this.unfolded.clear()
    for (const [i, partition] of partitions.entries()) this.rows.set(partition, rows[i] as LeafRow)
    for (const entry of journal) this.apply(entry)
    this.journalRows = journal.length
    this.nextJournalKey = (journalKeys.at(-1) ?? -1) + 1
    return true
  }

  /** In one transaction: on the disk they are never half made. */
  private async rebuild(db: IDBPDatabase<Schema>): Promise<void> {
    const tx = quiet(db.transaction(['records', 'leaves', 'journal'], 'readwrite'))
    const made = new Leaves()
    await eachRow(tx.objectStore('records'), (key, found) => {
      // No key of a record: nobody will ever ask for it.
      if (typeof key !== 'string') return
      const address = { partition: partitionOf(key), leaf: leafOf(key) }
      made.apply(made.entryFor([{ address, former: undefined, row: recordRow(found, key) }]).entry)
    })
    const isWritten = await writeAll(tx, (send) => {
      send(tx.objectStore('journal').clear())
      send(tx.objectStore('leaves').clear())
      for (const [partition, row] of made.rows) send(tx.objectStore('leaves').put(row, partition))
      return true
    }).catch((error) => {
      // A full disk can still be read.
      if (!isQuota(toFailure(error))) throw error
      return false
    })
    this.unwritten = !isWritten
    this.rows.clear()
    for (const [partition, row] of made.rows) this.rows.set(partition, row)
    this.folded()
    this.nextJournalKey = 0
  }

  /** What must change for the leaves of a partition to be those of its records. */
  corrections(partition: number, records: { leaf: number; row: RecordRow | undefined }[]): Delta[] {
    const actual = new Leaves()
    actual.applied(
      actual.entryFor(records.map(({ leaf, row }) => ({ address: { partition, leaf }, former: undefined, row }))).entry,
    )
    const [is, should] = [this.rowOf(partition), actual.rowOf(partition)]
    const found: Delta[] = []
    for (let leaf = 0; leaf < LEAVES; leaf++) {
      const high = ((is.digests[2 * leaf] as number) ^ (should.digests[2 * leaf] as number)) >>> 0
      const low = ((is.digests[2 * leaf + 1] as number) ^ (should.digests[2 * leaf + 1] as number)) >>> 0
      const group = groupOf(leaf)
      // The sums are kept by group: its first leaf stands for it.
      const [count, live, bytes] =
        leaf % LEAVES_PER_GROUP === 0
          ? (['records', 'live', 'bytes'] as const).map(
              (name) => (should[name][group] as number) - (is[name][group] as number),
            )
          : [0, 0, 0]
      if (high || low || count || live || bytes)
        found.push([partition, leaf, high, low, count as number, live as number, bytes as number])
    }
    return found
  }

  /** What a transaction with these changes has to write. Nothing here changes before `applied`. */
  entryFor(changes: LeafChange[], corrections: Delta[] = []): { key: number; entry: Float64Array } {
    const entry = new Float64Array(WIDTH * (changes.length + corrections.length))
    for (const [i, correction] of corrections.entries()) entry.set(correction, WIDTH * (changes.length + i))
    for (const [i, { address, former, row }] of changes.entries()) {
      const high = ((former?.h ?? 0) ^ (row?.h ?? 0)) >>> 0
      const low = ((former?.l ?? 0) ^ (row?.l ?? 0)) >>> 0
      const records = Number(row !== undefined) - Number(former !== undefined)
      const live = Number(row?.k !== undefined) - Number(former?.k !== undefined)
      const bytes = (row?.c.length ?? 0) - (former?.c.length ?? 0)
      entry.set([address.partition, address.leaf, high, low, records, live, bytes], WIDTH * i)
    }
    return { key: this.nextJournalKey, entry }
  }

  /** The transaction completed. */
  applied(entry: Float64Array): void {
    this.apply(entry)
    this.journalRows++
    this.nextJournalKey++
  }

  /** The rows to write when the journal has grown long enough; undefined otherwise. */
  toFold(): [partition: number, row: LeafRow][] | undefined {
    if (this.journalRows < FOLD_AFTER || this.unwritten) return undefined
    return [...this.unfolded].map((partition) => [partition, this.rowOf(partition)])
  }

  folded(): void {
    this.unfolded.clear()
    this.journalRows = 0
  }

  /** Whether there is certainly no record at this leaf: digests are hashes, so a leaf with records is zero only by a miracle. */
  isEmpty({ partition, leaf }: Address): boolean {
    const row = this.rows.get(partition)
    return !row || row.records[groupOf(leaf)] === 0 || (row.digests[2 * leaf] === 0 && row.digests[2 * leaf + 1] === 0)
  }

  group(partition: number, group: number): LeafGroup {
    const row = this.rowOf(partition)
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

  /** Of a record of this partition; 0 when it holds none. */
  meanBytes(partition: number): number {
    const { records, bytes } = this.rowOf(partition)
    return bytes.reduce((total, n) => total + n) / (records.reduce((total, n) => total + n) || 1)
  }

  /** All groups that hold anything. */
  groups(): LeafGroup[] {
    const groups: LeafGroup[] = []
    for (const [partition, row] of this.rows) {
      for (let group = 0; group < GROUPS; group++)
        if (row.records[group] !== 0) groups.push(this.group(partition, group))
    }
    return groups
  }

  private apply(entry: Float64Array): void {
    for (let i = 0; i < entry.length; i += WIDTH) {
      const [partition, leaf, high, low, records, live, bytes] = entry.subarray(i, i + WIDTH) as unknown as Delta
      const row = this.rowOf(partition)
      const group = groupOf(leaf)
      row.digests[2 * leaf] = (row.digests[2 * leaf] as number) ^ high
      row.digests[2 * leaf + 1] = (row.digests[2 * leaf + 1] as number) ^ low
      row.records[group] = (row.records[group] as number) + records
      row.live[group] = (row.live[group] as number) + live
      row.bytes[group] = (row.bytes[group] as number) + bytes
      this.unfolded.add(partition)
    }
  }

  private rowOf(partition: number): LeafRow {
    let row = this.rows.get(partition)
    if (!row) {
      row = {
        digests: new Uint32Array(2 * LEAVES),
        records: new Uint32Array(GROUPS),
        live: new Uint32Array(GROUPS),
        bytes: new Float64Array(GROUPS),
      }
      this.rows.set(partition, row)
    }
    return row
  }
}

function isLeafRow(row: unknown): boolean {
  const { digests, records, live, bytes } = Object(row)
  const isPerGroup = [records, live].every((counts) => counts instanceof Uint32Array && counts.length === GROUPS)
  const isDigests = digests instanceof Uint32Array && digests.length === 2 * LEAVES
  return isDigests && isPerGroup && bytes instanceof Float64Array && bytes.length === GROUPS
}

function isEntry(entry: unknown): boolean {
  if (!(entry instanceof Float64Array) || entry.length % WIDTH !== 0) return false
  const ends = [Number.POSITIVE_INFINITY, LEAVES]
  return entry.every((value, i) => {
    const end = ends[i % WIDTH]
    return end === undefined || (Number.isInteger(value) && value >= 0 && value < end)
  })
}

export function groupOf(leaf: number): number {
  return Math.floor(leaf / LEAVES_PER_GROUP)
}
