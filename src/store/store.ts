/// <reference lib="esnext.disposable" preserve="true" />
/** The store: one node with the verbs of its unnamed bucket, named buckets, and everything to see how the node fares. */

import { parseStoreKey } from '../core/ids.js'
import type { MemberRecord } from '../core/membership/records.js'
import type { MetricsSnapshot } from '../core/metrics.js'
import type { Node } from '../core/node.js'
import { type Trace, traceKey } from '../core/trace.js'
import { Bucket, type GetCallOptions, type PutCallOptions } from './bucket.js'
import { type Conflict, Conflicts } from './conflicts.js'
import type { Entry, Receipt } from './entry.js'
import { ConfigMismatchError, OptionError, StorageError } from './errors.js'
import type { StoreInside } from './inside.js'
import { type LeaveProgress, handEverythingOver } from './leave.js'
import { Lifetime } from './lifetime.js'
import { type Settings, bucketSettings, checkBucketName, readCall } from './options.js'
import type { Scan, ScanOptions } from './scan.js'
import { Session } from './session.js'
import { type Member, type Status, memberOf, membersOf, statusOf } from './status.js'
import { publicError } from './storage-errors.js'
import { Turns } from './turns.js'
import type { AnyValue } from './values.js'
import { type VerifyReport, verifyNode } from './verify.js'
import type { WatchTarget } from './watch.js'

export interface StoreEvents {
  status: Status
  member: Member
  /** A key has several versions. */
  conflict: Conflict
  /**
   * Data moved to where it belongs: hints to a returning home (`left`: keys), partitions to a new one (`left`: partitions), or all that a
   * closed tab of this profile had left behind to this one (adoption; `left`: keys).
   */
  handoff: { kind: 'hints' | 'transfer' | 'leave' | 'adoption'; node: string; keys: number; left: number }
  /** A read found stale homes and brought them up to date. */
  repair: { bucket: string; key: string; nodes: string[] }
  /** A Merkle comparison moved something. */
  sync: { node: string; pulled: number; pushed: number }
  /** Something went wrong that no call of the application was waiting for: a StorageError, ConnectionError, ConfigMismatchError, … */
  error: unknown
}

/** What the platform does for a store: links on and off, and the end. */
export interface StoreControls {
  connect(): void
  disconnect(): void
  isConnected(): boolean
  /** The nodes that are here, linked or not, each with the life of its page, as far as that is known. */
  presence(): ReadonlyMap<string, string | undefined>
  wallTime(): number
  /** The store says goodbye, and gives its identity back by the time that this is done. */
  ending(done: Promise<void>): void
  /** Gives up the identity's lock and closes the disk. */
  close(): Promise<void>
  /** Deletes the disk and forgets the identity. */
  forget(): Promise<void>
}

const STATUS_INTERVAL_MS = 50
const TELL_FULL_EVERY_MS = 60_000

export class Store extends EventTarget {
  private readonly lifetime = new Lifetime()
  private readonly inside: StoreInside
  private readonly root: Bucket
  private readonly buckets = new Map<string, Bucket>()
  private statusTimer: ReturnType<typeof setTimeout> | undefined
  /** Members that a 'member' event is about to tell of. */
  private readonly changedMembers = new Map<string, MemberRecord>()
  /** Of the peers that ran with other parameters when they were met last, and in which life of their page. */
  private readonly mismatches = new Map<string, { session: string | undefined; error: ConfigMismatchError }>()
  private closing: Promise<void> | undefined
  /** When the application was told last that the disk is full, by the platform's clock. */
  private toldFullAt = Number.NEGATIVE_INFINITY
  /** Given up when all who called for it have. */
  private leaving: { done: Promise<void>; given: AbortController; callers: number } | undefined

  /** @internal Use `openStore`. */
  constructor(
    private readonly node: Node,
    private readonly settings: Settings,
    private readonly controls: StoreControls,
  ) {
    super()
    const session = new Session()
    this.inside = {
      node,
      room: settings.room,
      session,
      lifetime: this.lifetime,
      turns: new Turns(),
      wallTime: () => controls.wallTime(),
      conflicts: new Conflicts(
        () => controls.wallTime(),
        settings.tuning.warnSiblings,
        (conflict) => this.emit('conflict', conflict),
      ),
      onError: (error) => this.report(error),
    }
    this.root = new Bucket(this.inside, bucketSettings(settings, ''))
    node.events.on('forgetting', (agreed) => session.forgetVersions(agreed))
    node.events.on('refused', ({ key, dot }) => session.refused(key, dot))
    // What is still in memory need not be lost with the disk.
    node.events.on('reborn', () => node.coordinator.handBack(session.entries()))
    this.forwardEvents()
  }

  // --- the verbs of the unnamed bucket

  /**
   * Reads a key: asks its n homes, answers after r, merges what they say (§4.5). Answers with what can be reached; see `entry.quorum`.
   * @throws QuorumError (strict), StorageError, KeyError, ClosedError, ValueError where a version cannot be read
   */
  get<V = AnyValue>(key: string, options?: GetCallOptions): Promise<Entry<V>> {
    return this.root.get(key, options)
  }
  /**
   * Writes a key. Resolves once it is durable in at least one place; the receipt says which quorum it got. Without a `context` it replaces what
   * this handle has read or written of the key, and what this tab wrote before it was loaded anew. Of a key where there is none of that, this is a
   * blind write, beside what is there. To replace that, `get` it first, or use `update`.
   * @throws QuorumError (strict; the outcome is unknown), SiblingLimitError, StorageError, ValueError, ValueTooLargeError, KeyError, ContextError, ClosedError
   */
  put<V = AnyValue>(key: string, value: V, options?: PutCallOptions): Promise<Receipt> {
    return this.root.put(key, value, options)
  }
  /**
   * Deletes a key: a version without a value. As `put`, so of a key that this handle has not read or written it deletes nothing that others
   * wrote: `get` it first, and what it showed is deleted.
   */
  delete(key: string, options?: PutCallOptions): Promise<Receipt> {
    return this.root.delete(key, options)
  }
  /**
   * Gets, lets `change` make the next value, and puts it with the context of what was read. Updates of one key in this tab wait for each other
   * and for puts that have begun; where another put of the key begins meanwhile, `change` is called again with what that wrote. So
   * `change` must not write the same key itself.
   * @throws what `get` and `put` throw, what `change` throws, ValueError when that gives undefined
   */
  update<V = AnyValue>(
    key: string,
    change: (value: V | undefined, entry: Entry<V>) => V | Promise<V>,
    options?: GetCallOptions & Omit<PutCallOptions, 'context'>,
  ): Promise<Receipt> {
    return this.root.update(key, change, options)
  }
  /** Entries in the order of the keys. @throws as `get` */
  getMany<V = AnyValue>(keys: Iterable<string>, options?: GetCallOptions): Promise<Entry<V>[]> {
    return this.root.getMany(keys, options)
  }
  /** Receipts in the order of the pairs. When one put fails, the others go on; the first failure rejects. @throws as `put` */
  putMany<V = AnyValue>(
    // Not inferred: the values of one call may be of several types.
    pairs: Iterable<readonly [string, NoInfer<V>]> | AsyncIterable<readonly [string, NoInfer<V>]>,
    options?: Omit<PutCallOptions, 'context'>,
  ): Promise<Receipt[]> {
    return this.root.putMany(pairs, options)
  }
  /**
   * First the present entry (all entries outside of named buckets, for a prefix or where nothing is given), then each change, wherever it was
   * made. Slow readers get the latest state per key. Ends with `break` or `return()`, also while it waits, or with the reason of the signal.
   * @throws KeyError, OptionError, ClosedError
   */
  watch<V = AnyValue>(
    target?: WatchTarget,
    options?: { signal?: AbortSignal | undefined },
  ): AsyncGenerator<Entry<V>, void, undefined> {
    return this.root.watch(target, options)
  }
  /**
   * The callback form of `watch`; where this tab's disk fails and nobody else answers, it looks again later.
   * @returns a function that ends it. @throws KeyError, OptionError, ClosedError
   */
  subscribe<V = AnyValue>(target: WatchTarget, listener: (entry: Entry<V>) => void): () => void {
    return this.root.subscribe(target, listener)
  }
  /**
   * Every live key in order (as JavaScript compares strings), over the whole ring. `complete` tells, after the loop, whether every partition was reached.
   * @throws OptionError, ClosedError
   */
  scan<V = AnyValue>(options?: ScanOptions): Scan<V> {
    return this.root.scan(options)
  }

  /** A name space with its own n, r, w, merge and ttl, as given to `openStore`, or with the store's defaults. */
  bucket<V = AnyValue>(name: string): Bucket<V> {
    this.lifetime.check()
    checkBucketName(name)
    let bucket = this.buckets.get(name)
    if (!bucket) {
      bucket = new Bucket(this.inside, bucketSettings(this.settings, name))
      this.buckets.set(name, bucket)
    }
    return bucket
  }

  // --- links

  /**
   * Resolves when `peers` other members (default 1) are connected. Rejects with ConfigMismatchError when one is here that runs with other
   * parameters, and too few others are here that could be waited for. Connected does not mean filled: right after it, a get of a key that
   * nobody has put may say `quorum.met: false`, until `status.partitionsFilling` is 0.
   */
  async ready(options?: { peers?: number | undefined; signal?: AbortSignal | undefined }): Promise<void> {
    const { peers = 1, signal } = readCall(options, ['peers', 'signal'])
    if (!Number.isInteger(peers) || peers < 0) throw new OptionError('peers', 'give a whole number.')
    await this.until(() => {
      if (this.node.peers.reachable().length >= peers) return true
      const mismatch = this.mismatchAmongFew(peers)
      if (mismatch) throw mismatch
      return false
    }, signal)
  }

  /** Only of who is still here as it was met: a tab that came and went, or was mended, keeps nobody from being ready. */
  private mismatchAmongFew(peers: number): ConfigMismatchError | undefined {
    const presence = this.controls.presence()
    for (const [node, { session }] of this.mismatches)
      if (!presence.has(node) || presence.get(node) !== session) this.mismatches.delete(node)
    if (presence.size - this.mismatches.size >= peers) return undefined
    return [...this.mismatches.values()].at(-1)?.error
  }

  /** Goes offline on purpose: every link and the signaling connection are closed, everything else keeps working. */
  disconnect(): void {
    this.lifetime.check()
    this.controls.disconnect()
    this.statusChanged()
  }

  /** Ends `disconnect`. @throws StorageError where a newer version of the page has taken the disk over: only loading the page anew helps */
  connect(): void {
    this.lifetime.check()
    this.controls.connect()
    this.statusChanged()
  }

  // --- knowing what goes on

  /** How this node fares just now. A 'status' event follows each change. */
  get status(): Status {
    return statusOf(this.node, this.settings.room, this.controls.isConnected())
  }

  /** Who belongs to the ring, as far as this node knows, itself included. */
  get members(): Member[] {
    return membersOf(this.node, this.settings.defaults.n, this.controls.wallTime())
  }

  /** Which nodes are the homes of each partition, in the store's default replication: the ring as this node knows it (§6.2). */
  get ring(): { partitions: number; homes(index: number): readonly string[] } {
    const { partitions } = this.settings.tuning
    const placement = this.node.membership.placementFor(this.settings.defaults.n)
    return { partitions, homes: (index) => [...placement.homes(index)] }
  }

  /**
   * Resolves when every write made here, also before the page was loaded anew, has reached all of its homes. Where a put was under way when the page went
   * away, this tab meets others that were away, or a leave was given up, that is known once it has compared what it holds with all other homes. While it leaves,
   * that is so when all is handed over. Who is alone is home of all.
   */
  async flush(options?: { signal?: AbortSignal | undefined }): Promise<void> {
    const { signal } = readCall(options, ['signal'])
    await this.until(() => this.node.coordinator.synced, signal)
  }

  /** Reads this node's disk again, checks it, compares it with all peers; with `repair`, mends what can be mended. */
  async verify(options?: { repair?: boolean | undefined }): Promise<VerifyReport> {
    this.lifetime.check()
    const { repair = false } = readCall(options, ['repair'])
    if (typeof repair !== 'boolean') throw new OptionError('repair', 'give true or false.')
    return this.lifetime.whileOpen(verifyNode(this.node, repair))
  }

  /** Where a key lives, and which versions are where. */
  async trace(key: string): Promise<Trace> {
    const name = this.root.key(key)
    return { key, ...(await this.lifetime.whileOpen(traceKey(this.node, name))) }
  }

  /** Counters and latencies since this node was opened. */
  metrics(): MetricsSnapshot {
    return this.node.metrics.snapshot()
  }

  // --- the end

  /**
   * Hands everything this node holds to the others and forgets the node; the store is closed then. Members that have been away for some seconds
   * are not waited for: others keep for them what is theirs. 'handoff' events tell the progress. When it is aborted or fails, the
   * store stays open and the node a member.
   * @throws QuorumError when there is something to hand over, or somebody to tell, and no other member is reachable, or none any more for some seconds, or
   *   all others have left; ClosedError
   */
  async leave(options?: { signal?: AbortSignal | undefined }): Promise<void> {
    this.lifetime.check()
    const { signal } = readCall(options, ['signal'])
    signal?.throwIfAborted()
    this.leaving ??= { ...this.handOver(), callers: 0 }
    const { leaving } = this
    leaving.callers++
    try {
      await this.lifetime.whileOpen(leaving.done, signal)
    } catch (error) {
      if (--leaving.callers === 0) {
        leaving.given.abort(error)
        this.leaving = undefined
      }
      throw error
    }
    await this.end(() => this.controls.forget())
  }

  private handOver(): { done: Promise<void>; given: AbortController } {
    const progress = ({ partitionsLeft, hintsLeft }: LeaveProgress) =>
      this.emit('handoff', {
        kind: 'leave',
        node: this.node.options.node,
        keys: this.node.replica.forest.records,
        left: partitionsLeft + hintsLeft,
      })
    const given = new AbortController()
    const holdWrites = (isHeld: boolean) => this.lifetime.holdWrites(isHeld)
    return { done: handEverythingOver(this.node, { progress, holdWrites, signal: given.signal }), given }
  }

  /** Says goodbye and closes. What is acknowledged is durable; what other homes still lack stays in this node's hints. */
  close(): Promise<void> {
    return this.end(() => this.controls.close())
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  private end(finish: () => Promise<void>): Promise<void> {
    if (this.closing !== undefined) return this.closing
    this.closing = (async () => {
      this.lifetime.end()
      clearTimeout(this.statusTimer)
      await this.node.stop()
      await finish()
    })().catch((error) => {
      throw publicError(error)
    })
    this.controls.ending(this.closing)
    return this.closing
  }

  private async until(condition: () => boolean, signal: AbortSignal | undefined): Promise<void> {
    this.lifetime.check()
    signal?.throwIfAborted()
    if (condition()) return
    let stop = () => {}
    const reached = new Promise<void>((resolve, reject) => {
      const look = () => {
        try {
          if (condition()) resolve()
        } catch (error) {
          reject(error)
        }
      }
      const stops = [this.node.events.on('status', look), this.node.events.on('mismatch', () => queueMicrotask(look))]
      stop = () => {
        for (const end of stops) end()
      }
    })
    await this.lifetime.whileOpen(reached, signal).finally(() => stop())
  }

  private forwardEvents(): void {
    const { events, replica } = this.node
    events.on('status', () => this.statusChanged())
    replica.events.on('changed', ({ key, container }) => {
      this.inside.conflicts.look(key, container)
      this.statusChanged()
    })
    events.on('member', (record) => {
      // Once the turn is over: whoever is greeted belongs to the ring some moments before it counts as one that answers.
      if (this.changedMembers.size === 0) queueMicrotask(() => this.tellOfMembers())
      this.changedMembers.set(record.node, record)
    })
    events.on('handoff', ({ node, keys, left }) => this.emit('handoff', { kind: 'hints', node, keys, left }))
    events.on('adoption', ({ node, keys, left }) => this.emit('handoff', { kind: 'adoption', node, keys, left }))
    events.on('transfer', ({ node, keys, left }) => {
      if (keys > 0 || left === 0) this.emit('handoff', { kind: 'transfer', node, keys, left })
    })
    events.on('repair', ({ key, nodes }) => {
      const name = parseStoreKey(key)
      if (name) this.emit('repair', { bucket: name.bucket, key: name.key, nodes })
    })
    events.on('sync', ({ peer, pulled, pushed }) => this.emit('sync', { node: peer, pulled, pushed }))
    events.on('error', (error) => this.report(error))
    events.on('mismatch', ({ node, theirs, ours }) => {
      const error = new ConfigMismatchError(
        `The peer ${node} runs with other room parameters: ${theirs}. Here: ${ours}.`,
      )
      const session = this.controls.presence().get(node)
      const known = this.mismatches.get(node)
      this.mismatches.set(node, { session, error })
      // Each of its Hellos says so, and each further try of it.
      if (known?.session !== session || known?.error.message !== error.message) this.emit('error', error)
    })
    this.node.peers.events.on('up', (node) => this.mismatches.delete(node))
  }

  /** That the disk is full is told once in a while: every write that it refuses says the same. */
  private report(error: unknown): void {
    const shown = publicError(error)
    if (shown instanceof StorageError && shown.reason === 'quota') {
      const now = this.controls.wallTime()
      if (Math.abs(now - this.toldFullAt) < TELL_FULL_EVERY_MS) return
      this.toldFullAt = now
    }
    this.emit('error', shown)
  }

  private tellOfMembers(): void {
    const records = [...this.changedMembers.values()]
    this.changedMembers.clear()
    for (const record of records)
      this.emit('member', memberOf(this.node, record, this.settings.defaults.n, this.controls.wallTime()))
  }

  /** At most one status event in a while, and always one after the last change. */
  private statusChanged(): void {
    if (this.statusTimer !== undefined || this.lifetime.isOver) return
    this.statusTimer = setTimeout(() => {
      this.statusTimer = undefined
      this.emit('status', this.status)
    }, STATUS_INTERVAL_MS)
  }

  override addEventListener<K extends keyof StoreEvents & string>(
    type: K,
    listener: (event: CustomEvent<StoreEvents[K]>) => void,
    options?: boolean | AddEventListenerOptions,
  ): void
  override addEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject | null,
    options?: boolean | AddEventListenerOptions,
  ): void
  override addEventListener(type: string, listener: unknown, options?: boolean | AddEventListenerOptions): void {
    super.addEventListener(type, listener as EventListener, options)
  }

  override removeEventListener<K extends keyof StoreEvents & string>(
    type: K,
    listener: (event: CustomEvent<StoreEvents[K]>) => void,
    options?: boolean | EventListenerOptions,
  ): void
  override removeEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject | null,
    options?: boolean | EventListenerOptions,
  ): void
  override removeEventListener(type: string, listener: unknown, options?: boolean | EventListenerOptions): void {
    super.removeEventListener(type, listener as EventListener, options)
  }

  /** As it ends, it hangs up on all others, which is no news of them; only what fails is told then. */
  private emit<K extends keyof StoreEvents & string>(type: K, detail: StoreEvents[K]): void {
    if (this.lifetime.isOver && type !== 'error') return
    this.dispatchEvent(new CustomEvent(type, { detail }))
  }
}
