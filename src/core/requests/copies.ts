/**
 * Copies of keys of which this node is no home: what reads and writes that passed through here have shown, for the time when no home answers. Nobody
 * relies on them: they are not counted, not compared, not offered to others. Bounded in bytes; the least recently used go
 * first.
 *
 * Invariant: no copy outlives the tombstone of its key (see Reaping), so none can bring a deleted value back.
 */
import { type Address, type CancelTimer, type Clock, type Digest, type Storage, isQuota } from '../environment.js'
import { type StoreKey, parseStoreKey } from '../ids.js'
import { type Agreed, leftOf } from '../replica/forgettings.js'
import { sameDigest } from '../replica/merkle.js'
import { type Container, EMPTY_CONTAINER, mergeContainers } from '../versions/container.js'
import { isEmpty } from '../versions/context.js'
import { decodeContainer, digestOf, encodeContainer, ifPossible } from '../versions/encoding.js'

const WRITE_AFTER_MS = 200
const MAX_COPIES = 20_000
const BATCH = 256
/** Digits, in base 36, of a row's number and of its size. */
const NUMBER_DIGITS = 9
const SIZE_DIGITS = 5

/** Disks of closed tabs of this device, which nobody serves. */
export interface Attic {
  /** All that is there of a key: encoded containers, not merged. */
  read(address: Address): Promise<Uint8Array[]>
  /** In no order, some of them more than once. */
  keysIn(from: string, to: string): Promise<StoreKey[]>
}

interface Copy {
  key: StoreKey
  /** Of its row on disk: number, size and key, so that order and sizes are known without reading the rows. */
  row: string
  bytes: number
  /** undefined: not known; whatever it is, it is written again. */
  digest: Digest | undefined
}

interface Kept {
  container: Container
  /** All that the homes have: nothing older is to be kept besides it. */
  whole: boolean
}

export class Copies {
  /** Least recently used first. */
  private readonly copies = new Map<StoreKey, Copy>()
  private readonly unwritten = new Map<StoreKey, Kept>()
  /** What is on its way to the disk. Its row has a name already, and only the end of the commit makes it one that can be read. */
  private readonly beingWritten = new Map<StoreKey, Container>()
  /** Rows that may be on the disk and are nobody's copy any more: each commit tries to remove them. */
  private leftovers: Copy[] = []
  private bytes = 0
  /** Another number for each disk. */
  private disk = 0
  private nextNumber = 0
  private timer: CancelTimer | undefined
  private writing: Promise<void> = Promise.resolve()

  constructor(
    private readonly storage: Storage,
    private readonly clock: Clock,
    private readonly maxBytes: number,
    private readonly attic: Attic | undefined,
    private readonly onError: (error: unknown) => void,
    private readonly onAtticError: (error: unknown) => void,
  ) {}

  /** @param rows names of the rows on disk, in their order. */
  restore(rows: string[]): void {
    for (const row of rows) {
      const key = row.slice(NUMBER_DIGITS + SIZE_DIGITS) as StoreKey
      const bytes = Number.parseInt(row.slice(NUMBER_DIGITS, NUMBER_DIGITS + SIZE_DIGITS), 36)
      this.leftovers.push(...this.forget(key))
      this.add({ key, row, bytes, digest: undefined })
      this.nextNumber = Number.parseInt(row.slice(0, NUMBER_DIGITS), 36) + 1
    }
  }

  get size(): number {
    return this.bytes
  }

  has(key: StoreKey): boolean {
    return this.copies.has(key) || this.unwritten.has(key)
  }

  /** In key order; those that lie in the attic as well. */
  async keysIn(from: string, to: string): Promise<StoreKey[]> {
    const above = await this.inAttic((attic) => attic.keysIn(from, to))
    const here = [...this.copies.keys(), ...this.unwritten.keys()].filter((key) => key >= from && key < to)
    // Among the hints of a closed tab there may be some for what is no key, which earlier versions took.
    return [...new Set([...here, ...above.filter((key) => parseStoreKey(key))])].sort()
  }

  /** What this device has of a key that nobody else can tell: its copy, and what closed tabs have left. @throws StorageFailure */
  async find(address: Address): Promise<Container> {
    const copy = await this.own(address.key)
    const above = await this.inAttic((attic) => attic.read(address))
    return above.reduce((merged, bytes) => mergeContainers(merged, decodeOrEmpty(bytes)), copy)
  }

  /** Another tab may delete a closed one's database at any time: what is here is there all the same. */
  private async inAttic<T>(ask: (attic: Attic) => Promise<T[]>): Promise<T[]> {
    try {
      return this.attic ? await ask(this.attic) : []
    } catch (error) {
      this.onAtticError(error)
      return []
    }
  }

  /** Remembers what was read or written. */
  keep(key: StoreKey, container: Container, whole: boolean): void {
    if (this.maxBytes === 0) return
    if (isEmpty(container.context)) {
      if (whole && this.has(key)) void this.drop([key]).catch(this.onError)
      return
    }
    const former = this.unwritten.get(key)
    this.unwritten.set(key, {
      container: former && !whole ? mergeContainers(former.container, container) : container,
      whole: whole || (former?.whole ?? false),
    })
    this.timer ??= this.clock.setTimer(WRITE_AFTER_MS, () => {
      this.timer = undefined
      this.flush().catch(this.onError)
    })
  }

  /** The copy of this node alone. @throws StorageFailure */
  async own(key: StoreKey): Promise<Container> {
    const kept = this.unwritten.get(key)
    if (kept?.whole) return kept.container
    const onItsWay = this.beingWritten.get(key)
    if (onItsWay) return mergeContainers(kept?.container ?? EMPTY_CONTAINER, onItsWay)
    const copy = this.copies.get(key)
    const [bytes] = copy ? await this.storage.getCopies([copy.row]) : []
    if (copy && this.copies.get(key) === copy) {
      this.copies.delete(key)
      this.copies.set(key, copy)
    }
    return mergeContainers(kept?.container ?? EMPTY_CONTAINER, decodeOrEmpty(bytes))
  }

  /**
   * What everybody is about to forget goes from the copies as well; where they show what is left, they stay, with as short a context. Resolves when it is
   * certain that nothing else comes back, unless the power fails.
   */
  async settle(agreed: readonly Agreed[]): Promise<void> {
    const found: { key: StoreKey; former: Kept | undefined; left: Container | undefined }[] = []
    for (const one of agreed) {
      const { key } = one
      const former = this.unwritten.get(key)
      const left = one.left && leftOf(await this.own(key).catch(() => EMPTY_CONTAINER), one)
      found.push({ key, former, left })
    }
    const kept = new Map<StoreKey, Kept>()
    for (const { key, former, left } of found) {
      // What has come meanwhile is newer.
      const now = this.unwritten.get(key)
      if (left) kept.set(key, now && now !== former ? now : { container: left, whole: true })
    }
    // Those that stay too: their rows may be older than what was just read of them, or have the long context.
    await this.drop(found.map(({ key }) => key))
    for (const [key, { container, whole }] of kept) if (!this.has(key)) this.keep(key, container, whole)
  }

  /** Resolves when it is certain that they do not come back, unless the power fails. */
  async drop(keys: StoreKey[]): Promise<void> {
    const dropped: Copy[] = []
    for (const key of keys) {
      this.unwritten.delete(key)
      this.beingWritten.delete(key)
      dropped.push(...this.forget(key))
    }
    // What is being written at this moment may hold them as well.
    await this.writing.catch(() => {})
    for (const key of keys) dropped.push(...this.forget(key))
    await this.commit([], [], dropped)
  }

  /** Gives all their room back. */
  clear(): Promise<void> {
    return this.drop([...new Set([...this.copies.keys(), ...this.unwritten.keys()])])
  }

  /** The disk is another one, and empty. */
  lost(): void {
    this.disk++
    this.copies.clear()
    this.beingWritten.clear()
    this.leftovers = []
    this.bytes = 0
  }

  stop(): Promise<void> {
    this.timer?.()
    return this.flush()
  }

  /** Resolves when what was kept so far is on the disk. @throws StorageFailure */
  flush(): Promise<void> {
    this.writing = this.writing.catch(() => {}).then(() => this.writeAll())
    return this.writing
  }

  private async writeAll(): Promise<void> {
    while (this.unwritten.size > 0) {
      // No more of these while it is not known that the former ones are gone.
      if (this.leftovers.length >= BATCH) await this.commit([], [], [])
      const batch = [...this.unwritten].slice(0, BATCH)
      const unlike = batch.filter(([key, { whole, container }]) => {
        const digest = whole ? this.copies.get(key)?.digest : undefined
        return !digest || !sameDigest(digest, digestOf(key, container))
      })
      const partial = unlike.flatMap(([key, { whole }]) => (whole ? [] : (this.copies.get(key)?.row ?? [])))
      const former = new Map<string, Uint8Array | undefined>()
      if (partial.length > 0) {
        const found = await this.storage.getCopies(partial)
        for (const [i, row] of partial.entries()) former.set(row, found[i])
      }
      const rows: [string, Uint8Array][] = []
      const written: Copy[] = []
      for (const [key, kept] of batch) {
        // Dropped meanwhile, or seen once more: then it is written with the next.
        if (this.unwritten.get(key) !== kept) continue
        this.unwritten.delete(key)
        if (!unlike.some(([other]) => other === key)) continue
        const known = this.copies.get(key)
        const container = mergeContainers(kept.container, decodeOrEmpty(known && former.get(known.row)))
        const bytes = encodeContainer(container)
        const row = this.nameOf(key, bytes.length)
        rows.push([row, bytes])
        written.push({ key, row, bytes: bytes.length, digest: digestOf(key, container) })
        this.beingWritten.set(key, container)
      }
      const replaced = written.flatMap(({ key }) => this.forget(key))
      for (const copy of written) this.add(copy)
      try {
        await this.commit(rows, written, [...replaced, ...this.surplus()])
      } finally {
        // One at a time writes: what is here is of this commit.
        this.beingWritten.clear()
      }
    }
  }

  /**
   * Takes place on the disk after it has in memory: if the disk refuses, what was written is not there, and what was given up still is. Where nobody knows
   * what became of it, both may be there.
   */
  private async commit(rows: [string, Uint8Array][], written: Copy[], abandoned: Copy[]): Promise<void> {
    const { disk, leftovers } = this
    const givenUp = [...abandoned, ...leftovers]
    if (rows.length === 0 && givenUp.length === 0) return
    this.leftovers = []
    const removals = givenUp.map(({ row }): [string, undefined] => [row, undefined])
    try {
      await this.storage.commit({ copies: [...rows, ...removals] }, 'relaxed')
    } catch (error) {
      if (disk === this.disk) {
        this.leftovers.push(...leftovers)
        for (const copy of written) {
          if (this.copies.get(copy.key) === copy) this.forget(copy.key)
          if (!isQuota(error)) this.leftovers.push(copy)
        }
        for (const copy of abandoned) {
          if (written.includes(copy)) continue
          if (this.copies.has(copy.key)) this.leftovers.push(copy)
          else this.add({ ...copy, digest: undefined })
        }
      }
      throw error
    }
  }

  private surplus(): Copy[] {
    const surplus: Copy[] = []
    for (const key of this.copies.keys()) {
      if (this.bytes <= this.maxBytes && this.copies.size <= MAX_COPIES) break
      surplus.push(...this.forget(key))
    }
    return surplus
  }

  private nameOf(key: StoreKey, bytes: number): string {
    const digits = (value: number, count: number) => value.toString(36).padStart(count, '0')
    return digits(this.nextNumber++, NUMBER_DIGITS) + digits(bytes, SIZE_DIGITS) + key
  }

  private add(copy: Copy): void {
    this.copies.set(copy.key, copy)
    this.bytes += copy.bytes
  }

  /** @returns the copy, if there was one */
  private forget(key: StoreKey): Copy[] {
    const copy = this.copies.get(key)
    if (!copy) return []
    this.copies.delete(key)
    this.bytes -= copy.bytes
    return [copy]
  }
}

/** A damaged copy is none. */
function decodeOrEmpty(bytes: Uint8Array | undefined): Container {
  return (bytes && ifPossible(() => decodeContainer(bytes))) ?? EMPTY_CONTAINER
}
