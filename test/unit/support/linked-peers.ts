/** `Peers` of two nodes over a link that loses and delays what it is told to; their clocks share no zero. */
import { expect } from 'vitest'
import type { Clock, Moving, Transport, TransportHandlers } from '../../../src/core/environment.js'
import type { DeviceId, NodeId, StoreKey } from '../../../src/core/ids.js'
import { type Message, type MessageOf, type MessageType, shapes, shapesByCode } from '../../../src/core/messages.js'
import { PROTOCOL, Peers } from '../../../src/core/peers.js'
import { decodeFrame, encodeFrame } from '../../../src/core/wire.js'
import { VirtualClock } from '../../support/virtual-clock.js'

export const [A, B] = ['node_a____', 'node_b____'] as [NodeId, NodeId]
export const DELAY = 5
export const INTERVAL = 1000
export const INCARNATION = 3
export const LIFE = 'life'
export const KEY = '3/bucket\0key' as StoreKey
export const READ: MessageOf<'Read'> = { type: 'Read', key: KEY, full: true }
export const RESULT: Message = {
  type: 'ReadResult',
  digest: new Uint8Array(),
  container: undefined,
  complete: true,
  home: true,
}

const shifted = (clock: Clock, byMs: () => number): Clock => ({
  now: () => clock.now() + byMs(),
  wallTime: () => clock.wallTime(),
  setTimer: (delayMs, callback) => clock.setTimer(delayMs, callback),
})

/** One end of the link, with all that was told by its `Peers`. */
class Side implements Transport {
  readonly clock: Clock
  readonly peers: Peers
  readonly events: string[] = []
  readonly handled: Message[] = []
  readonly errors: unknown[] = []
  readonly rejected: NodeId[] = []
  handlers: TransportHandlers | undefined
  full = false
  /** What its link seems to do. */
  movement: Moving = { in: false, out: false }
  private stoodStillMs = 0

  constructor(
    private readonly link: Link,
    readonly node: NodeId,
    shiftMs: number,
    config: string,
    protocol?: [number, number],
    life = LIFE,
  ) {
    this.clock = shifted(link.clock, () => shiftMs + this.stoodStillMs)
    const identity = {
      node,
      device: `device_${node.slice(5)}` as DeviceId,
      incarnation: INCARNATION,
      life,
      config,
    }
    const options = { heartbeatIntervalMs: INTERVAL, suspicionPhi: 8, protocol }
    this.peers = new Peers(identity, this.clock, this, options, (error) => this.errors.push(error))
    for (const type of ['up', 'down', 'malformed'] as const)
      this.peers.events.on(type, (from) => this.events.push(`${type} ${from}`))
    this.peers.events.on('mismatch', ({ node: from, theirs, ours }) =>
      this.events.push(`mismatch ${from} ${theirs}, here ${ours}`),
    )
    this.peers.handle('Read', (message) => {
      this.handled.push(message)
      return RESULT
    })
    this.peers.start()
  }

  start(handlers: TransportHandlers): void {
    this.handlers = handlers
  }
  /** Time has passed here, and nothing was called. */
  standStill(ms: number): void {
    this.stoodStillMs += ms
  }
  send(to: NodeId, frame: Uint8Array): boolean {
    if (!this.full) this.link.carry(this.node, to, frame)
    return !this.full
  }
  moving(): Moving {
    return this.movement
  }
  want(): void {}
  reject(node: NodeId): void {
    this.rejected.push(node)
  }
  stop(): void {
    this.handlers = undefined
  }
}

export class Link {
  readonly clock = new VirtualClock()
  a: Side
  readonly b: Side
  /** What becomes of the next frames: undefined lets them pass. */
  fate: (type: MessageType, from: NodeId) => 'lost' | 'held' | undefined = () => undefined
  readonly held: (() => void)[] = []

  constructor(configOfA = 'room', configOfB = 'room', protocols: { a?: [number, number]; b?: [number, number] } = {}) {
    this.a = new Side(this, A, 0, configOfA, protocols.a)
    this.b = new Side(this, B, 5_000_000, configOfB, protocols.b)
  }

  /** Two nodes that have greeted each other. */
  static async greeted(): Promise<Link> {
    const link = new Link()
    await link.open()
    expect([link.a.events, link.b.events]).toEqual([[`up ${B}`], [`up ${A}`]])
    return link
  }

  async open(): Promise<void> {
    this.a.handlers?.onUp(B)
    this.b.handlers?.onUp(A)
    await this.clock.advance(100)
  }

  /** The tab of A is loaded anew. */
  async reopenA(): Promise<void> {
    this.b.handlers?.onDown(A)
    this.a = new Side(this, A, 0, 'room', undefined, 'next life')
    await this.open()
  }

  carry(from: NodeId, to: NodeId, frame: Uint8Array): void {
    const deliver = () => (to === A ? this.a : this.b).handlers?.onFrame(from, frame)
    const fate = this.fate(decodeFrame(shapesByCode, frame).message.type as MessageType, from)
    if (fate === 'held') this.held.push(deliver)
    else if (fate !== 'lost') this.clock.setTimer(DELAY, deliver)
  }

  /** A frame at B that seems to be A's, though A's `Peers` never sent it. */
  forge(message: Message, change: { id?: number; incarnation?: number; sentAt?: number; ttl?: number } = {}): void {
    const header = { id: 0, incarnation: INCARNATION, sentAt: this.a.clock.now(), ttl: 1000, ...change }
    this.b.handlers?.onFrame(A, encodeFrame(shapes[message.type], header, message))
  }
}

export const helloOf = (change: Partial<MessageOf<'Hello'>>): Message => ({
  type: 'Hello',
  protocol: PROTOCOL,
  node: A,
  incarnation: INCARNATION,
  device: 'device____' as DeviceId,
  config: 'room',
  member: undefined,
  life: LIFE,
  replaced: undefined,
  empty: undefined,
  answer: true,
  ...change,
})
