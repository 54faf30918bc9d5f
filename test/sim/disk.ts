/**
 * A simulated disk and the `Storage` on it: the in-memory twin of the tab's IndexedDB. The disk outlives its storage, as a database outlives its
 * tab; a killed storage answers nothing any more, and of its last commits some happened and some did not. A power cut takes back all
 * that was not flushed.
 */
import {
  type Address,
  type Batch,
  type Durability,
  GROUPS,
  type HintRow,
  type KeyRange,
  LEAVES,
  LEAVES_PER_GROUP,
  type LeafGroup,
  type RecordWrite,
  type Storage,
  StorageFailure,
  type StoredRecord,
} from '../../src/core/environment.js'
import type { Partition, StoreKey } from '../../src/core/ids.js'

export interface Row extends StoredRecord {
  address: Address
  live: boolean
}

/** What survives a crash. */
export class Disk {
  records = new Map<StoreKey, Row>()
  hints = new Map<StoreKey, HintRow>()
  meta = new Map<string, Uint8Array>()
  copies = new Map<string, Uint8Array>()
  groups = new Map<number, LeafGroup>()
  /** Takes back, newest last, what was committed since the last flush. */
  private unflushed: (() => void)[] = []

  snapshot(): Disk {
    const copy = new Disk()
    copy.records = new Map(this.records)
    copy.hints = new Map(this.hints)
    copy.meta = new Map(this.meta)
    copy.copies = new Map(this.copies)
    copy.groups = new Map(this.groups)
    return copy
  }

  restore(from: Disk): void {
    const { records, hints, meta, copies, groups } = from.snapshot()
    Object.assign(this, { records, hints, meta, copies, groups })
    this.unflushed = []
  }

  /** Everything before this is on the disk for good: the log is written in order. */
  flush(): void {
    this.unflushed = []
  }

  /** The machine lost its power: relaxed commits since the last flush never were. */
  loseUnflushed(): void {
    for (const undo of this.unflushed.reverse()) undo()
    this.unflushed = []
  }

  /** Bit rot: one byte of the stored container is another one. False when there is no such record. */
  flipByte(key: StoreKey, at: number): boolean {
    const row = this.records.get(key)
    if (!row) return false
    const container = row.container.slice()
    const index = at % container.length
    container[index] = (container[index] as number) ^ 0x10
    this.records.set(key, { ...row, container })
    return true
  }

  /** Bit rot in the Merkle leaves of the key. */
  flipLeaf(key: StoreKey): boolean {
    const row = this.records.get(key)
    if (!row) return false
    const id = row.address.partition * GROUPS + Math.floor(row.address.leaf / LEAVES_PER_GROUP)
    const group = this.groups.get(id) as LeafGroup
    const digests = group.digests.slice()
    const at = 2 * (row.address.leaf % LEAVES_PER_GROUP)
    digests[at] = (digests[at] as number) ^ 1
    this.groups.set(id, { ...group, digests })
    return true
  }

  wipe(): void {
    this.restore(new Disk())
  }

  /** All or nothing: everything is evaluated, in order, before anything is written. */
  apply(batch: Batch): LeafGroup[] {
    const { records, hints } = this.evaluate(batch)
    const touched = new Set<number>()
    for (const { address, write } of records.values()) touched.add(this.write(address, write))
    for (const [key, row] of hints) this.put(this.hints, key, row)
    for (const [name, value] of batch.meta ?? []) this.put(this.meta, name, value)
    for (const [name, container] of batch.copies ?? []) this.put(this.copies, name, container)
    for (const partition of batch.recount ?? []) {
      for (let group = 0; group < GROUPS; group++) {
        const id = partition * GROUPS + group
        if (this.groups.has(id)) this.put(this.groups, id, emptyGroup(partition, group))
        touched.add(id)
      }
      for (const row of this.records.values())
        if (row.address.partition === partition) this.account(row.address, undefined, row)
    }
    for (const id of touched) if (!this.groups.has(id)) touched.delete(id)
    return [...touched].map((id) => this.groups.get(id) as LeafGroup)
  }

  /** What the batch makes of the rows, as they are now; nothing is written. */
  evaluate(batch: Batch) {
    const records = new Map<StoreKey, { address: Address; write: Exclude<RecordWrite, 'keep'> }>()
    const hints = new Map<StoreKey, HintRow | undefined>()
    for (const { address, apply } of batch.records ?? []) {
      const former = records.get(address.key)?.write
      const current =
        former === undefined
          ? this.records.get(address.key)?.container
          : former === 'remove'
            ? undefined
            : former.container
      const write = apply(current)
      if (write !== 'keep') records.set(address.key, { address, write })
    }
    for (const { key, apply } of batch.hints ?? [])
      hints.set(key, apply(hints.has(key) ? hints.get(key) : this.hints.get(key)))
    return { records, hints }
  }

  private write(address: Address, write: Exclude<RecordWrite, 'keep'>): number {
    const { key } = address
    const row: Row | undefined = write === 'remove' ? undefined : { key, address, ...write }
    this.account(address, this.records.get(key), row)
    this.put(this.records, key, row)
    return address.partition * GROUPS + Math.floor(address.leaf / LEAVES_PER_GROUP)
  }

  /** A record takes the place of a former one in the leaf that both belong to. */
  private account({ partition, leaf }: Address, former: Row | undefined, row: Row | undefined): void {
    if (!former && !row) return
    const index = Math.floor(leaf / LEAVES_PER_GROUP)
    const id = partition * GROUPS + index
    const known = this.groups.get(id) ?? emptyGroup(partition, index)
    const group = { ...known, digests: known.digests.slice() }
    if (former) count(group, leaf, former, -1)
    if (row) count(group, leaf, row, 1)
    this.put(this.groups, id, group)
  }

  private put<K, V>(map: Map<K, V>, key: K, value: V | undefined): void {
    const former = map.get(key)
    this.unflushed.push(() => {
      if (former === undefined) map.delete(key)
      else map.set(key, former)
    })
    if (value === undefined) map.delete(key)
    else map.set(key, value)
  }
}

function count(group: LeafGroup, leaf: number, { digest, live, container }: Row, sign: 1 | -1): void {
  const at = 2 * (leaf % LEAVES_PER_GROUP)
  group.digests[at] = (group.digests[at] as number) ^ digest.high
  group.digests[at + 1] = (group.digests[at + 1] as number) ^ digest.low
  group.records += sign
  group.live += live ? sign : 0
  group.bytes += sign * container.length
}

function emptyGroup(partition: Partition, group: number): LeafGroup {
  return { partition, group, digests: new Uint32Array(2 * LEAVES_PER_GROUP), records: 0, live: 0, bytes: 0 }
}

export interface DiskTiming {
  /** Calls back after the time that one operation takes; in order of the calls. */
  schedule(work: () => void): void
}

interface Job {
  batch: Batch
  durability: Durability
  resolve: (groups: LeafGroup[]) => void
  reject: (error: unknown) => void
}

export class SimulatedStorage implements Storage {
  closed = false
  /** How many commits it was asked for. */
  commits = 0
  private readonly waiting: Job[] = []
  private committing = false
  private killed = false
  /** All commits fail so, until it is undefined again. */
  failing: StorageFailure['kind'] | undefined
  /** The next commit fails so, and no other. */
  failingOnce: StorageFailure['kind'] | undefined
  /** Reads fail so. */
  failingReads: StorageFailure['kind'] | undefined
  /** The next commit happens, but nobody learns of it: the connection to the disk is lost with it, for good. */
  loseOutcome = false

  get isFailing(): boolean {
    return this.loseOutcome || [this.failing, this.failingOnce, this.failingReads].some((kind) => kind !== undefined)
  }
  private readonly emptiedListeners: (() => void)[] = []

  constructor(
    private readonly disk: Disk,
    private readonly timing: DiskTiming,
  ) {}

  /** The tab is gone: nothing that was asked is answered. */
  kill(): void {
    this.killed = true
  }

  onEmptied(listener: () => void): void {
    this.emptiedListeners.push(listener)
  }

  /** Somebody deletes the site's data. */
  empty(): void {
    this.disk.wipe()
    for (const listener of this.emptiedListeners) listener()
  }

  load() {
    return this.later(() => ({
      meta: new Map(this.disk.meta),
      leafGroups: [...this.disk.groups.values()],
      hints: [...this.disk.hints].map(([key, { homes, own }]) => ({ key, homes, own })),
      copies: [...this.disk.copies.keys()].sort(),
    }))
  }

  /** As in the tab, what comes while a commit is under way waits and then goes together; a read does not wait for what waits. */
  commit(batch: Batch, durability: Durability): Promise<LeafGroup[]> {
    this.commits++
    return new Promise((resolve, reject) => {
      this.waiting.push({ batch, durability, resolve, reject })
      if (this.committing) return
      this.committing = true
      // Once the present turn is over: what else it wants to write goes with it.
      void Promise.resolve().then(() => this.commitAll())
    })
  }

  private async commitAll(): Promise<void> {
    while (this.waiting.length > 0) {
      const jobs = this.waiting.splice(0)
      try {
        for (const settle of await this.later(() => this.commitTogether(jobs))) settle()
      } catch (error) {
        for (const { reject } of jobs) reject(error)
      }
    }
    this.committing = false
  }

  /** @returns how each of these ends. @throws StorageFailure when all fail. */
  private commitTogether(jobs: readonly Job[]): (() => void)[] {
    const failure = this.failing ?? this.failingOnce
    this.failingOnce = undefined
    // That there is no room comes out at the end of a transaction.
    if (failure === 'quota') for (const { batch } of jobs) this.disk.evaluate(batch)
    if (failure) throw new StorageFailure(failure, 'simulated')
    const ends = jobs.map(({ batch, resolve, reject }) => {
      try {
        const groups = this.disk.apply(batch)
        return () => resolve(groups)
      } catch (error) {
        return () => reject(error)
      }
    })
    if (jobs.some(({ durability }) => durability === 'strict')) this.disk.flush()
    if (!this.loseOutcome) return ends
    this.closed = true
    throw new StorageFailure('unknown', 'simulated: the connection was lost')
  }

  get(addresses: Address[]) {
    return this.reading(() => addresses.map(({ key }) => this.disk.records.get(key)?.container))
  }

  getHints(keys: StoreKey[]) {
    return this.reading(() => keys.map((key) => this.disk.hints.get(key)))
  }

  getCopies(names: string[]) {
    return this.reading(() => names.map((name) => this.disk.copies.get(name)))
  }

  scanPartition(
    partition: Partition,
    options: { fromLeaf?: number; toLeaf?: number; after?: string; maxBytes: number },
  ): Promise<{ records: StoredRecord[]; cursor: string | undefined }> {
    const { fromLeaf = 0, toLeaf = LEAVES - 1, after, maxBytes } = options
    const place = ({ address }: Row) => `${String(address.leaf).padStart(3, '0')}${address.key}`
    return this.reading(() => {
      const rows = [...this.disk.records.values()]
        .filter(({ address }) => address.partition === partition && address.leaf >= fromLeaf && address.leaf <= toLeaf)
        .filter((row) => after === undefined || place(row) > after)
        .sort((a, b) => (place(a) < place(b) ? -1 : 1))
      const records: StoredRecord[] = []
      let bytes = 0
      for (const [i, row] of rows.entries()) {
        if (i > 0 && bytes + row.container.length > maxBytes) return { records, cursor: place(rows[i - 1] as Row) }
        bytes += row.container.length
        records.push({ key: row.key, container: row.container, digest: row.digest })
      }
      return { records, cursor: undefined }
    })
  }

  scanKeys({ from, to, limit, reverse }: KeyRange) {
    return this.reading(() => {
      const keys = [...this.disk.records.values()]
        .filter(({ key, live }) => live && key >= from && key < to)
        .map(({ key }) => key)
      keys.sort()
      if (reverse) keys.reverse()
      return keys.slice(0, limit)
    })
  }

  async close(): Promise<void> {
    this.closed = true
  }

  async destroy(): Promise<void> {
    this.closed = true
    this.disk.wipe()
  }

  private reading<T>(work: () => T): Promise<T> {
    return this.later(() => {
      if (this.failingReads) throw new StorageFailure(this.failingReads, 'simulated')
      return work()
    })
  }

  private later<T>(work: () => T): Promise<T> {
    return new Promise((resolve, reject) => {
      this.timing.schedule(() => {
        if (this.killed) return
        try {
          if (this.closed) throw new StorageFailure('closed', 'the storage was closed')
          resolve(work())
        } catch (error) {
          reject(error)
        }
      })
    })
  }
}
