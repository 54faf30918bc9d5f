/**
 * What a node does for the applications of its own tab: it is the coordinator of all their puts and gets (§4.5), wherever the keys live. Relies on
 * routing, peers and replica; relied on by the store.
 */
import type { Background } from '../background.js'
import { Emitter } from '../emitter.js'
import { type Clock, StorageFailure } from '../environment.js'
import { type ActorId, type NodeId, type ReplicationFactor, type StoreKey, nodeOfActor } from '../ids.js'
import type { Metrics } from '../metrics.js'
import type { Minter } from '../minter.js'
import type { Peers } from '../peers.js'
import { RateLimit } from '../rate-limit.js'
import type { Duties } from '../replica/duties.js'
import type { Forgettings } from '../replica/forgettings.js'
import type { Entry, Replica } from '../replica/replica.js'
import type { Routing } from '../routing.js'
import type { Tuning } from '../tuning.js'
import { type Container, EMPTY_CONTAINER, mergeContainers, writtenContainer } from '../versions/container.js'
import { type CausalContext, type Dot, EMPTY_CONTEXT, covers, restrict } from '../versions/context.js'
import { checksumOf } from '../versions/encoding.js'
import type { Copies } from './copies.js'
import { type GetOptions, type GetOutcome, coordinateGet } from './get.js'
import { type PutOptions, type PutOutcome, coordinatePut } from './put.js'
import { Scan, type ScanRange } from './scan.js'
import type { UnderWay } from './under-way.js'

export interface CoordinatorContext {
  routing: Routing
  peers: Peers
  replica: Replica
  /** Of keys that this node is no home of. */
  copies: Copies
  duties: Duties
  underWay: UnderWay
  minter: Minter
  forgettings: Forgettings
  background: Background
  metrics: Metrics
  clock: Clock
  tuning: Tuning
  onError: (error: unknown) => void
}

export interface CoordinatorEvents {
  repair: { key: StoreKey; nodes: NodeId[] }
  /** Nobody took this put of the tab: whoever was shown it here while it was under way, must not keep it. */
  refused: { key: StoreKey; dot: Dot }
  /** A put has come to its end. */
  settled: undefined
}

/** What a put writes: bytes, or nothing for a delete. */
export interface Written {
  value: Uint8Array | undefined
  expiresAt: number
}

const REPAIRS_PER_SECOND = 50
const ONE_ANSWER: GetOptions = { r: 1, strictQuorum: false }

export class Coordinator {
  readonly events = new Emitter<CoordinatorEvents>()
  private readonly unsettledPuts = new Set<Promise<void>>()
  private readonly repairs: RateLimit

  constructor(private readonly context: CoordinatorContext) {
    this.repairs = new RateLimit(context.clock, REPAIRS_PER_SECOND)
  }

  /** True when every write issued here, also in a former life, is at all its homes. */
  get synced(): boolean {
    return this.isSettled && this.context.underWay.isOver
  }

  /** Nothing is in flight, and there is no hint of this node's own. */
  get isSettled(): boolean {
    return this.unsettledPuts.size === 0 && this.context.replica.hints.own === 0
  }

  /**
   * Writes one version of a key, descending from `context`. The dot is minted at once, so calls keep their order.
   * `outcome` tells how it went at the moment of decision (§4.5).
   */
  write(
    key: StoreKey,
    written: Written,
    context: CausalContext,
    options: PutOptions,
  ): { container: Container; outcome: Promise<PutOutcome> } {
    const { background, metrics, clock } = this.context
    const { value } = written
    const start = clock.now()
    const { sibling, container, put } = this.begin(key, written, context, options)
    const outcome = background.foreground(put.outcome).then((result) => {
      if (result.refused) this.events.emit('refused', { key, dot: sibling.dot })
      // What nobody has taken must not be shown as if it were somewhere.
      else if (result.acks.length > 0) this.keepCopy(key, container, false)
      metrics.count(value ? 'puts' : 'deletes')
      metrics.latency('put', clock.now() - start)
      return result
    })
    return { container, outcome }
  }

  /** Puts a tombstone in the place of these versions, which have expired or are tombstones. Background work: no application waits for it, and none has deleted anything. */
  expire(key: StoreKey, expired: CausalContext): { container: Container; outcome: Promise<PutOutcome> } {
    const options: PutOptions = { w: 1, strictQuorum: false, durability: 'relaxed' }
    const { container, put } = this.begin(key, { value: undefined, expiresAt: 0 }, expired, options)
    return { container, outcome: put.outcome }
  }

  /** Mints the dot of a put and sends it on its way. */
  private begin(key: StoreKey, { value, expiresAt }: Written, context: CausalContext, options: PutOptions) {
    const sibling = { dot: this.context.minter.mint(key), value, expiresAt, checksum: value ? checksumOf(value) : 0 }
    const container = writtenContainer(context, sibling)
    const { underWay } = this.context
    underWay.began()
    const put = coordinatePut({ key, container }, options, this.context)
    void put.settled.then(() => underWay.ended())
    this.notSyncedUntil(put.settled)
    return { sibling, container, put }
  }

  private notSyncedUntil(settled: Promise<void>): void {
    this.unsettledPuts.add(settled)
    void settled.then(() => {
      this.unsettledPuts.delete(settled)
      this.events.emit('settled', undefined)
    })
  }

  /** @throws StorageFailure, or MalformedError for a damaged record, when this tab's disk failed and nobody else answered. */
  async get(key: StoreKey, options: GetOptions): Promise<GetOutcome> {
    const { replica, duties, routing, forgettings, background, metrics, clock } = this.context
    const start = clock.now()
    const begun = forgettings.now
    const { withdrawn } = replica.hints
    const outcome = await background.foreground(
      coordinateGet(key, options, {
        ...this.context,
        isComplete: (asked) => duties.isComplete(routing.addressOf(asked).partition),
        mayRepair: () => !forgettings.since(begun, key) && this.repairs.take(),
        repaired: (repaired, nodes) => {
          metrics.count('readRepairs', nodes.length)
          this.events.emit('repair', { key: repaired, nodes })
        },
      }),
    )
    // What it gathered may be what has been deleted and forgotten meanwhile: nobody could tell, neither the session nor a copy.
    if (forgettings.since(begun, key)) return this.get(key, options)
    const { container, met, sloppy, cached, undecided } = outcome
    // It may have been shown a put of this tab that has been refused meanwhile.
    if (undecided && withdrawn !== replica.hints.withdrawn) return this.get(key, options)
    if (!cached && !undecided) this.keepCopy(key, container, met && !sloppy)
    metrics.count('gets')
    metrics.latency('get', clock.now() - start)
    return outcome
  }

  /**
   * All live keys of a range in order, from every reachable member; the range lies within one replication factor.
   * @param known keys that who asks has seen somewhere: each that nobody shows is read.
   */
  scan(range: ScanRange, n: ReplicationFactor, options: GetOptions, known: readonly StoreKey[] = []): Scan {
    const { duties } = this.context
    const context = {
      ...this.context,
      lacking: () => duties.lacking(n),
      partitions: duties.partitionsOf(n),
      get: (key: StoreKey) => this.get(key, options),
      answers: options.r,
      seen: (key: StoreKey, container: Container) => this.keepCopy(key, container, true),
    }
    return new Scan(range, context, known)
  }

  /**
   * What this node itself wrote to the key, and what that had seen, in this life or an earlier one, as far as its own disk knows: a put without any
   * other context descends from that, so that a reloaded tab does not conflict with itself.
   * @throws StorageFailure when this tab's disk cannot be read and nobody else answers
   */
  async ownContext(key: StoreKey): Promise<CausalContext> {
    const { replica, copies } = this.context
    if (!this.mayHaveWritten(key)) return EMPTY_CONTEXT
    // Of a key of which it is no home, a copy is all that it has, once its hint has been delivered. A disk that fails need not keep anybody from writing.
    const copy = copies.has(key) ? await copies.own(key).catch(() => EMPTY_CONTAINER) : EMPTY_CONTAINER
    const [stored] = replica.certainlyAbsent(key) ? [EMPTY_CONTAINER] : await replica.readEach([key]).catch(() => [])
    const own = stored && mergeContainers(stored, copy)
    // What cannot be read here, the other homes still have; where there are none, and it is damaged, the write begins anew.
    const ofOthers = async () => (await this.get(key, ONE_ANSWER)).container
    const container =
      own ??
      (await ofOthers().catch((error) => {
        if (error instanceof StorageFailure) throw error
      }))
    if (!container) return EMPTY_CONTEXT
    const isOwn = (actor: ActorId) => this.isOwn(actor)
    // What versions of this node alone have replaced stays replaced. Beside others' versions nobody can tell which of them has replaced what.
    return container.siblings.every(({ dot }) => isOwn(dot.actor))
      ? container.context
      : restrict(container.context, isOwn)
  }

  /**
   * What goes from this disk, a record with its partition or a hint that was delivered: a version of this node stays as a copy, or nothing would tell later
   * what it has written. Resolves when it is on the disk, or the disk does not take it.
   */
  async keepOwn(entries: Entry[]): Promise<void> {
    const { copies } = this.context
    const own = entries.filter(({ container }) => container.siblings.some(({ dot }) => this.isOwn(dot.actor)))
    for (const { key, container } of own) this.keepCopy(key, container, false)
    if (own.length > 0) await copies.flush().catch(() => {})
  }

  private isOwn(actor: ActorId): boolean {
    return nodeOfActor(actor) === this.context.routing.self
  }

  /** False where this node's disk has nothing of the key, from no life of it. */
  mayHaveWritten(key: StoreKey): boolean {
    const { replica, copies } = this.context
    return !replica.certainlyAbsent(key) || copies.has(key)
  }

  /** Keeps versions that are in memory and no longer on the disk, with the dots that they have, for all homes. */
  handBack(entries: Entry[]): void {
    const { replica, routing, onError } = this.context
    for (const entry of entries) {
      const homes = routing.homes(entry.key)
      const asRecord = homes.includes(routing.self)
      const hintFor = homes.filter((home) => home !== routing.self)
      const kept = replica.store([entry], { asRecord, hintFor, own: true, durability: 'strict', maxSiblings: 0 })
      this.notSyncedUntil(kept.then(() => {}, onError))
    }
  }

  private keepCopy(key: StoreKey, container: Container, whole: boolean): void {
    const { replica, routing, copies, minter } = this.context
    if (replica.pressure.refusesHints || routing.homes(key).includes(routing.self)) return
    const last = minter.last(key)
    // What was asked for before this tab wrote says nothing of that: it does not take its place.
    copies.keep(key, container, whole && (!last || covers(container.context, last)))
  }
}
