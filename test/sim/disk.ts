/**
 * A simulated disk and the `Storage` on it: the in-memory twin of the tab's IndexedDB. The disk outlives its storage, as a database outlives its
 * tab; a killed storage answers nothing any more, and of its last commits some happened and some did not.
 */
import {
  type Address,
  type Batch,
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

interface Row extends StoredRecord {
  address: Address
  live: boolean
}

/** What survives a crash. */
export class Disk {
  records = new Map<StoreKey, Row>()
  hints = new Map<StoreKey, HintRow>()
  meta = new Map<string, Uint8Array>()
  groups = new Map<number, LeafGroup>()

  snapshot(): Disk {
    const copy = new Disk()
    copy.records = new Map(this.records)
    copy.hints = new Map(this.hints)
    copy.meta = new Map(this.meta)
    copy.groups = new Map(this.groups)
    return copy
  }

  restore(from: Disk): void {
    const { records, hints, meta, groups } = from.snapshot()
    Object.assign(this, { records, hints, meta, groups })
  }

  wipe(): void {
    this.restore(new Disk())
  }

  /** All or nothing: everything is evaluated, in order, before anything is written. */
  apply(batch: Batch): LeafGroup[] {
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
    const touched = new Set<number>()
    for (const { address, write } of records.values()) touched.add(this.write(address, write))
    for (const [key, row] of hints) {
      if (row) this.hints.set(key, row)
      else this.hints.delete(key)
    }
    for (const [name, value] of batch.meta ?? []) {
      if (value) this.meta.set(name, value)
      else this.meta.delete(name)
    }
    return [...touched].map((id) => this.groups.get(id) as LeafGroup)
  }

  private write(address: Address, write: Exclude<RecordWrite, 'keep'>): number {
    const { partition, leaf, key } = address
    const index = Math.floor(leaf / LEAVES_PER_GROUP)
    const id = partition * GROUPS + index
    const known = this.groups.get(id)
    const group: LeafGroup = known
      ? { ...known, digests: known.digests.slice() }
      : { partition, group: index, digests: new Uint32Array(2 * LEAVES_PER_GROUP), records: 0, live: 0, bytes: 0 }
    const account = (row: Row, sign: 1 | -1) => {
      const at = 2 * (leaf % LEAVES_PER_GROUP)
      group.digests[at] = (group.digests[at] as number) ^ row.digest.high
      group.digests[at + 1] = (group.digests[at + 1] as number) ^ row.digest.low
      group.records += sign
      group.live += row.live ? sign : 0
      group.bytes += sign * row.container.length
    }
    const former = this.records.get(key)
    if (former) account(former, -1)
    if (write === 'remove') this.records.delete(key)
    else {
      const row: Row = { key, address, ...write }
      account(row, 1)
      this.records.set(key, row)
    }
    this.groups.set(id, group)
    return id
  }
}

export interface DiskTiming {
  /** Calls back after the time that one operation takes; in order of the calls. */
  schedule(work: () => void): void
}

export class SimulatedStorage implements Storage {
  private closed = false
  private killed = false
  /** The next commits fail so. */
  failing: StorageFailure['kind'] | undefined

  constructor(
    private readonly disk: Disk,
    private readonly timing: DiskTiming,
  ) {}

  /** The tab is gone: nothing that was asked is answered. */
  kill(): void {
    this.killed = true
  }

  load() {
    return this.later(() => ({
      meta: new Map(this.disk.meta),
      leafGroups: [...this.disk.groups.values()],
      hints: [...this.disk.hints].map(([key, { homes, own }]) => ({ key, homes, own })),
    }))
  }

  commit(batch: Batch): Promise<LeafGroup[]> {
    return this.later(() => {
      if (this.failing) throw new StorageFailure(this.failing, 'simulated')
      return this.disk.apply(batch)
    })
  }

  get(addresses: Address[]) {
    return this.later(() => addresses.map(({ key }) => this.disk.records.get(key)?.container))
  }

  getHints(keys: StoreKey[]) {
    return this.later(() => keys.map((key) => this.disk.hints.get(key)))
  }

  scanPartition(
    partition: Partition,
    options: { fromLeaf?: number; toLeaf?: number; after?: string; maxBytes: number },
  ): Promise<{ records: StoredRecord[]; cursor: string | undefined }> {
    const { fromLeaf = 0, toLeaf = LEAVES - 1, after, maxBytes } = options
    const place = ({ address }: Row) => `${String(address.leaf).padStart(3, '0')}${address.key}`
    return this.later(() => {
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
    return this.later(() => {
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
