/**
 * Contacts with other nodes: the Hello handshake, heartbeats, requests with deadlines, and the door at which every
 * frame is checked. Relied on by everything that talks; relies on the transport and the failure detector.
 *
 * Invariant: no handler runs for a frame of a peer whose Hello was not accepted, for a malformed frame, or for a
 * frame that waited past its deadline (a thawed tab's backlog is dropped, not executed).
 */

import { Contact } from './contact.js'
import { Emitter } from './emitter.js'
import {
  type CancelTimer,
  type Clock,
  type Lane,
  MAX_FRAME_BYTES,
  MAX_TTL_MS,
  STILL,
  type Transport,
} from './environment.js'
import type { DeviceId, NodeId } from './ids.js'
import { FailureDetector } from './membership/failure-detector.js'
import type { MemberRecord } from './membership/records.js'
import {
  type Message,
  type MessageOf,
  type MessageType,
  isReply,
  isTimeless,
  laneOfReply,
  shapes,
  shapesByCode,
} from './messages.js'
import { MalformedError } from './versions/encoding.js'
import { type FrameHeader, decodeFrame, encodeFrame } from './wire.js'

export const PROTOCOL: [oldest: number, newest: number] = [1, 1]
const MAX_MALFORMED = 10
/** Frames that wait for the Hello of their sender. */
const MAX_EARLY = 32
const MAX_EARLY_BYTES = 1024 * 1024
/** A frame of so many bytes may take a millisecond longer than a small one: 32 KiB/s are slow, and no reason to lose it. */
const SLOWEST_BYTES_PER_MS = 32
/** How often it is looked whether a slow link still brings an answer nearer. */
const STILL_MOVING_MS = 500
/** Nothing at all happened here for so long: no heartbeat, no frame. */
const STOOD_STILL_MS = 5000
/** A Hello is said again with each heartbeat: who is awake has sent its own by then. */
const GREETED_WITHIN_MS = 5000
/** For so long it counts that a peer came with nothing: later it may have more. */
const JUST_COME_MS = 500
const MAX_SAID_EMPTY = 1000
/** More than a ring has members, in all their lives. */
const MAX_FIRST_MET = 10_000
/** The browser calls a hidden tab's timers once in a second. */
const HIDDEN_LAG_MS = 1000

export interface Identity {
  node: NodeId
  device: DeviceId
  incarnation: number
  /** Drawn at each start: tells two lives apart that count as the same incarnation, because a disk was full or went back. */
  life: string
  /** Room parameters that must be equal everywhere, as text. */
  config: string
}

interface Pending {
  to: NodeId
  sentAt: number
  finish: (reply: Message | undefined) => void
}

export interface PeerEvents {
  /** A peer's own record, with its Hello: comes before `up`. */
  greeted: MemberRecord
  /** A peer has known this node, in that incarnation, as one that takes no part. Comes before `up`. */
  replaced: { node: NodeId; incarnation: number }
  /** Others had said that it came with nothing; itself, it does not say so. */
  brings: NodeId
  /** It answers: it was greeted, or is no longer suspected. */
  up: NodeId
  /** It is suspected, or its contact has ended. */
  down: NodeId
  /** Its contact has ended, and what it has told with it. One that is only suspected still hears, and does not tell anew. */
  ended: NodeId
  /** Its contact with this node had ended, which this node did not notice: what it was told is lost. */
  renewed: NodeId
  /** Both sides' room parameters and versions of the protocol. */
  mismatch: { node: NodeId; theirs: string; ours: string }
  malformed: NodeId
  /** This tab stood still for so many milliseconds: frozen, or asleep with its machine. Comes before the first frame is read. */
  woke: number
}

/** Answers a request; undefined where a message wants no reply. */
export type Handler<K extends MessageType> = (
  message: MessageOf<K>,
  from: NodeId,
) => Message | undefined | Promise<Message | undefined>

export class Peers {
  readonly events = new Emitter<PeerEvents>()
  readonly detector: FailureDetector
  private readonly contacts = new Map<NodeId, Contact>()
  /** Since when. */
  private readonly linked = new Map<NodeId, number>()
  /** Since when nodes are here that held nothing when they came. */
  private readonly emptySince = new Map<NodeId, number>()
  /** The same of nodes that others have greeted, and this one has not yet. */
  private readonly saidEmptySince = new Map<NodeId, number>()
  /** The life in which each was met last, and whether it held nothing when that was first. */
  private readonly firstMet = new Map<NodeId, { life: string | undefined; empty: boolean }>()
  /** Frames of linked peers whose Hello has not come yet. */
  private readonly early = new Map<NodeId, Uint8Array[]>()
  private readonly pending = new Map<number, Pending>()
  private readonly handlers = new Map<MessageType, Handler<never>>()
  private nextId: number
  private beat: CancelTimer | undefined
  private beatDue = 0
  private awakeAt = 0

  constructor(
    readonly self: Identity,
    private readonly clock: Clock,
    private readonly transport: Transport,
    private readonly options: {
      heartbeatIntervalMs: number
      suspicionPhi: number
      /** This node's record, for its Hello. */
      member?: () => MemberRecord
      /** In which incarnation a node was last known as one that takes no part. */
      replaced?: (node: NodeId) => number | undefined
      /** Whether this node holds nothing at all. */
      isEmpty?: () => boolean
      /** The protocol versions that it speaks. */
      protocol?: [oldest: number, newest: number]
    },
    private readonly onHandlerError: (error: unknown) => void,
  ) {
    this.nextId = firstId(self.life)
    this.detector = new FailureDetector(clock, options.heartbeatIntervalMs, options.suspicionPhi)
  }

  start(): void {
    this.awakeAt = this.clock.now()
    this.scheduleBeat()
    this.transport.start({
      onUp: (node) => this.linkUp(node),
      onDown: (node) => this.linkDown(node),
      onFrame: (from, frame) => this.receive(from, frame),
    })
  }

  stop(): void {
    this.beat?.()
    this.suspend()
    this.transport.stop()
    for (const node of [...this.linked.keys()]) this.linkDown(node)
  }

  /** It has just come, and held nothing then: it brings nothing that anybody could have missed. */
  cameEmpty(node: NodeId): boolean {
    return this.saidItIsEmpty(node) || this.isJustNow(this.saidEmptySince.get(node))
  }

  /** As `cameEmpty`, by its own word: only that is passed on. */
  saidItIsEmpty(node: NodeId): boolean {
    return this.isJustNow(this.emptySince.get(node))
  }

  /** It held nothing when this node met it, in the life in which it was here last: what it has, it got while this node was there. */
  beganEmpty(node: NodeId): boolean {
    return this.firstMet.get(node)?.empty ?? false
  }

  /** Others have just greeted these, and say that they hold nothing. */
  noteEmpty(nodes: readonly NodeId[]): void {
    for (const node of nodes) {
      // Of nodes that nobody ever meets, a peer could name any number.
      if (this.saidEmptySince.size >= MAX_SAID_EMPTY) this.saidEmptySince.clear()
      if (!this.contacts.has(node)) this.saidEmptySince.set(node, this.clock.now())
    }
  }

  private isJustNow(since: number | undefined): boolean {
    return since !== undefined && this.clock.now() - since < JUST_COME_MS
  }

  /** A hidden tab is slow, and says so before anybody wonders. */
  setHidden(hidden: boolean): void {
    this.detector.expectLag(hidden ? HIDDEN_LAG_MS : 0)
    for (const node of this.contacts.keys()) this.notify(node, { type: 'Ping', lag: this.detector.lagMs }, 'foreground')
  }

  /** This tab stops now: the others need not find that out by its silence. They greet it again once it answers. */
  suspend(): void {
    for (const node of this.contacts.keys()) this.notify(node, { type: 'Bye' }, 'foreground')
  }

  handle<K extends MessageType>(type: K, handler: Handler<K>): void {
    this.handlers.set(type, handler as unknown as Handler<never>)
  }

  /** Reachable: greeted, and not suspected by the failure detector. */
  isReachable(node: NodeId): boolean {
    return this.contacts.get(node)?.reachable ?? false
  }

  reachable(): NodeId[] {
    return [...this.contacts].filter(([, contact]) => contact.reachable).map(([node]) => node)
  }

  /** Somebody may have read this node's Hello already, whose own has not come yet; a tab that is frozen sends none. */
  get isBeingMet(): boolean {
    const since = this.clock.now() - GREETED_WITHIN_MS
    return [...this.linked].some(([node, at]) => at > since && !this.contacts.has(node))
  }

  /** Smoothed round-trip time in milliseconds; undefined before the first reply. */
  rtt(node: NodeId): number | undefined {
    return this.contacts.get(node)?.rtt
  }

  /** About the 95th percentile of this peer's answers: a slower one is worth asking somebody else for. */
  slowAfter(node: NodeId): number {
    return this.contacts.get(node)?.slowAfter ?? 0
  }

  /** Sends a message that wants no reply. False when it could not even be queued. */
  notify(to: NodeId, message: Message, lane: Lane, ttl = MAX_TTL_MS): boolean {
    return this.contacts.has(to) && this.sendFrame(to, message, 0, ttl, lane) === 'queued'
  }

  /**
   * Sends a request. Resolves with the reply, or with undefined when there is none: no link, a full queue, a frame that is too large, the link lost,
   * or no answer within `timeoutMs`, where the time during which a slow link is busy with that node does not count. Never rejects: without an answer the outcome is unknown, and the caller decides.
   */
  request(to: NodeId, message: Message, timeoutMs: number, lane: Lane = 'foreground'): Promise<Message | undefined> {
    return new Promise((resolve) => {
      const id = this.nextId++
      const sentAt = this.clock.now()
      const finish = (reply: Message | undefined) => {
        if (!this.pending.delete(id)) return
        cancel()
        resolve(reply)
      }
      const timeOut = () => {
        if (this.isMoving(to) && this.clock.now() - sentAt < MAX_TTL_MS) {
          cancel = this.clock.setTimer(STILL_MOVING_MS, timeOut)
          return
        }
        this.detector.unanswered(to, sentAt)
        finish(undefined)
      }
      let cancel = this.clock.setTimer(timeoutMs, timeOut)
      this.pending.set(id, { to, sentAt, finish })
      if (!this.contacts.has(to) || this.sendFrame(to, message, id, timeoutMs, lane) !== 'queued') finish(undefined)
    })
  }

  /** Frames from or to this node are on their way, piece by piece: it is not asked the same again, which would only make it slower. */
  isMoving(node: NodeId): boolean {
    const { in: incoming, out } = this.transport.moving?.(node) ?? STILL
    return incoming || out
  }

  private get protocol(): [oldest: number, newest: number] {
    return this.options.protocol ?? PROTOCOL
  }

  private sendFrame(
    to: NodeId,
    message: Message,
    id: number,
    ttl: number,
    lane: Lane,
  ): 'queued' | 'refused' | 'too-large' {
    const now = this.clock.now()
    const header: FrameHeader = { id, incarnation: this.self.incarnation, sentAt: now, ttl: Math.min(ttl, MAX_TTL_MS) }
    const frame = encodeFrame(shapes[message.type], header, message)
    if (frame.length > MAX_FRAME_BYTES) return 'too-large'
    return this.transport.send(to, frame, lane, lifeOf(message.type, frame, ttl)) ? 'queued' : 'refused'
  }

  private sayHello(node: NodeId, answer: boolean): void {
    const { incarnation, device, config, life } = this.self
    const hello: Message = {
      type: 'Hello',
      protocol: this.protocol,
      node: this.self.node,
      incarnation,
      device,
      config,
      answer,
      member: this.options.member?.(),
      life,
      replaced: this.options.replaced?.(node),
      empty: this.options.isEmpty?.(),
    }
    this.sendFrame(node, hello, 0, MAX_TTL_MS, 'foreground')
  }

  private linkUp(node: NodeId): void {
    this.linked.set(node, this.clock.now())
    this.sayHello(node, true)
  }

  private linkDown(node: NodeId): void {
    this.linked.delete(node)
    this.early.delete(node)
    this.endSession(node)
  }

  private endSession(node: NodeId): void {
    const contact = this.contacts.get(node)
    if (!contact) return
    this.contacts.delete(node)
    this.emptySince.delete(node)
    this.detector.forget(node)
    for (const pending of [...this.pending.values()]) if (pending.to === node) pending.finish(undefined)
    if (contact.reachable) this.events.emit('down', node)
    this.events.emit('ended', node)
  }

  /** Called by whatever runs first after a pause. */
  noticeTime(): void {
    const stoodStill = this.clock.now() - this.awakeAt
    this.awakeAt = this.clock.now()
    if (stoodStill > Math.max(STOOD_STILL_MS, 3 * this.options.heartbeatIntervalMs))
      this.events.emit('woke', stoodStill)
  }

  private receive(from: NodeId, frame: Uint8Array): void {
    this.noticeTime()
    const contact = this.contacts.get(from)
    let decoded: ReturnType<typeof decodeFrame>
    try {
      decoded = decodeFrame(shapesByCode, frame)
    } catch (error) {
      if (!(error instanceof MalformedError)) throw error
      this.events.emit('malformed', from)
      if (contact && ++contact.malformed > MAX_MALFORMED) this.transport.reject(from)
      return
    }
    const { header } = decoded
    const message = decoded.message as Message
    if (message.type === 'Hello') return this.greeted(from, message, header)
    if (!contact && this.linked.has(from) && this.keepEarly(from, frame)) return
    // A frame of an earlier life of that node, or one too many before its Hello: the handshake has to be done again.
    if (!contact || header.incarnation !== contact.incarnation) {
      if (this.linked.has(from)) this.sayHello(from, true)
      return
    }
    this.detector.heard(from)
    this.setReachable(from, contact, true)
    if (contact.waited(this.clock.now(), header.sentAt) > lifeOf(message.type, frame, header.ttl)) return
    this.dispatch(from, message, header)
  }

  /** Lanes overtake each other: what comes shortly before a peer's Hello waits for it. */
  private keepEarly(from: NodeId, frame: Uint8Array): boolean {
    const waiting = this.early.get(from) ?? []
    const bytes = waiting.reduce((sum, early) => sum + early.length, frame.length)
    if (waiting.length >= MAX_EARLY || bytes > MAX_EARLY_BYTES) return false
    waiting.push(frame.slice())
    this.early.set(from, waiting)
    return true
  }

  private dispatch(from: NodeId, message: Message, header: FrameHeader): void {
    if (message.type === 'Bye') return this.endSession(from)
    if (message.type === 'Pong' || message.type === 'Ping') this.detector.reportedLag(from, message.lag)
    const pending = header.id > 0 ? this.pending.get(header.id) : undefined
    // A reply carries its request's id and comes from whom it was sent to; a request carries an id of its sender's.
    if (isReply(message.type)) {
      if (pending?.to !== from) return
      this.contacts.get(from)?.measured(this.clock.now() - pending.sentAt)
      pending.finish(message)
      return
    }
    if (message.type === 'Ping') {
      this.sendFrame(from, { type: 'Pong', lag: this.detector.lagMs }, header.id, header.ttl, 'foreground')
      return
    }
    const handler = this.handlers.get(message.type) as Handler<MessageType> | undefined
    if (!handler) return
    const answer = (reply: Message | undefined) => {
      if (!reply || header.id === 0) return
      const lane = laneOfReply(message.type)
      // Without a word, who asks would wait for its time-out.
      if (this.sendFrame(from, reply, header.id, header.ttl, lane) === 'too-large')
        this.sendFrame(from, { type: 'Failed', kind: 'too-large' }, header.id, header.ttl, lane)
    }
    try {
      const result = handler(message as never, from)
      if (result instanceof Promise) result.then(answer).catch(this.onHandlerError)
      else answer(result)
    } catch (error) {
      this.onHandlerError(error)
    }
  }

  private greeted(from: NodeId, hello: MessageOf<'Hello'>, header: FrameHeader): void {
    if (!this.linked.has(from) || hello.node !== from) return
    const [oldest, newest] = this.protocol
    // Neighbouring versions speak the lower one of their newest.
    const common = Math.min(newest, hello.protocol[1])
    if (common < Math.max(oldest, hello.protocol[0]) || hello.config !== this.self.config) {
      if (hello.answer) this.sayHello(from, false)
      const describe = (config: string, versions: readonly number[]) => `${config} (protocol ${versions.join(' to ')})`
      const theirs = describe(hello.config, hello.protocol)
      this.events.emit('mismatch', { node: from, theirs, ours: describe(this.self.config, this.protocol) })
      // After the answer had a chance to leave: the peer should learn the reason as well.
      this.clock.setTimer(500, () => this.transport.reject(from))
      return
    }
    const known = this.contacts.get(from)
    // Another life of that node, also with a lower number: it may have lost its bookkeeping and count anew.
    if (known && (known.incarnation !== hello.incarnation || known.life !== hello.life)) this.endSession(from)
    if (hello.answer) this.sayHello(from, false)
    if (this.contacts.has(from)) {
      if (hello.answer) this.events.emit('renewed', from)
      return
    }
    const contact = new Contact(hello.incarnation, hello.life, this.clock.now(), header.sentAt)
    this.contacts.set(from, contact)
    this.detector.watch(from)
    const wasSaidEmpty = this.saidEmptySince.delete(from)
    this.emptySince.delete(from)
    if (hello.empty) this.emptySince.set(from, this.clock.now())
    this.noteFirstMet(from, hello)
    if (hello.member?.node === from) this.events.emit('greeted', hello.member)
    if (hello.replaced !== undefined) this.events.emit('replaced', { node: from, incarnation: hello.replaced })
    if (wasSaidEmpty && !hello.empty) this.events.emit('brings', from)
    this.setReachable(from, contact, true)
    // The first answer tells the round-trip time, by which coordinators choose.
    void this.request(from, { type: 'Ping', lag: this.detector.lagMs }, 5000)
    const early = this.early.get(from) ?? []
    this.early.delete(from)
    for (const frame of early) this.receive(from, frame)
  }

  private noteFirstMet(node: NodeId, { life, empty = false }: MessageOf<'Hello'>): void {
    const met = this.firstMet.get(node)
    if (met && met.life === life) return
    if (this.firstMet.size >= MAX_FIRST_MET) this.firstMet.clear()
    this.firstMet.set(node, { life, empty })
  }

  private setReachable(node: NodeId, contact: Contact, reachable: boolean): void {
    if (contact.reachable === reachable) return
    contact.reachable = reachable
    this.events.emit(reachable ? 'up' : 'down', node)
  }

  private scheduleBeat(): void {
    this.beatDue = this.clock.now() + this.options.heartbeatIntervalMs
    this.beat = this.clock.setTimer(this.options.heartbeatIntervalMs, () => {
      this.noticeTime()
      this.detector.ownTick(Math.max(0, this.clock.now() - this.beatDue))
      this.scheduleBeat()
      this.heartbeat()
    })
  }

  private heartbeat(): void {
    const now = this.clock.now()
    for (const node of this.linked.keys()) {
      const contact = this.contacts.get(node)
      if (!contact) {
        this.sayHello(node, true)
        continue
      }
      // A large frame that trickles in is a sign of life as well; what is behind it cannot come sooner.
      if (this.transport.moving?.(node).in) this.detector.heard(node)
      if (this.detector.suspects(node)) this.setReachable(node, contact, false)
      const silent = now - (this.detector.lastHeard(node) ?? 0) >= 0.9 * this.options.heartbeatIntervalMs
      if (silent) {
        this.sendFrame(node, { type: 'Ping', lag: this.detector.lagMs }, 0, 5000, 'foreground')
      }
    }
  }
}

/**
 * Where the requests of one life begin to count: far from those of its other lives. Where a tab is loaded anew quickly, a peer answers the new one what
 * the former one has asked, and that must not be taken for the answer to something else.
 */
function firstId(life: string): number {
  let id = 0
  for (let i = 0; i < life.length; i++) id = (31 * id + life.charCodeAt(i)) % 2 ** 29
  return id + 1
}

/** How long a frame is worth something, in milliseconds: larger ones take longer. */
function lifeOf(type: MessageType, frame: Uint8Array, ttl: number): number {
  if (isTimeless(type)) return Number.POSITIVE_INFINITY
  return Math.min(MAX_TTL_MS, ttl + frame.length / SLOWEST_BYTES_PER_MS)
}
