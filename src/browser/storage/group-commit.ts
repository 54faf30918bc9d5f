/**
 * Group commit: the batches of one turn share a transaction; while it runs, more gather for the next. Each batch is evaluated on what the former
 * ones left, in call order, and then everything is written at once, with the Merkle leaves of the records.
 *
 * Invariant: the leaves and the rows in memory are those on the disk as of the last completed transaction.
 */
import type { IDBPDatabase } from 'idb'
import {
  type Address,
  type Batch,
  type Durability,
  GROUPS,
  type HintRow,
  type LeafGroup,
  type RecordWrite,
  isQuota,
} from '../../core/environment.js'
import type { Partition, StoreKey } from '../../core/ids.js'
import { type Database, type RecordRow, type Schema, type StoreName, quiet, toFailure, writeAll } from './database.js'
import { leafOf, leafPrefix, recordKey } from './layout.js'
import { type LeafChange, type Leaves, groupOf } from './leaves.js'
import type { RowCache } from './row-cache.js'
import { hintRow, recordRow } from './rows.js'

interface Job {
  batch: Batch
  durability: Durability
  resolve: (changed: LeafGroup[]) => void
  reject: (error: unknown) => void
}

/** Rows as this transaction found them, changed in memory until all jobs are evaluated; undefined is absent. */
interface Rows {
  records: Map<string, RecordRow | undefined>
  hints: Map<StoreKey, HintRow | undefined>
}

interface Written {
  records: Set<string>
  hints: Set<StoreKey>
  meta: Map<string, Uint8Array | undefined>
  copies: Map<string, Uint8Array | undefined>
  /** In the order in which they happened. */
  leaves: LeafChange[]
}

/** What became of one job; `changed` are groups as (partition, group). */
interface Result {
  job: Job
  changed: Map<string, [partition: number, group: number]>
  error: unknown
}

/** A transaction that completed. */
interface Done {
  rows: Rows
  written: Written
  results: Result[]
  journal: Float64Array | undefined
  folded: boolean
}

/** Of several batches together; one alone may have more. A row of 1 KiB costs a tenth of a millisecond and more. */
const MAX_ROWS = 128

export class GroupCommit {
  private waiting: Job[] = []
  private running = false

  constructor(
    private readonly database: Database,
    private readonly leaves: Leaves,
    private readonly cache: RowCache,
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
      const jobs = this.nextJobs()
      try {
        await this.run(jobs)
      } catch (error) {
        // Who needs no more than there is, or makes room, is not to be refused for what others need.
        if (isQuota(error) && jobs.length > 1) for (const job of jobs) await this.run([job]).catch(job.reject)
        else for (const job of jobs) job.reject(toFailure(error))
      }
    }
    this.running = false
  }

  /** In call order. A transaction evaluates and writes all of its rows in one task of the page, which should be a short one (docs/design.md §7). */
  private nextJobs(): Job[] {
    let rows = 0
    const end = this.waiting.findIndex(({ batch }) => {
      rows += (batch.records?.length ?? 0) + (batch.hints?.length ?? 0)
      return rows > MAX_ROWS
    })
    return this.waiting.splice(0, end < 0 ? this.waiting.length : Math.max(1, end))
  }

  private async run(jobs: Job[]): Promise<void> {
    const { rows, written, results, journal, folded } = await this.database.run((db, attempt) =>
      this.transact(db, jobs, attempt > 1),
    )
    if (folded) this.leaves.folded()
    if (journal) this.leaves.applied(journal)
    for (const key of written.records) this.cache.set(key, rows.records.get(key))
    for (const { job, changed, error } of results) {
      if (error === undefined)
        job.resolve([...changed.values()].map(([partition, group]) => this.leaves.group(partition, group)))
      else job.reject(error)
    }
  }

  private async transact(db: IDBPDatabase<Schema>, jobs: Job[], repeated: boolean): Promise<Done> {
    const rows: Rows = { records: new Map(), hints: new Map() }
    const written: Written = { records: new Set(), hints: new Set(), meta: new Map(), copies: new Map(), leaves: [] }
    const addresses = new Map<string, Address>()
    const hintKeys = new Set<StoreKey>()
    let meta = false
    let copies = false
    const recounts = new Set<Partition>()
    for (const { batch } of jobs) {
      for (const partition of batch.recount ?? []) recounts.add(partition)
      for (const { address } of batch.records ?? []) addresses.set(recordKey(address), address)
      for (const { key } of batch.hints ?? []) hintKeys.add(key)
      meta ||= (batch.meta?.length ?? 0) > 0
      copies ||= (batch.copies?.length ?? 0) > 0
    }
    // Somebody found that the disk is not what memory says: a row that is only in memory would keep it from being mended.
    if (recounts.size > 0) this.cache.clear()
    const scope: StoreName[] = []
    if (addresses.size > 0 || recounts.size > 0) scope.push('records', 'leaves', 'journal')
    if (hintKeys.size > 0) scope.push('hints')
    if (meta) scope.push('meta')
    if (copies) scope.push('copies')
    if (scope.length === 0)
      return {
        rows,
        written,
        results: jobs.map((job) => this.evaluate(job, rows, written, repeated)),
        journal: undefined,
        folded: false,
      }
    const durability = jobs.some((job) => job.durability === 'strict') ? 'strict' : 'relaxed'
    const tx = quiet(db.transaction(scope, 'readwrite', { durability }))
    const reads: Promise<unknown>[] = []
    for (const [key, address] of addresses) {
      const cached = this.cache.get(key)
      // An empty leaf, if they are right, has no such record: nothing to ask the database for.
      if (cached || (recounts.size === 0 && this.leaves.isEmpty(address))) rows.records.set(key, cached)
      else
        reads.push(
          tx
            .objectStore('records')
            .get(key)
            .then((row) => rows.records.set(key, recordRow(row, key))),
        )
    }
    for (const key of hintKeys)
      reads.push(
        tx
          .objectStore('hints')
          .get(key)
          .then((row) => rows.hints.set(key, hintRow(row))),
      )
    const corrections: ReturnType<Leaves['corrections']> = []
    for (const partition of recounts) {
      const range = IDBKeyRange.bound(leafPrefix(partition, 0), leafPrefix(partition + 1, 0), false, true)
      const store = tx.objectStore('records')
      reads.push(
        Promise.all([store.getAllKeys(range), store.getAll(range)]).then(([keys, found]) => {
          const records = keys.map((key, i) => ({ leaf: leafOf(key), row: recordRow(found[i], key) }))
          corrections.push(...this.leaves.corrections(partition, records))
        }),
      )
    }
    if (reads.length > 0) await Promise.all(reads)
    const results = jobs.map((job) => this.evaluate(job, rows, written, repeated))
    const { journal, folded } = await writeAll(tx, (send) => {
      for (const key of written.records) {
        const row = rows.records.get(key)
        send(row ? tx.objectStore('records').put(row, key) : tx.objectStore('records').delete(key))
      }
      // Folding writes the leaves as they were before this transaction, whose own entry then begins the new journal.
      const leavesChange = written.leaves.length + corrections.length > 0
      const fold = leavesChange ? this.leaves.toFold() : undefined
      if (fold) {
        for (const [partition, row] of fold) send(tx.objectStore('leaves').put(row, partition))
        send(tx.objectStore('journal').clear())
      }
      const change = leavesChange ? this.leaves.entryFor(written.leaves, corrections) : undefined
      if (change) send(tx.objectStore('journal').put(change.entry, change.key))
      for (const key of written.hints) {
        const row = rows.hints.get(key)
        send(row ? tx.objectStore('hints').put(row, key) : tx.objectStore('hints').delete(key))
      }
      for (const [name, value] of written.meta) {
        send(value ? tx.objectStore('meta').put(value, name) : tx.objectStore('meta').delete(name))
      }
      for (const [name, value] of written.copies) {
        send(value ? tx.objectStore('copies').put(value, name) : tx.objectStore('copies').delete(name))
      }
      // It saves Chromium a round trip. Firefox would keep what could be written where another request fails, for want of room, say.
      if ('userAgentData' in navigator) tx.commit()
      return { journal: change?.entry, folded: fold !== undefined }
    })
    return { rows, written, results, journal, folded }
  }

  /**
   * Evaluates one batch on the rows as the batches before it left them; one that throws leaves no trace. A batch that is repeated may have
   * been written the first time: then nothing is left to change, but its groups changed all the same.
   */
  private evaluate(job: Job, rows: Rows, written: Written, repeated: boolean): Result {
    const { records = [], hints = [], meta = [], copies = [], recount = [] } = job.batch
    const changed: Result['changed'] = new Map()
    try {
      const drafts = new Map<string, RecordRow | undefined>()
      const writes = records.map(({ address, apply }) => {
        const key = recordKey(address)
        const former = drafts.has(key) ? drafts.get(key) : rows.records.get(key)
        const write = apply(former?.c)
        const row = write === 'keep' ? former : toRow(write, address.key)
        drafts.set(key, row)
        return { key, address, former, row, changes: write !== 'keep' }
      })
      const hintDrafts = new Map<StoreKey, HintRow | undefined>()
      for (const { key, apply } of hints)
        hintDrafts.set(key, apply(hintDrafts.has(key) ? hintDrafts.get(key) : rows.hints.get(key)))
      for (const { key, address, former, row, changes } of writes) {
        const { partition, leaf } = address
        if (changes || repeated) changed.set(`${partition}/${groupOf(leaf)}`, [partition, groupOf(leaf)])
        if (!changes) continue
        rows.records.set(key, row)
        written.records.add(key)
        written.leaves.push({ address, former, row })
      }
      for (const [key, row] of hintDrafts) {
        if (row === rows.hints.get(key)) continue
        rows.hints.set(key, row)
        written.hints.add(key)
      }
      for (const [name, value] of meta) written.meta.set(name, value)
      for (const [name, value] of copies) written.copies.set(name, value)
      for (const partition of recount)
        for (let group = 0; group < GROUPS; group++) changed.set(`${partition}/${group}`, [partition, group])
      return { job, changed, error: undefined }
    } catch (error) {
      return { job, changed: new Map(), error }
    }
  }
}

function toRow(write: Exclude<RecordWrite, 'keep'>, key: StoreKey): RecordRow | undefined {
  if (write === 'remove') return undefined
  const { container, digest, live } = write
  return { c: container, h: digest.high, l: digest.low, ...(live && { k: key }) }
}
