/**
 * The replica's side of every request: reading and merging containers on this node's disk. Whatever moves data ends here. Replicas merge and never
 * mint (P9), so every handler is idempotent and any delivery may be repeated.
 */
import { Emitter } from '../emitter.js'
import {
  type Address,
  type Batch,
  type Clock,
  type Digest,
  type Durability,
  type HintUpdate,
  type RecordUpdate,
  type Storage,
  isQuota,
} from '../environment.js'
import type { NodeId, Partition, StoreKey } from '../ids.js'
import { invariant } from '../invariant.js'
import { Pressure } from '../pressure.js'
import {
  type Container,
  EMPTY_CONTAINER,
  compareDots,
  dominates,
  isLive,
  mergeContainers,
} from '../versions/container.js'
import { contextSize, isEmpty } from '../versions/context.js'
import { decodeContainer, digestOf, encodeContainer, ifPossible } from '../versions/encoding.js'
import { HintIndex, type Tracked } from './hint-index.js'
import { MerkleForest, sameDigest } from './merkle.js'
import { SiblingLimit } from './sibling-limit.js'

export interface Entry {
  key: StoreKey
  container: Container
}

interface Change extends Entry {
  digest: Digest
}

/**
 * What became of the entries that were news or had no room; nothing is told of the others. An update may be evaluated more than once, on what is there by
 * then: the last time counts.
 */
type Outcomes = Map<Entry, Change | 'refused'>

/** Where and how some containers are to be kept. */
export interface StoreOptions {
  /** Keep them as replicas of this node. */
  asRecord: boolean
  /** Also (or only) keep them as hints for these homes, per entry. */
  hintFor: readonly NodeId[]
  /** They contain writes issued at this node. */
  own: boolean
  durability: Durability
  /** Refuse a key that would get more living siblings than this (see sibling-limit.ts); 0 is no limit. */
  maxSiblings: number
  /** Goes to the disk in the same transaction. */
  meta?: Batch['meta']
}

interface Rows {
  key: StoreKey
  record: Uint8Array | undefined
  hint: Uint8Array | undefined
}

/** For whom rows are read: what a peer was told cannot be taken back. */
export type Reader = 'self' | 'peer'

export interface ReplicaEvents {
  /** A key's versions changed on this node's disk, as a replica or as a hint, for whatever reason. */
  changed: { key: StoreKey; container: Container; digest: Digest }
  /** Whoever read the key met bytes that are not what was written. */
  damaged: { key: StoreKey }
}

export class Replica {
  readonly events = new Emitter<ReplicaEvents>()
  readonly forest = new MerkleForest()
  readonly hints = new HintIndex()
  readonly pressure: Pressure
  private readonly limit: SiblingLimit
  /** Partitions with a write whose outcome is unknown: it may be on the disk and not in the tree. */
  private readonly doubtful = new Set<Partition>()
  /** The same of hints: rows that may be on the disk and not in the index. */
  private readonly doubtfulHints = new Map<StoreKey, object>()
  /** What a full disk could not note of hints. */
  private unnoted: { keys: ReadonlySet<StoreKey>; again: () => Promise<void> }[] = []
  private isNoting = false

  constructor(
    readonly storage: Storage,
    readonly addressOf: (key: StoreKey) => Address,
    clock: Clock,
    /** Told of writes issued here of which nothing is left on this disk once their hints are gone. What it has to write comes first. */
    private readonly lettingGo: (own: Entry[]) => Promise<void>,
  ) {
    this.pressure = new Pressure(clock)
    this.limit = new SiblingLimit(clock)
  }

  /**
   * What this node has of these keys, from its records and its hints together; EMPTY_CONTAINER where it has nothing.
   * @throws StorageFailure, MalformedError (a damaged record is never 'absent').
   */
  async read(keys: StoreKey[], reader: Reader = 'self'): Promise<Container[]> {
    return (await this.readRows(keys, reader)).map((row) => this.decode(row))
  }

  /** As `read`, but undefined in the place of what is damaged: it does not keep the others from being read. @throws StorageFailure */
  async readEach(keys: StoreKey[], reader: Reader = 'self'): Promise<(Container | undefined)[]> {
    return (await this.readRows(keys, reader)).map((row) => ifPossible(() => this.decode(row)))
  }

  private decode({ key, record, hint }: Rows): Container {
    try {
      return decodeBoth(record, hint)
    } catch (error) {
      this.events.emit('damaged', { key })
      throw error
    }
  }

  private async readRows(keys: StoreKey[], reader: Reader): Promise<Rows[]> {
    const { hints: index } = this
    const isShown = (key: StoreKey) => reader === 'self' || index.mayBeShown(key)
    const hinted = keys.filter((key) => index.has(key) && isShown(key))
    const { withdrawn } = index
    const [records, hints] = await Promise.all([
      this.storage.get(keys.map(this.addressOf)),
      hinted.length > 0 ? this.storage.getHints(hinted) : [],
    ])
    if (index.withdrawn !== withdrawn) return this.readRows(keys, reader)
    const byKey = new Map(hinted.map((key, i) => [key, isShown(key) ? hints[i]?.container : undefined]))
    return keys.map((key, i) => ({ key, record: records[i], hint: byKey.get(key) }))
  }

  /** The disk is another one, and empty. */
  lost(): void {
    this.forest.clear()
    this.hints.clear()
    this.doubtful.clear()
    this.doubtfulHints.clear()
    this.unnoted = []
  }

  /** True without a look at the disk when there is certainly nothing here. */
  certainlyAbsent(key: StoreKey): boolean {
    return !this.hints.has(key) && this.forest.certainlyAbsent(this.addressOf(key))
  }

  /**
   * Merges containers into the disk; resolves when the transaction completed, with the keys that were refused for having too
   * many siblings.
   * @throws StorageFailure when nothing was stored, or nobody knows whether it was (a lost connection to the disk; see `clearDoubts`).
   */
  async store(entries: Entry[], options: StoreOptions): Promise<StoreKey[]> {
    const outcomes: Outcomes = new Map()
    const records: RecordUpdate[] = options.asRecord
      ? entries.map((entry) => this.recordUpdate(entry, options.maxSiblings, outcomes))
      : []
    const hints =
      options.hintFor.length > 0
        ? entries.map((entry) => this.hints.tracked(this.hintUpdate(entry, options, outcomes)))
        : []
    await this.commit(records, hints, options.durability, options.meta)
    const refused: StoreKey[] = []
    for (const [{ key }, outcome] of outcomes) {
      if (outcome === 'refused') refused.push(key)
      else this.events.emit('changed', outcome)
    }
    return refused
  }

  /** As `store`, of what others have, for the records of this node: nothing is refused. @throws StorageFailure as `store` */
  storeRecords(entries: Entry[], durability: Durability): Promise<unknown> {
    return this.store(entries, { asRecord: true, hintFor: [], own: false, durability, maxSiblings: 0 })
  }

  /** A home confirmed this container: its hint is done, unless a newer write was added to the row meanwhile. */
  async hintDelivered(delivered: Entry[], homes: readonly NodeId[]): Promise<void> {
    const { hints } = this
    const isLast = (key: StoreKey) => hints.isOwn(key) && hints.homesOf(key).every((home) => homes.includes(home))
    await this.lettingGo(delivered.filter(({ key }) => isLast(key)))
    await this.noteDelivered(delivered, homes)
  }

  private async noteDelivered(delivered: Entry[], homes: readonly NodeId[]): Promise<void> {
    const done = new Set<StoreKey>()
    const hints = delivered.map(({ key, container }) =>
      this.hints.tracked({
        key,
        apply: (current) => {
          done.delete(key)
          if (!current || !dominates(container, decodeIfPossible(current.container))) return current
          done.add(key)
          const left = current.homes.filter((home) => !homes.includes(home))
          return left.length === 0 ? undefined : { ...current, homes: left }
        },
      }),
    )
    await this.commitTargets(hints, () => {
      for (const key of done) this.hints.relieve(key, homes)
      const again = delivered.map(({ key, container }) => ({ key, container: withoutValues(container) }))
      return () => this.noteDelivered(again, homes)
    })
  }

  /**
   * Takes a write out of this tab's outbox that no home would take. Only a blind one: any other may have replaced something in the row, which
   * would be lost with it; and only one that no other node has seen here.
   * @returns whether it is gone.
   */
  async withdraw({ key, container }: Entry): Promise<boolean> {
    const { siblings, context } = container
    const dot = siblings[0]?.dot
    invariant(dot, 'a put writes one version')
    if (contextSize(context) > 1 || (context.vector.size > 0 && dot.counter > 1)) return false
    const hint = this.hints.tracked({
      key,
      apply: (current) => {
        if (!current) return current
        const row = decodeIfPossible(current.container)
        const rest = row.siblings.filter((sibling) => compareDots(sibling.dot, dot) !== 0)
        if (rest.length === 0) return undefined
        return { ...current, container: encodeContainer({ siblings: rest, context: row.context }) }
      },
    })
    // A power cut must not bring back what the application was told is refused.
    return this.hints.unseen(key, () => this.commit([], [hint], 'strict'))
  }

  /**
   * Gives a hint row other targets (its home left for good): re-routed, not dropped (P25).
   * @param kept what is elsewhere on this disk: a row without targets goes, unless it says more by now.
   */
  async retargetHint(key: StoreKey, homes: readonly NodeId[], kept = EMPTY_CONTAINER): Promise<void> {
    const hint = this.hints.tracked({
      key,
      apply: (current) => {
        if (current && homes.length > 0) return { ...current, homes: [...homes] }
        return current && !dominates(kept, decodeIfPossible(current.container)) ? current : undefined
      },
    })
    await this.commitTargets([hint], () => {
      hint.done()
      return () => this.retargetHint(key, homes, kept)
    })
  }

  /**
   * Commits for which homes the hints are, or that there are none. A full disk may refuse even that; it counts in memory then, and is noted later: should
   * the node be opened anew before, hints go where they have been already, and until then no deletion is forgotten that they could undo.
   * @param whenFull makes it so in memory, and returns what notes it.
   */
  async commitTargets(hints: Tracked[], whenFull: () => () => Promise<void>): Promise<void> {
    try {
      await this.commit([], hints, 'relaxed')
    } catch (error) {
      if (!isQuota(error)) throw error
      this.unnoted.push({ keys: new Set(hints.map(({ update }) => update.key)), again: whenFull() })
    }
  }

  /** Notes what a full disk could not, now that it may have room. */
  async noteTargets(): Promise<void> {
    if (this.isNoting) return
    this.isNoting = true
    try {
      for (let [first] = this.unnoted; first && !this.pressure.hasRefused; [first] = this.unnoted) {
        await first.again()
        // If it was refused once more, that is noted behind it.
        this.unnoted = this.unnoted.filter((one) => one !== first)
      }
    } finally {
      this.isNoting = false
    }
  }

  /**
   * Replaces records by a smaller form, or by nothing, where they are still exactly what was agreed on. Of one that is damaged that cannot be told:
   * `to` is asked without a container. To give up what all heirs hold, nobody has to read it.
   */
  async settle(
    agreed: {
      key: StoreKey
      digest: Digest
      to: (container: Container | undefined) => Container | 'keep' | undefined
    }[],
  ): Promise<void> {
    const records = agreed.map(
      ({ key, digest, to }): RecordUpdate => ({
        address: this.addressOf(key),
        apply: (current) => {
          if (!current) return 'keep'
          const container = ifPossible(() => decodeContainer(current))
          if (container && !sameDigest(digestOf(key, container), digest)) return 'keep'
          const result = to(container)
          if (result === 'keep') return 'keep'
          return result ? written(key, result) : 'remove'
        },
      }),
    )
    await this.commit(records, [], 'relaxed')
  }

  /** Puts a good copy in the place of a damaged record, and merges with one that is no longer damaged. */
  async replaceDamaged(key: StoreKey, good: Container, isDamaged: (bytes: Uint8Array) => boolean): Promise<void> {
    const address = this.addressOf(key)
    const apply = (current: Uint8Array | undefined) =>
      written(key, current && !isDamaged(current) ? mergeContainers(decodeContainer(current), good) : good)
    await this.commit([{ address, apply }], [], 'relaxed')
  }

  /** Everything that was committed so far survives a power cut. */
  async flush(): Promise<void> {
    await this.storage.commit({ meta: [['flushed', new Uint8Array(0)]] }, 'strict')
  }

  /** Makes the Merkle leaves of a partition anew from its records. */
  async recount(partition: Partition): Promise<void> {
    this.forest.update(await this.storage.commit({ recount: [partition] }, 'relaxed'))
  }

  /** Brings the trees and the index of hints in line with what became of writes that seemed to fail. */
  async clearDoubts(): Promise<void> {
    await this.lookForHints()
    for (const partition of this.doubtful) {
      await this.recount(partition)
      this.doubtful.delete(partition)
    }
  }

  private async lookForHints(): Promise<void> {
    if (this.doubtfulHints.size === 0) return
    const doubts = [...this.doubtfulHints]
    const looks = doubts.map(([key]) => this.hints.tracked({ key, apply: (current) => current }))
    await this.commit([], looks, 'relaxed')
    for (const [key, doubt] of doubts) if (this.doubtfulHints.get(key) === doubt) this.doubtfulHints.delete(key)
  }

  /** There is a hint for it, or there may be one that the index does not know: after a restart it would be delivered. */
  mayHaveHint(key: StoreKey): boolean {
    return this.hints.has(key) || this.doubtfulHints.has(key) || this.unnoted.some(({ keys }) => keys.has(key))
  }

  private recordUpdate(entry: Entry, maxSiblings: number, outcomes: Outcomes): RecordUpdate {
    const { key, container } = entry
    return {
      address: this.addressOf(key),
      apply: (current) => {
        const mayBeWritten = beginAnew(entry, outcomes)
        // A peer may push a key that was forgotten while it was on its way: nothing is no record.
        if (isEmpty(container.context)) return 'keep'
        const former = current ? decodeIfPossible(current) : EMPTY_CONTAINER
        if (current && dominates(former, container)) {
          if (mayBeWritten) outcomes.set(entry, { key, container: former, digest: digestOf(key, former) })
          return 'keep'
        }
        const merged = mergeContainers(former, container)
        if (this.limit.refuses(key, container, former, merged, maxSiblings)) {
          outcomes.set(entry, 'refused')
          return 'keep'
        }
        const write = written(key, merged)
        outcomes.set(entry, { key, container: merged, digest: write.digest })
        return write
      },
    }
  }

  /** @param outcomes is told of this entry, unless its record has told already, which is evaluated first: what is no record here is no hint. */
  private hintUpdate(
    entry: Entry,
    { hintFor, own, asRecord, maxSiblings }: StoreOptions,
    outcomes: Outcomes,
  ): HintUpdate {
    const { key, container } = entry
    return {
      key,
      apply: (current) => {
        if (asRecord && outcomes.get(entry) === 'refused') return current
        const mayBeWritten = !asRecord && beginAnew(entry, outcomes)
        const former = current ? decodeIfPossible(current.container) : EMPTY_CONTAINER
        const merged = mergeContainers(former, container)
        if (!asRecord && this.limit.refuses(key, container, former, merged, maxSiblings)) {
          outcomes.set(entry, 'refused')
          return current
        }
        if (!asRecord && (mayBeWritten || !current || !dominates(former, container)))
          outcomes.set(entry, { key, container: merged, digest: digestOf(key, merged) })
        return {
          homes: [...new Set([...(current?.homes ?? []), ...hintFor])],
          own: own || (current?.own ?? false),
          container: encodeContainer(merged),
        }
      },
    }
  }

  private async commit(
    records: RecordUpdate[],
    hints: Tracked[],
    durability: Durability,
    meta: Batch['meta'] = [],
  ): Promise<void> {
    if (records.length === 0 && hints.length === 0) return
    try {
      const batch = { records, hints: hints.map((hint) => hint.update), meta }
      this.forest.update(await this.storage.commit(batch, durability))
    } catch (error) {
      for (const { address } of records) this.doubtful.add(address.partition)
      if (!isQuota(error)) for (const { update } of hints) this.doubtfulHints.set(update.key, {})
      this.pressure.commitFailed(error)
      throw error
    }
    for (const hint of hints) hint.done()
  }
}

function written(key: StoreKey, container: Container): { container: Uint8Array; digest: Digest; live: boolean } {
  return { container: encodeContainer(container), digest: digestOf(key, container), live: isLive(container) }
}

/** All that it takes to tell what it replaces. */
function withoutValues({ siblings, context }: Container): Container {
  return { siblings: siblings.map((sibling) => ({ ...sibling, value: undefined })), context }
}

function decodeBoth(record: Uint8Array | undefined, hint: Uint8Array | undefined): Container {
  const own = record ? decodeContainer(record) : EMPTY_CONTAINER
  return hint ? mergeContainers(own, decodeContainer(hint)) : own
}

/** A row that cannot even be read holds nothing that a new write could lose; what it held is at the other homes. */
function decodeIfPossible(bytes: Uint8Array): Container {
  return ifPossible(() => decodeContainer(bytes)) ?? EMPTY_CONTAINER
}

/** @returns whether the evaluation before was a change: that may have been written, and the answer lost with the connection to the disk. */
function beginAnew(entry: Entry, outcomes: Outcomes): boolean {
  const before = outcomes.get(entry)
  outcomes.delete(entry)
  return typeof before === 'object'
}
