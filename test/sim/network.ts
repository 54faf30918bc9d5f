/**
 * The simulated network. A link is what a data channel is: frames of one lane arrive in order and at most once, or the link goes down. Faults: frames that
 * get lost, come twice or overtake each other (more than any channel does to us, less than a protocol may rely on), slow links with a
 * finite send buffer, cuts in one or both directions that are noticed only after a while, and no signaling.
 */
import { type Lane, MAX_FRAME_BYTES, type Transport, type TransportHandlers } from '../../src/core/environment.js'
import type { NodeId } from '../../src/core/ids.js'
import type { SeededRandom } from './random.js'
import type { VirtualTime } from './virtual-time.js'

export interface NetworkKnobs {
  minLatencyMs: number
  maxLatencyMs: number
  /** Of all frames, how many get lost, arrive twice, and may overtake others. */
  lossRate: number
  duplicateRate?: number
  reorderRate?: number
  /** After this long a cut link is reported down, and a healed one up. */
  noticeMs: number
  /** One-way delay of a frame; replaces the uniform one where it is given. */
  latency?: (from: NodeId, to: NodeId, frame: Uint8Array) => number
  /** Frames that get lost, besides those that chance takes. */
  lose?: (from: NodeId, to: NodeId, frame: Uint8Array) => boolean
  /** What a node of another build would have sent instead. */
  rewrite?: (from: NodeId, frame: Uint8Array) => Uint8Array
}

/** What a slow link takes: bytes per millisecond, and how many bytes may wait before `send` refuses. */
export interface SlowLink {
  bytesPerMs: number
  bufferBytes: number
}

interface Endpoint {
  handlers: TransportHandlers
  /** Peers that were reported up. */
  told: Set<NodeId>
}

/** One direction of a link. */
interface Way {
  from: NodeId
  to: NodeId
  /** When the last frame of each lane that keeps its order arrives. */
  lastArrival: Record<Lane, number>
  slow: (SlowLink & { freeAt: Record<Lane, number> }) | undefined
}

/** Sees every frame that is sent, before chance decides about it. */
export type Tap = (from: NodeId, to: NodeId, frame: Uint8Array, lane: Lane) => void

export class Network {
  private readonly endpoints = new Map<NodeId, Endpoint>()
  /** By sender, then by receiver. */
  private readonly ways = new Map<NodeId, Map<NodeId, Way>>()
  /** Where nothing arrives. */
  private readonly blocked = new Set<Way>()
  /** Frozen tabs: what arrives waits here. */
  private readonly frozen = new Map<NodeId, (() => void)[]>()
  /** Links that were open when signaling went down; others come up only through a common neighbour. */
  private linkedBefore: Set<string> | undefined
  readonly taps: Tap[] = []

  constructor(
    private readonly time: VirtualTime,
    private readonly random: SeededRandom,
    readonly knobs: NetworkKnobs,
  ) {}

  transport(self: NodeId): Transport {
    let endpoint: Endpoint | undefined
    return {
      start: (handlers) => {
        endpoint = { handlers, told: new Set() }
        this.endpoints.set(self, endpoint)
        for (const other of this.endpoints.keys())
          if (other !== self) this.review(self, other, this.random.between(5, 200))
      },
      send: (to, frame, lane, ttlMs) =>
        this.endpoints.get(self) === endpoint && this.send(self, to, frame, lane, ttlMs),
      want: () => {},
      reject: (node) => this.cut(self, node),
      stop: () => {
        if (!endpoint || this.endpoints.get(self) !== endpoint) return
        this.leave(self)
        const { told, handlers } = endpoint
        for (const other of told) {
          told.delete(other)
          handlers.onDown(other)
        }
      },
    }
  }

  /** The node is gone without a word; the others notice after a while. */
  leave(node: NodeId): void {
    this.endpoints.delete(node)
    this.frozen.delete(node)
    for (const pair of this.linkedBefore ?? []) if (pair.includes(node)) this.linkedBefore?.delete(pair)
    for (const other of this.endpoints.keys()) this.review(node, other, this.knobs.noticeMs)
  }

  /** Nothing arrives in this direction any more. */
  block(from: NodeId, to: NodeId): void {
    if (from === to) return
    this.blocked.add(this.way(from, to))
    this.review(from, to, this.knobs.noticeMs)
  }

  cut(a: NodeId, b: NodeId): void {
    this.block(a, b)
    this.block(b, a)
  }

  /** All cuts end, or those of one node. */
  heal(node?: NodeId): void {
    for (const way of [...this.blocked]) {
      const { from, to } = way
      if (node !== undefined && from !== node && to !== node) continue
      this.blocked.delete(way)
      this.review(from, to, this.random.between(50, 2000))
    }
  }

  /** A link becomes slow in one direction, or as fast as any again. */
  setSlow(from: NodeId, to: NodeId, link: SlowLink | undefined): void {
    this.way(from, to).slow = link && { ...link, freeAt: { foreground: 0, background: 0 } }
  }

  endSlowness(): void {
    for (const ways of this.ways.values()) for (const way of ways.values()) way.slow = undefined
  }

  /** Without signaling, what is linked stays linked; a new link needs a neighbour that carries the offers. */
  setSignaling(up: boolean): void {
    this.linkedBefore = undefined
    const nodes = [...this.endpoints.keys()]
    if (!up) {
      this.linkedBefore = new Set()
      for (const [node, endpoint] of this.endpoints)
        for (const other of endpoint.told) this.linkedBefore.add(pairOf(node, other))
      return
    }
    for (const a of nodes) for (const b of nodes) if (a < b) this.review(a, b, this.random.between(50, 2000))
  }

  freeze(node: NodeId): void {
    if (this.endpoints.has(node) && !this.frozen.has(node)) this.frozen.set(node, [])
  }

  thaw(node: NodeId): void {
    const waiting = this.frozen.get(node) ?? []
    this.frozen.delete(node)
    for (const run of waiting) run()
  }

  /** Frames can pass both ways, and both ends know it. */
  isLinked(a: NodeId, b: NodeId): boolean {
    return this.isOpen(a, b) && !!this.endpoints.get(a)?.told.has(b) && !!this.endpoints.get(b)?.told.has(a)
  }

  /** Some time later, both ends are told what the link between them is then. */
  private review(a: NodeId, b: NodeId, delayMs: number): void {
    this.time.at(delayMs, () => {
      for (const [self, other] of [
        [a, b],
        [b, a],
      ] as const) {
        const endpoint = this.endpoints.get(self)
        if (endpoint) this.whenAwake(self, () => this.tell(self, endpoint, other))
      }
    })
  }

  /** Says what the link is now, if that is news. */
  private tell(self: NodeId, endpoint: Endpoint, other: NodeId): void {
    const open = this.isOpen(self, other) && this.canSignal(self, other)
    if (this.endpoints.get(self) !== endpoint || endpoint.told.has(other) === open) return
    if (open) {
      endpoint.told.add(other)
      endpoint.handlers.onUp(other)
    } else {
      endpoint.told.delete(other)
      endpoint.handlers.onDown(other)
    }
  }

  private isOpen(a: NodeId, b: NodeId): boolean {
    const isBlocked = this.blocked.has(this.way(a, b)) || this.blocked.has(this.way(b, a))
    return this.endpoints.has(a) && this.endpoints.has(b) && !isBlocked
  }

  private canSignal(a: NodeId, b: NodeId): boolean {
    if (!this.linkedBefore || this.linkedBefore.has(pairOf(a, b))) return true
    const common = [...(this.endpoints.get(a)?.told ?? [])].some((node) => this.endpoints.get(b)?.told.has(node))
    if (common) this.linkedBefore.add(pairOf(a, b))
    return common
  }

  private send(from: NodeId, to: NodeId, frame: Uint8Array, lane: Lane, ttlMs = Number.POSITIVE_INFINITY): boolean {
    if (frame.length > MAX_FRAME_BYTES) throw new Error(`a frame of ${frame.length} bytes`)
    if (!this.endpoints.get(from)?.told.has(to)) return false
    for (const tap of this.taps) tap(from, to, frame, lane)
    const way = this.way(from, to)
    const { slow } = way
    let departure = this.time.now
    if (slow) {
      // A queue for each lane: foreground frames overtake.
      const freeAt = Math.max(slow.freeAt[lane], this.time.now)
      if ((freeAt - this.time.now) * slow.bytesPerMs + frame.length > slow.bufferBytes) return false
      if (freeAt - this.time.now > ttlMs) return true
      departure = slow.freeAt[lane] = freeAt + frame.length / slow.bytesPerMs
    }
    const { lossRate, duplicateRate = 0, reorderRate = 0, lose, rewrite } = this.knobs
    if (this.blocked.has(way) || lose?.(from, to, frame) || this.random.chance(lossRate)) return true
    const sent = rewrite ? rewrite(from, frame) : frame
    const copies = duplicateRate > 0 && this.random.chance(duplicateRate) ? 2 : 1
    for (let i = 0; i < copies; i++) {
      const inOrder = i === 0 && !(reorderRate > 0 && this.random.chance(reorderRate))
      this.deliver(way, sent, lane, departure, inOrder)
    }
    return true
  }

  private deliver(way: Way, frame: Uint8Array, lane: Lane, departure: number, inOrder: boolean): void {
    const { from, to } = way
    const { minLatencyMs, maxLatencyMs, latency } = this.knobs
    const target = this.endpoints.get(to)
    let arrival = departure + (latency ? latency(from, to, frame) : this.random.between(minLatencyMs, maxLatencyMs))
    if (inOrder) arrival = way.lastArrival[lane] = Math.max(arrival, way.lastArrival[lane])
    this.time.at(arrival - this.time.now, () => {
      if (this.endpoints.get(to) !== target || !target || this.blocked.has(way)) return
      this.whenAwake(to, () => {
        if (this.endpoints.get(to) === target && target.told.has(from)) target.handlers.onFrame(from, frame)
      })
    })
  }

  private way(from: NodeId, to: NodeId): Way {
    const ways = this.ways.get(from) ?? new Map<NodeId, Way>()
    if (ways.size === 0) this.ways.set(from, ways)
    const known = ways.get(to)
    if (known) return known
    const way: Way = { from, to, lastArrival: { foreground: 0, background: 0 }, slow: undefined }
    ways.set(to, way)
    return way
  }

  private whenAwake(node: NodeId, run: () => void): void {
    const waiting = this.frozen.get(node)
    if (waiting) waiting.push(run)
    else run()
  }
}

function pairOf(a: NodeId, b: NodeId): string {
  return a < b ? `${a}-${b}` : `${b}-${a}`
}
