/**
 * The verbs. A bucket is a name space with its own n, r, w, merge and time to live; the store's own verbs are those of its unnamed bucket.
 */
import { type StoreKey, bucketPrefix, storeKey } from '../core/ids.js'
import type { PutOutcome } from '../core/requests/put.js'
import type { Container } from '../core/versions/container.js'
import { type CausalContext, EMPTY_CONTEXT } from '../core/versions/context.js'
import { encodeToken } from '../core/versions/token.js'
import {
  type Context,
  type Entry,
  type Quorum,
  type Receipt,
  expiryOf,
  mergeErrorOf,
  readContext,
  toEntry,
} from './entry.js'
import { ClosedError, OptionError, QuorumError, SiblingLimitError, ValueError } from './errors.js'
import type { StoreInside } from './inside.js'
import { type BucketSettings, checkKey, checkQuorum, readCall } from './options.js'
import { Scan, type ScanOptions, readScanOptions } from './scan.js'
import { publicError } from './storage-errors.js'
import { type AnyValue, encodeValue } from './values.js'
import { type WatchTarget, readWatchTarget, watch } from './watch.js'

export interface CallOptions {
  /** sloppy: stand-ins count, and the answer says so. strict: only homes count, and too few reject. Default sloppy. */
  quorum?: 'sloppy' | 'strict' | undefined
  /** Rejects the call with its reason. What was begun may still take effect. */
  signal?: AbortSignal | undefined
}

export interface GetCallOptions extends CallOptions {
  /** Answers to wait for, 1 to n. Default: the bucket's. */
  r?: number | undefined
}

export interface PutCallOptions extends CallOptions {
  /** Confirmations to wait for, 1 to n. Default: the bucket's. */
  w?: number | undefined
  /** Descends from exactly this; null: from nothing. Left out: from what this handle has read or written. */
  context?: Context | null | undefined
  /** strict: the coordinator's copy is flushed to disk; all: every copy; relaxed: none. Default strict. */
  durability?: 'strict' | 'relaxed' | 'all' | undefined
}

const GET_OPTIONS = ['r', 'quorum', 'signal']
const MANY_PUT_OPTIONS = ['w', 'quorum', 'durability', 'signal']
const PUT_OPTIONS = [...MANY_PUT_OPTIONS, 'context']
const UPDATE_OPTIONS = [...MANY_PUT_OPTIONS, 'r']

/** What a read makes of a key, until the application gets it. */
interface Found<V> {
  name: StoreKey
  entry: Entry<V>
  /** The versions that the entry shows. */
  shown: Container
}

/** Attempts of one update when this tab keeps writing the same key. */
const MAX_ATTEMPTS = 10

/** Operations of one putMany or getMany on the way at once. */
const WINDOW = 256

export class Bucket<V = AnyValue> {
  private readonly updates = new Map<StoreKey, Promise<unknown>>()
  /** What the disk is being asked for. Puts that are called meanwhile wait for the same answer, and so keep their order. */
  private readonly learning = new Map<StoreKey, Promise<void>>()

  /** @internal */
  constructor(
    private readonly inside: StoreInside,
    private readonly settings: BucketSettings,
  ) {}

  get name(): string {
    return this.settings.name
  }

  /**
   * Reads a key: asks its n homes, answers after r, merges what they say (§4.5). Answers with what can be reached; see `entry.quorum`.
   * @throws QuorumError (strict), StorageError, KeyError, ClosedError, ValueError where a version cannot be read, what the bucket's merge throws
   */
  async get(key: string, options?: GetCallOptions): Promise<Entry<V>> {
    const name = this.key(key)
    const { r, strictQuorum, signal } = this.getOptions(options, GET_OPTIONS)
    signal?.throwIfAborted()
    const found = await this.inside.lifetime.whileOpen(this.read(name, r, strictQuorum), signal)
    return this.given(this.whole(found))
  }

  /** A caller of get() expects one value; silently taking the first sibling would hide the failed merge. @throws what the merge threw */
  private whole(found: Found<V>): Found<V> {
    const mergeError = mergeErrorOf(found.entry)
    if (mergeError !== undefined) throw mergeError
    return found
  }

  /** The application gets the entry now, and no sooner has it read that: what nobody is shown, the next put must not replace. */
  private given({ name, entry, shown }: Found<V>): Entry<V> {
    this.inside.session.knew(name, shown.context)
    return entry
  }

  /**
   * Writes a key. Resolves once it is durable in at least one place; the receipt says which quorum it got. Without a `context` it replaces what
   * this handle has read or written of the key, and what this tab wrote before it was loaded anew. Of a key where there is none of that, this is a
   * blind write, beside what is there. To replace that, `get` it first, or use `update`.
   * @throws QuorumError (strict; the outcome is unknown), SiblingLimitError, StorageError, ValueError, ValueTooLargeError, KeyError, ContextError, ClosedError
   */
  async put(key: string, value: V, options?: PutCallOptions): Promise<Receipt> {
    this.key(key)
    return this.write(key, encodeValue(value, `the value of ${JSON.stringify(key)}`), options)
  }

  /**
   * Deletes a key: a version without a value. As `put`, so of a key that this handle has not read or written it deletes nothing that others
   * wrote: `get` it first, and what it showed is deleted.
   */
  async delete(key: string, options?: PutCallOptions): Promise<Receipt> {
    return this.write(key, undefined, options)
  }

  /**
   * Gets, lets `change` make the next value, and puts it with the context of what was read. Updates of one key in this tab wait for each other
   * and for puts that have begun; where another put of the key begins meanwhile, `change` is called again with what that wrote. So
   * `change` must not write the same key itself: an update of it that `change` waits for never ends, and a put of it is a conflict.
   * Where versions stand beside each other, its result replaces all of them, and without a merge `value` is only the first: `entry.siblings` has all.
   * @throws what `get` and `put` throw, what `change` throws, ValueError when that gives undefined
   */
  async update(
    key: string,
    change: (value: V | undefined, entry: Entry<V>) => V | Promise<V>,
    options?: GetCallOptions & Omit<PutCallOptions, 'context'>,
  ): Promise<Receipt> {
    const name = this.key(key)
    this.getOptions(options, UPDATE_OPTIONS)
    this.putOptions(options, UPDATE_OPTIONS)
    const { r, w, quorum, durability, signal } = options ?? {}
    if (typeof change !== 'function') throw new OptionError('change', 'give a function that makes the next value.')
    const former = this.updates.get(name) ?? Promise.resolve()
    const update = former
      .catch(() => {})
      .then(async () => {
        const { session, lifetime } = this.inside
        for (let attempt = 1; ; attempt++) {
          // Puts that were called before have begun then: they have waited for longer.
          await this.learning.get(name)?.catch(() => {})
          await session.allDecided(name)
          const writes = session.writesOf(name)
          const entry = await this.get(key, { r, quorum, signal })
          // The entry is the function's own from here on.
          const context = entry.context.slice()
          // It may never end, and then nobody could update the key any more: whoever gave up writes nothing.
          const next = await lifetime.whileOpen(made(change, entry), signal)
          if (next === undefined)
            throw new ValueError('update: the function returned undefined. Return the next value, or use delete().')
          // Before it is looked at: puts that wait as well begin at the same time.
          while (lifetime.holdsWrites) await lifetime.writable(signal)
          if (session.writesOf(name) === writes || attempt === MAX_ATTEMPTS)
            return this.put(key, next, { w, quorum, durability, signal, context })
        }
      })
    this.updates.set(name, update)
    const ended = () => {
      if (this.updates.get(name) === update) this.updates.delete(name)
    }
    update.then(ended, ended)
    return this.inside.lifetime.whileOpen(update, signal)
  }

  /** Entries in the order of the keys. */
  async getMany(keys: Iterable<string>, options?: GetCallOptions): Promise<Entry<V>[]> {
    const { r, strictQuorum, signal } = this.getOptions(options, GET_OPTIONS)
    // A text is an iterable of texts as well, and never meant as one.
    if (typeof keys === 'string' || !isIterable(keys)) throw new OptionError('keys', 'give a list of keys.')
    const read = async (key: string) => this.whole(await this.read(this.key(key), r, strictQuorum))
    const all = await this.many(keys, read, signal)
    const { session, wallTime } = this.inside
    // The first ones are old by now where the handle has read or written the key meanwhile, or their time is over.
    const latest = all.map((found) => {
      const { name, entry, shown } = found
      const now = session.foundOf(name)
      const isAsItWas = now === shown && (expiryOf(entry) ?? Number.POSITIVE_INFINITY) > wallTime()
      return now === undefined || isAsItWas ? found : this.whole(this.found(name, now, entry.quorum))
    })
    return latest.map((found) => this.given(found))
  }

  /**
   * Receipts in the order of the pairs. When one put fails, the others go on; the first failure rejects. At most 256 are on their way at once: a put
   * of the same key that does not wait for this comes before the pair whose turn has not come, and that one's value is the one that it has by then.
   */
  async putMany(
    pairs: Iterable<readonly [string, V]> | AsyncIterable<readonly [string, V]>,
    options?: Omit<PutCallOptions, 'context'>,
  ): Promise<Receipt[]> {
    this.putOptions(options, MANY_PUT_OPTIONS)
    const { w, quorum, durability, signal } = options ?? {}
    if (!isIterable(pairs)) throw new OptionError('pairs', PAIRS)
    const write = async (pair: readonly [string, V]) => {
      if (!Array.isArray(pair) || pair.length !== 2) throw new OptionError('pairs', PAIRS)
      const [key, value] = pair as [string, V]
      return this.put(key, value, { w, quorum, durability, signal })
    }
    return this.many(pairs, write, signal)
  }

  /**
   * First the present entry (all entries of this bucket, for a prefix or where nothing is given), then each change, wherever it was made. Slow readers get the latest
   * state per key. Ends with `break` or `return()`, also while it waits, or with the reason of the signal.
   * @throws KeyError, OptionError, ClosedError
   */
  watch(
    target: WatchTarget = { prefix: '' },
    options?: { signal?: AbortSignal | undefined },
  ): AsyncGenerator<Entry<V>, void, undefined> {
    const { signal } = readCall(options, ['signal'])
    return this.follow(target, signal, false)
  }

  private follow(target: WatchTarget, signal: AbortSignal | undefined, outlivesFailure: boolean) {
    this.checkOpen()
    const { prefix, key } = readWatchTarget(target)
    return watch(
      {
        interest: key === undefined ? { prefix: this.prefix() + prefix } : { key: this.key(key) },
        inside: this.inside,
        read: async (name, ended) => {
          const reading = this.read(name, this.settings.r, false)
          return this.tolerant(await this.inside.lifetime.whileOpen(reading, ended))
        },
        scan: (ended) => this.scan({ prefix, signal: ended }),
        storeKey: (name) => this.key(name),
        outlivesFailure,
      },
      signal,
    )
  }

  /**
   * The callback form of `watch`; where this tab's disk fails and nobody else answers, it looks again later. What the listener throws
   * comes as an 'error' event of the store, and the listener is called on.
   * @returns a function that ends it. @throws KeyError, OptionError, ClosedError
   */
  subscribe(target: WatchTarget, listener: (entry: Entry<V>) => void): () => void {
    if (typeof listener !== 'function') throw new OptionError('listener', 'give a function that takes an entry.')
    const end = new AbortController()
    const entries = this.follow(target, end.signal, true)
    const run = async () => {
      for await (const entry of entries) {
        // It was on its way when the end came.
        if (end.signal.aborted || this.inside.lifetime.isOver) return
        try {
          // It may be an async function, whatever its type says.
          Promise.resolve(listener(entry)).catch((error) => this.inside.onError(error))
        } catch (error) {
          this.inside.onError(error)
        }
      }
    }
    run().catch((error) => {
      if (!end.signal.aborted && !(error instanceof ClosedError)) this.inside.onError(error)
    })
    return () => end.abort()
  }

  /** Every live key of the bucket in order (as JavaScript compares strings), over the whole ring. `complete` tells, after the loop, whether every partition was reached. */
  scan(options?: ScanOptions): Scan<V> {
    this.checkOpen()
    const { n, r } = this.settings
    const { node, session, onError } = this.inside
    const signal = options?.signal
    return new Scan(
      readScanOptions(options, this.prefix()),
      (range) => node.coordinator.scan(range, n, { r, strictQuorum: false }, session.liveKeys()),
      ({ key: name, container, outcome }) => {
        try {
          return this.tolerant(this.found(name, container, outcome))
        } catch (error) {
          if (!(error instanceof ValueError)) throw error
          // As for a record that is damaged everywhere: one value that nobody can read must not hide all others.
          onError(error)
          return undefined
        }
      },
      (work) => this.inside.lifetime.whileOpen(work, signal),
    )
  }

  /** The full name of a key of this bucket. @internal */
  key(key: unknown): StoreKey {
    this.checkOpen()
    checkKey(key)
    return storeKey(this.settings.n, this.settings.name, key)
  }

  private prefix(): string {
    return bucketPrefix(this.settings.n, this.settings.name)
  }

  private async read(name: StoreKey, r: number, strictQuorum: boolean): Promise<Found<V>> {
    const { node, turns } = this.inside
    const breath = turns.breath()
    if (breath !== undefined) await breath
    const outcome = await node.coordinator.get(name, { r, strictQuorum }).catch((error) => {
      throw publicError(error)
    })
    const { met, answers, needed } = outcome
    if (strictQuorum && !met)
      throw new QuorumError(
        `${answers} of ${needed} home nodes answered the get of ${JSON.stringify(name.slice(this.prefix().length))}.`,
        answers,
        needed,
        'none',
      )
    return this.found(name, outcome.container, outcome)
  }

  /** @throws ValueError */
  private found(name: StoreKey, container: Container, quorum: Quorum): Found<V> {
    const { room, session, conflicts, wallTime } = this.inside
    const shown = session.found(name, container)
    const entry: Entry<V> = toEntry(room, name, shown, quorumOf(quorum), this.settings.merge, wallTime())
    if (entry.conflict) conflicts.look(name, shown)
    return { name, entry, shown }
  }

  /** A key at which the merge fails is among others here: it is shown as a conflict, with all its versions, and the failure told. */
  private tolerant(found: Found<V>): Entry<V> {
    const mergeError = mergeErrorOf(found.entry)
    if (mergeError !== undefined) this.inside.onError(mergeError)
    return this.given(found)
  }

  private async write(
    key: string,
    value: Uint8Array | undefined,
    options: PutCallOptions | undefined,
  ): Promise<Receipt> {
    const name = this.key(key)
    const { w, strictQuorum, durability, signal, context: given } = this.putOptions(options, PUT_OPTIONS)
    signal?.throwIfAborted()
    const { node, session, wallTime, lifetime } = this.inside
    let context: CausalContext
    do {
      if (lifetime.holdsWrites) await lifetime.writable(signal)
      // Awaited only where the disk has to be asked: otherwise the dot is minted in the caller's own turn, in the order of the calls.
      const known = this.knownContext(name, given)
      if (!known) await lifetime.whileOpen(this.learnOwn(name), signal)
      // As of now: another call may have come first meanwhile, and its write is part of what this one descends from.
      context = known ?? session.contextOf(name)
    } while (lifetime.holdsWrites)
    const expiresAt = value && this.settings.ttl !== null ? wallTime() + this.settings.ttl : 0
    const { container, outcome } = node.coordinator.write(name, { value, expiresAt }, context, {
      w,
      strictQuorum,
      durability,
    })
    const result = outcome.then((reached) => {
      // Also where too few have it or nobody is known to, and its caller cannot tell: the next update must not begin where this one did.
      if (reached.acks.length > 0 || reached.mayBeElsewhere) session.found(name, container)
      return this.receipt(key, name, container.context, reached, strictQuorum, value ? 'put' : 'delete')
    })
    session.began(name, container.context, result)
    return lifetime.whileOpen(result, signal)
  }

  private knownContext(name: StoreKey, given: Context | null | undefined): CausalContext | undefined {
    const { session, node, room } = this.inside
    if (given === null) return EMPTY_CONTEXT
    if (given !== undefined) return readContext(room, name, given)
    if (this.learning.has(name)) return undefined
    if (session.knows(name) || !node.coordinator.mayHaveWritten(name)) return session.contextOf(name)
    return undefined
  }

  private learnOwn(name: StoreKey): Promise<void> {
    const { session, node } = this.inside
    const underWay = this.learning.get(name)
    if (underWay !== undefined) return underWay
    const learning = node.coordinator.ownContext(name).then((context) => session.knew(name, context))
    this.learning.set(name, learning)
    const ended = () => this.learning.delete(name)
    learning.then(ended, ended)
    return learning
  }

  private receipt(
    key: string,
    name: StoreKey,
    context: CausalContext,
    reached: PutOutcome,
    strictQuorum: boolean,
    verb: 'put' | 'delete',
  ): Receipt {
    const { met, sloppy, answers, needed, acks, hintedFor, mayBeElsewhere, refused, storageError } = reached
    if (refused) throw new SiblingLimitError(key, this.inside.node.options.tuning.maxSiblings)
    // In one place at least it is durable, if only at a peer.
    if (storageError !== undefined) {
      if (acks.length === 0)
        throw publicError(storageError, mayBeElsewhere ? ' Another tab may have it all the same.' : '')
      // It resolves by what others confirm: nothing else would tell that this tab holds no copy of it.
      this.inside.node.report(storageError)
    }
    if (strictQuorum && !met) {
      throw new QuorumError(
        `${answers} of ${needed} home nodes confirmed the ${verb} of ${JSON.stringify(key)} in time. Its outcome is unknown: it may still take effect.`,
        answers,
        needed,
        'unknown',
      )
    }
    const quorum: Quorum = { met, sloppy, answers, needed, cached: false }
    return { key, context: encodeToken(this.inside.room, name, context), quorum, acks, hintedFor }
  }

  private getOptions(options: GetCallOptions | undefined, known: readonly string[]) {
    const { r, quorum, signal } = readCall(options, known)
    return { r: this.quorumSize(r, this.settings.r, 'r'), strictQuorum: readQuorumMode(quorum), signal }
  }

  private putOptions(options: PutCallOptions | undefined, known: readonly string[]) {
    const { w, quorum, durability = 'strict', signal, context } = readCall(options, known)
    if (!['strict', 'relaxed', 'all'].includes(durability))
      throw new OptionError('durability', "give 'strict', 'relaxed' or 'all'.")
    return {
      w: this.quorumSize(w, this.settings.w, 'w'),
      strictQuorum: readQuorumMode(quorum),
      durability,
      signal,
      context,
    }
  }

  private quorumSize(given: unknown, byDefault: number, name: string): number {
    if (given === undefined) return byDefault
    checkQuorum(given, this.settings.n, name)
    return given
  }

  /** Ends with the store or the signal, also while the source lets it wait; what the source gives then is not taken any more. */
  private async many<T, R>(
    items: Iterable<T> | AsyncIterable<T>,
    work: (item: T) => Promise<R>,
    signal: AbortSignal | undefined,
  ): Promise<R[]> {
    this.checkOpen()
    signal?.throwIfAborted()
    return this.inside.lifetime.whileOpen(this.takeAll(items, work, signal), signal)
  }

  private async takeAll<T, R>(
    items: Iterable<T> | AsyncIterable<T>,
    work: (item: T) => Promise<R>,
    signal: AbortSignal | undefined,
  ): Promise<R[]> {
    const results: Promise<R>[] = []
    let running = 0
    let wake: () => void = () => {}
    const isOver = () => signal?.aborted || this.inside.lifetime.isOver
    const room = () =>
      new Promise<void>((resolve) => {
        wake = resolve
      })
    const take = (item: T) => {
      running++
      const result = work(item)
      results.push(result)
      const ended = () => {
        running--
        wake()
      }
      result.then(ended, ended)
    }
    if (isAtHand(items)) {
      // Without a pause where there is room: what is called after this comes after it. A collection may be filled anew meanwhile, for the next call.
      for (const item of isCollection(items) ? [...items] : items) {
        if (running >= WINDOW) await room()
        if (isOver()) break
        take(item)
      }
    } else {
      for await (const item of items) {
        if (running >= WINDOW) await room()
        if (isOver()) break
        take(item)
      }
    }
    return Promise.all(results)
  }

  private checkOpen(): void {
    this.inside.lifetime.check()
  }
}

async function made<V>(change: (value: V | undefined, entry: Entry<V>) => V | Promise<V>, entry: Entry<V>): Promise<V> {
  return change(entry.value, entry)
}

const PAIRS = 'give an iterable of [key, value] arrays.'

function isIterable(given: unknown): boolean {
  const { [Symbol.iterator]: now, [Symbol.asyncIterator]: later } = Object(given)
  return typeof now === 'function' || typeof later === 'function'
}

function isAtHand<T>(items: Iterable<T> | AsyncIterable<T>): items is Iterable<T> {
  return typeof Object(items)[Symbol.asyncIterator] !== 'function'
}

function isCollection(items: unknown): boolean {
  return Array.isArray(items) || items instanceof Map || items instanceof Set
}

function quorumOf({ met, sloppy, answers, needed, cached }: Quorum): Quorum {
  return { met, sloppy, answers, needed, cached }
}

function readQuorumMode(given: unknown): boolean {
  if (given !== undefined && given !== 'sloppy' && given !== 'strict')
    throw new OptionError('quorum', "give 'sloppy' or 'strict'.")
  return given === 'strict'
}
