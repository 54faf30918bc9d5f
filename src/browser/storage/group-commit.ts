/**
 * Group commit: all batches of one turn share one transaction; while it runs, more gather for the next. Each batch is evaluated on what the former
 * ones left, in call order, and then everything is written at once, with the Merkle leaves of the records.
 *
 * Invariant: the leaf groups in memory are those on the disk as of the last completed transaction.
 */
import type { IDBPDatabase } from 'idb'
import type { Batch, Digest, Durability, HintRow, LeafGroup, RecordWrite } from '../../core/environment.js'
import { GROUPS, LEAVES_PER_GROUP } from '../../core/environment.js'
import type { StoreKey } from '../../core/ids.js'
import { type Database, type LeafRow, type RecordRow, type Schema, type StoreName, toFailure } from './database.js'
import { recordKey } from './layout.js'

interface Job {
  batch: Batch
  durability: Durability
  resolve: (changed: LeafGroup[]) => void
  reject: (error: unknown) => void
}

/** Rows as they were read in this transaction, changed in memory until all jobs are evaluated; undefined is absent. */
interface Rows {
  records: Map<string, RecordRow | undefined>
  hints: Map<StoreKey, HintRow | undefined>
  leaves: Map<number, LeafRow>
}

interface Written {
  records: Set<string>
  names: Map<StoreKey, boolean>
  hints: Set<StoreKey>
  leaves: Set<number>
  meta: Map<string, Uint8Array | undefined>
}

export class GroupCommit {
  private waiting: Job[] = []
  private running = false

  constructor(
    private readonly database: Database,
    /** All leaf rows, by partition × GROUPS + group. */
    private readonly leaves: Map<number, LeafRow>,
  ) {}

  commit(batch: Batch, durability: Durability): Promise<LeafGroup[]> {
    return new Promise((resolve, reject) => {
      this.waiting.push({ batch, durability, resolve, reject })
      if (!this.running) {
        this.running = true
        // Once the present turn is over: what else it wants to write goes into the same transaction.
        queueMicrotask(() => void this.runAll())
      }
    })
  }

  private async runAll(): Promise<void> {
    while (this.waiting.length > 0) {
      const jobs = this.waiting
      this.waiting = []
      try {
        const done = await this.database.run((db) => this.transact(db, jobs))
        for (const [id, row] of done.leaves) this.leaves.set(id, row)
        for (const { job, changed, error } of done.results) {
          if (error === undefined) job.resolve(changed.map((id) => toGroup(this.leaves.get(id) as LeafRow)))
          else job.reject(error)
        }
      } catch (error) {
        for (const job of jobs) job.reject(toFailure(error))
      }
    }
    this.running = false
  }

  private async transact(db: IDBPDatabase<Schema>, jobs: Job[]) {
    const recordKeys = new Map<string, StoreKey>()
    const hintKeys = new Set<StoreKey>()
    let meta = false
    for (const { batch } of jobs) {
      for (const { address } of batch.records ?? []) recordKeys.set(recordKey(address), address.key)
      for (const { key } of batch.hints ?? []) hintKeys.add(key)
      meta ||= (batch.meta?.length ?? 0) > 0
    }
    const scope: StoreName[] = [
      ...(recordKeys.size > 0 ? (['records', 'names', 'leaves'] as const) : []),
      ...(hintKeys.size > 0 ? (['hints'] as const) : []),
      ...(meta ? (['meta'] as const) : []),
    ]
    if (scope.length === 0)
      return {
        leaves: new Map<number, LeafRow>(),
        results: jobs.map((job) => ({ job, changed: [], error: undefined })),
      }
    const durability = jobs.some((job) => job.durability === 'strict') ? 'strict' : 'relaxed'
    const tx = db.transaction(scope, 'readwrite', { durability })
    // Its failure is taken at the end; until then it must not count as unhandled.
    tx.done.catch(() => {})
    const rows: Rows = { records: new Map(), hints: new Map(), leaves: new Map() }
    await Promise.all([
      ...[...recordKeys.keys()].map(async (key) => rows.records.set(key, await tx.objectStore('records').get(key))),
      ...[...hintKeys].map(async (key) => rows.hints.set(key, await tx.objectStore('hints').get(key))),
    ])
    const written: Written = {
      records: new Set(),
      names: new Map(),
      hints: new Set(),
      leaves: new Set(),
      meta: new Map(),
    }
    const results = jobs.map((job) => this.evaluate(job, rows, written))
    // Requests fail together with their transaction, whose failure is awaited below.
    const send = (request: Promise<unknown>) => void request.catch(() => {})
    for (const key of written.records) {
      const row = rows.records.get(key)
      send(row ? tx.objectStore('records').put(row, key) : tx.objectStore('records').delete(key))
    }
    for (const [key, live] of written.names)
      send(live ? tx.objectStore('names').put(1, key) : tx.objectStore('names').delete(key))
    for (const key of written.hints) {
      const row = rows.hints.get(key)
      send(row ? tx.objectStore('hints').put(row, key) : tx.objectStore('hints').delete(key))
    }
    for (const id of written.leaves) send(tx.objectStore('leaves').put(rows.leaves.get(id) as LeafRow, id))
    for (const [name, value] of written.meta)
      send(value ? tx.objectStore('meta').put(value, name) : tx.objectStore('meta').delete(name))
    await tx.done
    return { leaves: rows.leaves, results }
  }

  /** Evaluates one batch on the rows as the batches before it left them; one that throws leaves no trace. */
  private evaluate(job: Job, rows: Rows, written: Written): { job: Job; changed: number[]; error: unknown } {
    const { batch } = job
    const changed = new Set<number>()
    try {
      const records = (batch.records ?? []).map((update) => ({ update, key: recordKey(update.address) }))
      const hints = batch.hints ?? []
      const chained = new Map(records.map(({ key }) => [key, rows.records.get(key)]))
      const chainedHints = new Map(hints.map(({ key }) => [key, rows.hints.get(key)]))
      const writes = records.map(({ update, key }) => {
        const former = chained.get(key)
        const write = update.apply(former?.c)
        const row = write === 'keep' ? former : toRow(write)
        chained.set(key, row)
        return { key, address: update.address, former, row, changes: write !== 'keep' }
      })
      for (const { key, apply } of hints) chainedHints.set(key, apply(chainedHints.get(key)))
      for (const { key, address, former, row, changes } of writes) {
        if (!changes) continue
        rows.records.set(key, row)
        written.records.add(key)
        if ((former?.v ?? false) !== (row?.v ?? false)) written.names.set(address.key, row?.v ?? false)
        changed.add(this.updateLeaf(rows, written, address.partition, address.leaf, former, row))
      }
      for (const [key, row] of chainedHints) {
        if (row === rows.hints.get(key)) continue
        rows.hints.set(key, row)
        written.hints.add(key)
      }
      for (const [name, value] of batch.meta ?? []) written.meta.set(name, value)
      return { job, changed: [...changed], error: undefined }
    } catch (error) {
      return { job, changed: [], error }
    }
  }

  private updateLeaf(
    rows: Rows,
    written: Written,
    partition: number,
    leaf: number,
    former: RecordRow | undefined,
    row: RecordRow | undefined,
  ): number {
    const group = Math.floor(leaf / LEAVES_PER_GROUP)
    const id = partition * GROUPS + group
    let entry = rows.leaves.get(id)
    if (!entry) {
      const stored = this.leaves.get(id) ?? {
        p: partition,
        g: group,
        d: new Uint32Array(2 * LEAVES_PER_GROUP),
        records: 0,
        live: 0,
        bytes: 0,
      }
      // A copy: the row in memory must stay as it is on the disk if the transaction fails.
      entry = { ...stored, d: stored.d.slice() }
      rows.leaves.set(id, entry)
      written.leaves.add(id)
    }
    const at = 2 * (leaf % LEAVES_PER_GROUP)
    for (const [side, sign] of [
      [former, -1],
      [row, 1],
    ] as const) {
      if (!side) continue
      xorInto(entry.d, at, { high: side.h, low: side.l })
      entry.records += sign
      entry.live += side.v ? sign : 0
      entry.bytes += sign * side.c.length
    }
    return id
  }
}

function xorInto(digests: Uint32Array, at: number, { high, low }: Digest): void {
  digests[at] = (digests[at] as number) ^ high
  digests[at + 1] = (digests[at + 1] as number) ^ low
}

function toRow(write: Exclude<RecordWrite, 'keep'>): RecordRow | undefined {
  return write === 'remove'
    ? undefined
    : { c: write.container, h: write.digest.high, l: write.digest.low, v: write.live }
}

export function toGroup(row: LeafRow): LeafGroup {
  return {
    partition: row.p as LeafGroup['partition'],
    group: row.g,
    digests: row.d,
    records: row.records,
    live: row.live,
    bytes: row.bytes,
  }
}
