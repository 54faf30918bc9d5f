/**
 * One Dynamo node: wires the parts together and offers what the store builds on. The mechanisms live in the parts; here is what concerns all of
 * them: start, end, and a disk that was lost. Start order matters: what the disk knows is loaded before the first frame can arrive.
 */
import { Background } from './background.js'
import { Bookkeeping } from './bookkeeping.js'
import { Emitter } from './emitter.js'
import {
  type Address,
  type Clock,
  MAX_TTL_MS,
  type Random,
  type Storage,
  StorageFailure,
  type Transport,
  isQuota,
} from './environment.js'
import {
  type DeviceId,
  type NodeId,
  type Partition,
  type ReplicationFactor,
  type StoreKey,
  parseStoreKey,
} from './ids.js'
import { Gossip } from './membership/gossip.js'
import { Membership } from './membership/membership.js'
import type { MemberRecord } from './membership/records.js'
import { restored } from './meta.js'
import { Metrics } from './metrics.js'
import { Minter } from './minter.js'
import { type Identity, Peers } from './peers.js'
import { Duties } from './replica/duties.js'
import { type Agreed, Forgettings } from './replica/forgettings.js'
import { Replica } from './replica/replica.js'
import { type Orphan, adopt } from './requests/adoption.js'
import { Coordinator, type CoordinatorEvents } from './requests/coordinator.js'
import { type Attic, Copies } from './requests/copies.js'
import { Handoff } from './requests/handoff.js'
import { Interests } from './requests/interests.js'
import { serveRequests } from './requests/serve.js'
import { MARK, UnderWay } from './requests/under-way.js'
import { addressOf } from './ring/partitions.js'
import { Routing } from './routing.js'
import { AntiEntropy } from './sync/anti-entropy.js'
import { Exchange } from './sync/exchange.js'
import { Reaping } from './sync/reaping.js'
import { Scrub } from './sync/scrub.js'
import { Transfers } from './sync/transfers.js'
import type { Tuning } from './tuning.js'
import { encodeMessagePack } from './versions/messagepack.js'
import { count } from './wire.js'

export interface Environment {
  clock: Clock
  random: Random
  storage: Storage
  transport: Transport
  attic?: Attic
}

export interface NodeOptions {
  node: NodeId
  device: DeviceId
  name: string
  capacity: number
  /** Room parameters that all peers must share, as text; compared in the handshake. */
  config: string
  /** The replication factors of all buckets in use. */
  replication: ReplicationFactor[]
  tuning: Tuning
}

export interface NodeEvents extends Pick<CoordinatorEvents, 'repair' | 'refused'> {
  error: unknown
  /** Something that `status` shows may have changed. */
  status: undefined
  member: MemberRecord
  mismatch: { node: NodeId; theirs: string; ours: string }
  handoff: { node: NodeId; keys: number; left: number }
  transfer: { node: NodeId; partitions: number; keys: number; left: number }
  /** The disk was found empty: what only this node had is gone, and all else comes back from the others. */
  reborn: undefined
  /** Keys taken over from the disk of a closed tab, and how many are left on it. */
  adoption: { node: NodeId; keys: number; left: number }
  sync: { peer: NodeId; pulled: number; pushed: number }
  /** Sessions must not keep other versions of these keys than what is left: their replacement or deletion is about to be forgotten. */
  forgetting: Agreed[]
}

const MAX_ADDRESSES = 10_000
const REFRESH_WITHIN_MS = 1000
/** Homes that fetch, or are cut off for a moment, are asked again; after that it is for the scrub. */
const HAND_OVER_AFTER_MS = [0, 2000, 4000, 8000]
const LIFE_LENGTH = 8
/** Longer than any frame lives that still tells of it as a member, and long enough to be seen by people. */
const LEFT_REMEMBERED_MS = 10 * MAX_TTL_MS

export class Node {
  readonly events = new Emitter<NodeEvents>()
  readonly metrics = new Metrics()
  readonly background: Background
  readonly membership: Membership
  readonly peers: Peers
  readonly replica: Replica
  /** Of keys that this node is no home of. */
  readonly copies: Copies
  readonly routing: Routing
  readonly interests: Interests
  readonly duties: Duties
  readonly underWay: UnderWay
  readonly handoff: Handoff
  readonly transfers: Transfers
  readonly antiEntropy: AntiEntropy
  readonly scrub: Scrub
  readonly exchange: Exchange
  readonly gossip: Gossip
  /** What the node does for its own applications. */
  readonly coordinator: Coordinator
  readonly reaping: Reaping
  private readonly minter: Minter
  private readonly forgettings = new Forgettings()
  private readonly bookkeeping: Bookkeeping
  private stopped = false
  private isHandingOver = false
  /** What adoptions are taking over just now; they do not reject. */
  private readonly takings = new Set<Promise<void>>()
  private refreshing: Promise<void> | undefined

  /** Loads the node's past from its disk and joins (§4.8.1: opening is the explicit join). @throws StorageFailure */
  static async start(options: NodeOptions, environment: Environment): Promise<Node> {
    let isEmptied = false
    let onEmptied = () => {
      isEmptied = true
    }
    // Registered before load(): a deletion is reported once, and it may happen while loading.
    environment.storage.onEmptied(() => onEmptied())
    const state = await environment.storage.load()
    const incarnation = (restored(state.meta.get('incarnation'), count) ?? 0) + 1
    const node = new Node(options, environment, incarnation)
    node.replica.forest.update(state.leafGroups)
    // Earlier versions took hints for what is no key. They belong nowhere, and would be in the way of the others.
    const hints = state.hints.filter(({ key }) => parseStoreKey(key))
    for (const { key, homes, own } of hints) node.replica.hints.set(key, { homes, own })
    node.copies.restore(state.copies)
    node.minter.restore(state.meta.get('actors'))
    node.duties.restore(state.meta.get('complete'), state.meta.get('alone'))
    // After that: it may say that this node was about to leave, and then what was whole is so no longer.
    node.membership.restore(state.meta.get('members'), state.meta.get('heard'), state.meta.get('met'))
    for (const n of options.replication) node.duties.addClass(n)
    // After that: it looks who the homes are. Who does not compare would never know.
    if (options.tuning.merkleSync) node.underWay.restore(state.meta.get(MARK))
    try {
      await node.keepLife()
    } catch (error) {
      // A full disk can still be read, and says no to each write by itself.
      if (!isQuota(error)) {
        // What was loaded has set timers already, and one that writes would come again and again.
        node.stopped = true
        for (const part of [node.bookkeeping, node.transfers, node.antiEntropy]) part.stop()
        throw error
      }
      node.replica.pressure.commitFailed(error)
    }
    node.run()
    onEmptied = () => node.reborn()
    if (isEmptied) {
      node.startAnew()
      // In the next turn: nobody listens to the node yet.
      environment.clock.setTimer(0, () => node.tellReborn())
    }
    return node
  }

  private constructor(
    readonly options: NodeOptions,
    private readonly environment: Environment,
    incarnation: number,
  ) {
    const { clock, random, storage, transport } = environment
    const { node, device, name, capacity, tuning } = options
    const onError = (error: unknown) => this.report(error)
    const life = random.id(LIFE_LENGTH)
    const identity: Identity = { node, device, incarnation, life, config: `Q=${tuning.partitions};${options.config}` }
    // Every operation asks several times where its key lives.
    const addresses = new Map<StoreKey, Address>()
    const address = (key: StoreKey): Address => {
      const known = addresses.get(key)
      if (known) return known
      if (addresses.size >= MAX_ADDRESSES) addresses.clear()
      const found = addressOf(key, tuning.partitions)
      addresses.set(key, found)
      return found
    }
    this.minter = new Minter(node, random, () => this.keepLife().catch(() => {}))
    this.background = new Background(clock)
    this.membership = new Membership(
      { node, device, incarnation, state: 'up', capacity, name },
      clock,
      tuning.partitions,
    )
    const { heartbeatIntervalMs, suspicionPhi } = tuning
    const member = () => this.membership.self
    const replaced = (other: NodeId) => this.membership.replacedAs(other)
    const isEmpty = () => this.isEmpty
    this.peers = new Peers(
      identity,
      clock,
      transport,
      { heartbeatIntervalMs, suspicionPhi, member, replaced, isEmpty },
      onError,
    )
    // Before anything else hears that the peer is up: whoever is connected is a member.
    this.peers.events.on('greeted', (record) => this.membership.absorb([record], record.node))
    this.peers.events.on('replaced', ({ node, incarnation }) => this.membership.wasReplacedAs(incarnation, node))
    this.bookkeeping = new Bookkeeping(
      storage,
      clock,
      () => [
        ['members', this.membership.encoded()],
        ['heard', this.membership.encodedHeard()],
        ...(this.membership.hasMet ? [['met', new Uint8Array(1)] as [string, Uint8Array]] : []),
        ['complete', this.duties.encoded()],
        ['alone', this.duties.encodedAlone()],
      ],
      onError,
    )
    this.replica = new Replica(storage, address, clock, (own) => this.coordinator.keepOwn(own))
    // As nobody relies on them, a disk that refuses them is no news.
    this.copies = new Copies(storage, clock, tuning.maxCopiesBytes, environment.attic, () => {}, onError)
    this.routing = new Routing(node, this.membership, this.peers, address, tuning.partitions)
    this.duties = new Duties(
      node,
      this.routing,
      this.membership,
      tuning.partitions,
      (partition) => this.replica.forest.recordsIn(partition),
      () => this.bookkeeping.changed(),
    )
    const strays = () => this.transfers.strays()
    const isLacking = () => this.transfers.isLacking
    this.underWay = new UnderWay(storage, this.replica.forest, this.duties, this.routing, clock, strays, isLacking)
    this.gossip = new Gossip(this.membership, this.peers, clock, random, tuning.gossipIntervalMs)
    this.interests = new Interests(this.replica, this.peers, clock)
    this.handoff = new Handoff(this.replica, this.routing, this.peers, this.background, clock, tuning, onError)
    const isLeaving = () => this.membership.isLeaving(node)
    this.exchange = new Exchange(this.replica, this.peers, this.background, clock, tuning, isLeaving, onError)
    this.transfers = new Transfers(
      this.duties,
      this.exchange,
      this.replica,
      this.routing,
      this.membership,
      this.peers,
      this.background,
      clock,
      tuning.standInAfterMs,
      () => this.bookkeeping.write(),
      (entries) => this.coordinator.keepOwn(entries),
      onError,
    )
    this.antiEntropy = new AntiEntropy(
      this.exchange,
      this.transfers,
      this.duties,
      this.routing,
      this.membership,
      this.peers,
      clock,
      random,
      tuning,
      onError,
    )
    this.reaping = new Reaping(
      this.replica,
      this.routing,
      this.membership,
      this.peers,
      this.background,
      clock,
      tuning,
      () => this.bookkeeping.isWritten,
      ({ context }) => !this.membership.hasMet && !this.minter.mintedAll(context),
      async (agreed) => {
        this.forgettings.note(agreed.map(({ key }) => key))
        this.events.emit('forgetting', agreed)
        await this.copies.settle(agreed)
      },
      onError,
    )
    this.coordinator = new Coordinator({
      routing: this.routing,
      peers: this.peers,
      replica: this.replica,
      copies: this.copies,
      duties: this.duties,
      underWay: this.underWay,
      minter: this.minter,
      forgettings: this.forgettings,
      background: this.background,
      metrics: this.metrics,
      clock,
      tuning,
      onError,
    })
    this.scrub = new Scrub({
      replica: this.replica,
      routing: this.routing,
      peers: this.peers,
      background: this.background,
      clock,
      intervalMs: tuning.scrubIntervalMs,
      expire: (key, expired) => this.coordinator.expire(key, expired).outcome,
      duties: () => this.duties.held(),
      consider: (key, container) => this.reaping.consider(key, container),
      also: () => this.transfers.releaseStrays(),
      onError,
    })
    this.replica.events.on('damaged', ({ key }) => this.scrub.suspect(key))
    serveRequests(this.peers, {
      replica: this.replica,
      tuning,
      isComplete: (key) => this.duties.isComplete(address(key).partition),
      isHome: (key) => this.duties.isHome(address(key).partition),
      isLeaving,
      // The start of a range may be a bucket's, with no key behind it.
      lacking: (from) => {
        const n = parseStoreKey(`${from}\0`)?.n
        return n === undefined ? [] : this.duties.lacking(n)
      },
      observe: (entries) => {
        for (const { key, container } of entries) this.minter.observe(key, container)
      },
      onStorageFailure: onError,
      refreshed: () => this.refreshing,
    })
    this.forwardEvents()
  }

  /** Nothing runs before everything is loaded. */
  private run(): void {
    const { clock, transport } = this.environment
    this.peers.start()
    this.gossip.start()
    this.handoff.start()
    this.antiEntropy.start()
    this.reaping.start()
    this.scrub.start()
    transport.want(this.membership.placed())
    const { gossipIntervalMs, replaceAfterMs } = this.options.tuning
    const sleepers = () => {
      if (this.stopped) return
      this.peers.noticeTime()
      this.gossip.noteSignsOfLife()
      this.membership.sleepSilent(replaceAfterMs)
      this.membership.forgetLeft(this.gossip.everybodyAgrees() ? LEFT_REMEMBERED_MS : Number.POSITIVE_INFINITY)
      clock.setTimer(gossipIntervalMs, sleepers)
    }
    sleepers()
  }

  /** After a pause: who stood still has heard nobody, and first has to listen (P43); and who the members are comes before any answer. */
  private refresh(): void {
    this.membership.startListening()
    this.refreshing ??= Promise.race([this.gossip.refresh(), this.pause(REFRESH_WITHIN_MS)]).then(() => {
      this.refreshing = undefined
    })
  }

  /** Somebody deleted the disk under this node. It goes on as one that lost everything: with a new epoch, and nothing it could deny. */
  private reborn(): void {
    if (this.stopped) return
    this.startAnew()
    this.tellReborn()
  }

  private startAnew(): void {
    this.minter.lost()
    this.replica.lost()
    this.underWay.lost()
    this.copies.lost()
    this.duties.distrustAll()
    this.membership.declare({})
    this.transfers.fill()
    this.keepLife().catch((error) => this.report(error))
  }

  private tellReborn(): void {
    if (this.stopped) return
    this.report(new StorageFailure('lost', 'the node goes on with an empty one'))
    this.events.emit('reborn', undefined)
    this.events.emit('status', undefined)
  }

  /** Before the first put of a life, or of an actor: what was minted by one that is not noted counts as somebody else's. */
  private async keepLife(): Promise<void> {
    const { incarnation } = this.membership.self
    const meta: [string, Uint8Array][] = [['incarnation', encodeMessagePack(incarnation)]]
    // Once it has met others, it asks them, and need not know.
    if (!this.membership.hasMet) meta.push(['actors', this.minter.encodedActors()])
    await this.environment.storage.commit({ meta }, 'relaxed')
  }

  private forwardEvents(): void {
    const { membership, peers, handoff, transfers, antiEntropy, coordinator, events } = this
    // Copies are the first to make room.
    this.replica.pressure.events.on('changed', (refuses) => {
      if (refuses !== 'nothing') this.copies.clear().catch(() => {})
      events.emit('status', undefined)
    })
    membership.events.on('changed', (records) => {
      for (const record of records) events.emit('member', record)
      this.environment.transport.want(membership.placed())
      this.bookkeeping.changed()
      this.gossip.spread()
    })
    membership.events.on('placement', ({ joined }) => {
      // Who has data, or has looked for some among others, need not ask whether it was missing what a newcomer does not have either.
      const knowsNothing = this.isEmpty && this.duties.isFounder
      const bringing = knowsNothing ? joined : joined.filter((node) => !this.peers.cameEmpty(node))
      this.duties.placementChanged(bringing)
      this.transfers.offer()
      this.transfers.fillSoon()
      this.antiEntropy.placementChanged()
      this.underWay.placementChanged(this.duties.wereTooFew(joined) ? joined : bringing, membership.placed())
      this.handoff.reroute().catch((error) => this.report(error))
      // At once: whoever was alone, and is closed before this is written, takes itself for the only one again.
      if (joined.length > 0 && membership.placed().length <= joined.length + 1) void this.bookkeeping.keep()
      events.emit('status', undefined)
    })
    peers.events.on('brings', (node) => {
      this.duties.placementChanged([node])
      this.transfers.fillSoon()
      this.antiEntropy.placementChanged()
      this.underWay.placementChanged([node], membership.placed())
      events.emit('status', undefined)
    })
    membership.events.on('replaced', () => {
      this.duties.distrustAll()
      // A restart in the next moment must know it too.
      void this.bookkeeping.keep()
      // Not from the first one that is met: it may have come back as well, and not have heard yet that it was replaced.
      this.transfers.fillSoon()
    })
    for (const type of ['up', 'down'] as const) {
      peers.events.on(type, (node) => {
        const record = membership.get(node)
        if (record) events.emit('member', record)
        events.emit('status', undefined)
      })
    }
    peers.events.on('woke', () => this.refresh())
    peers.events.on('mismatch', (mismatch) => events.emit('mismatch', mismatch))
    peers.events.on('malformed', () => this.metrics.count('malformedFrames'))
    handoff.events.on('delivered', ({ home, keys, left }) => {
      this.metrics.count('hintsDelivered', keys)
      events.emit('handoff', { node: home, keys, left })
    })
    this.replica.hints.events.on('fewer', () => events.emit('status', undefined))
    transfers.events.on('filled', ({ from, partitions, containers, left }) => {
      this.metrics.count('keysTransferred', containers)
      events.emit('transfer', { node: from, partitions, keys: containers, left })
      events.emit('status', undefined)
    })
    transfers.events.on('released', () => this.lookWhatIsLeft())
    transfers.events.on('complete', () => this.lookWhatIsLeft())
    coordinator.events.on('repair', (repair) => events.emit('repair', repair))
    coordinator.events.on('refused', (put) => events.emit('refused', put))
    coordinator.events.on('settled', () => events.emit('status', undefined))
    antiEntropy.events.on('standIns', () => events.emit('status', undefined))
    antiEntropy.events.on('equal', (peer) => {
      this.underWay.foundEqual(peer)
      this.lookWhatIsLeft()
    })
    antiEntropy.events.on('synced', (result) => {
      this.metrics.count('syncPulled', result.pulled)
      this.metrics.count('syncPushed', result.pushed)
      if (result.pulled + result.pushed > 0) events.emit('sync', result)
    })
  }

  /** Something that `synced` waits for has come about. */
  private lookWhatIsLeft(): void {
    if (this.underWay.look()) this.events.emit('status', undefined)
    else this.handOverSoon().catch((error) => this.report(error))
  }

  /** The scrub does it with each of its rounds; but whoever waits for this node to be synced would wait half a minute for the next. */
  private async handOverSoon(): Promise<void> {
    if (this.isHandingOver) return
    this.isHandingOver = true
    try {
      for (const waitMs of HAND_OVER_AFTER_MS) {
        await this.pause(waitMs)
        if (this.stopped || !this.underWay.onlyStraysLeft) return
        await this.transfers.releaseStrays()
      }
    } finally {
      this.isHandingOver = false
    }
  }

  /**
   * Takes over everything on the disk of a closed tab of this device, in whose place it says that the node has left. Afterwards nothing
   * is on that disk any more, and it may be deleted.
   * @throws StorageFailure; whatever was not taken over by then is still there
   */
  async adopt(orphan: Orphan): Promise<void> {
    const { replica, routing, membership, peers, background, options } = this
    await adopt(orphan, {
      device: options.device,
      replica,
      routing,
      membership,
      peers,
      background,
      tuning: options.tuning,
      // What a leaver takes would be lost with it.
      stopped: () => this.stopped || membership.isLeaving(options.node),
      taking: (work) => {
        const ended = work.catch(() => {}).then(() => void this.takings.delete(ended))
        this.takings.add(ended)
        return work
      },
      onError: (error) => this.report(error),
      progress: (keys, left) => this.events.emit('adoption', { node: orphan.node, keys, left }),
    })
    // Before the disk is deleted: that the node has left must not be forgotten with this tab.
    await this.bookkeeping.write()
    await replica.flush()
    this.events.emit('status', undefined)
  }

  /** Resolves when no adoption is just taking anything; one that sees that this node leaves takes nothing more. */
  async taken(): Promise<void> {
    await Promise.all(this.takings)
  }

  /** It holds nothing at all, of its own or for others. */
  private get isEmpty(): boolean {
    return this.replica.forest.records === 0 && this.replica.hints.pending === 0
  }

  partitionOf(key: StoreKey): Partition {
    return this.routing.addressOf(key).partition
  }

  /** Resolves after some time on this node's clock. */
  pause(ms: number): Promise<void> {
    return new Promise((resolve) => this.environment.clock.setTimer(ms, resolve))
  }

  /** Says goodbye and stops. What is not written yet is not waited for; see `flush` in the store. */
  async stop(): Promise<void> {
    if (this.stopped) return
    this.stopped = true
    this.bookkeeping.stop()
    for (const part of [
      this.gossip,
      this.handoff,
      this.transfers,
      this.antiEntropy,
      this.reaping,
      this.scrub,
      this.interests,
      this.background,
    ])
      part.stop()
    this.peers.stop()
    await this.copies.stop().catch(() => {})
    await this.underWay.stop()
    // Bookkeeping only: a full disk must not keep a tab from closing.
    await this.bookkeeping.keep()
  }

  /** Tells of what nobody waits for; that a node which has stopped, or leaves, takes up no more is no news. */
  report(error: unknown): void {
    const isEnding = this.stopped || this.membership.isLeaving(this.options.node)
    if (isEnding && error instanceof StorageFailure && error.kind === 'closed') return
    this.events.emit('error', error)
  }
}
