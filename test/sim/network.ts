/**
 * The simulated network. A link is what a data channel is: frames of one lane arrive in order and at most once, or the link goes down. Faults: frames that get
 * lost, slow links, cuts in one or both directions that are noticed only after a while, as WebRTC notices them.
 */
import type { Lane, Transport, TransportHandlers } from '../../src/core/environment.js'
import type { NodeId } from '../../src/core/ids.js'
import type { SeededRandom } from './random.js'
import type { VirtualTime } from './virtual-time.js'

export interface NetworkKnobs {
  minLatencyMs: number
  maxLatencyMs: number
  lossRate: number
  /** After this long a cut link is reported down, and a healed one up. */
  noticeMs: number
}

interface Endpoint {
  handlers: TransportHandlers
  /** Peers that were reported up. */
  told: Set<NodeId>
}

export class Network {
  private readonly endpoints = new Map<NodeId, Endpoint>()
  /** Directions in which nothing arrives: "from>to". */
  private readonly blocked = new Set<string>()
  private readonly lastArrival = new Map<string, number>()
  /** Frozen tabs: what arrives waits here. */
  private readonly frozen = new Map<NodeId, (() => void)[]>()
  sent = 0

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
      send: (to, frame, lane) => this.endpoints.get(self) === endpoint && this.send(self, to, frame, lane),
      want: () => {},
      reject: () => {},
      stop: () => {
        if (this.endpoints.get(self) === endpoint) this.leave(self)
      },
    }
  }

  /** The node is gone without a word; the others notice after a while. */
  leave(node: NodeId): void {
    this.endpoints.delete(node)
    this.frozen.delete(node)
    for (const other of this.endpoints.keys()) this.review(node, other, this.knobs.noticeMs)
  }

  block(from: NodeId, to: NodeId): void {
    if (from === to) return
    this.blocked.add(`${from}>${to}`)
    this.review(from, to, this.knobs.noticeMs)
  }

  cut(a: NodeId, b: NodeId): void {
    this.block(a, b)
    this.block(b, a)
  }

  heal(): void {
    const pairs = [...this.blocked].map((pair) => pair.split('>') as [NodeId, NodeId])
    this.blocked.clear()
    for (const [a, b] of pairs) this.review(a, b, this.random.between(50, 2000))
  }

  freeze(node: NodeId): void {
    if (this.endpoints.has(node) && !this.frozen.has(node)) this.frozen.set(node, [])
  }

  thaw(node: NodeId): void {
    const waiting = this.frozen.get(node) ?? []
    this.frozen.delete(node)
    for (const run of waiting) run()
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
    const open = this.isOpen(self, other)
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
    return (
      this.endpoints.has(a) && this.endpoints.has(b) && !this.blocked.has(`${a}>${b}`) && !this.blocked.has(`${b}>${a}`)
    )
  }

  private send(from: NodeId, to: NodeId, frame: Uint8Array, lane: Lane): boolean {
    if (!this.endpoints.get(from)?.told.has(to)) return false
    this.sent++
    const target = this.endpoints.get(to)
    if (this.blocked.has(`${from}>${to}`) || this.random.chance(this.knobs.lossRate)) return true
    const { minLatencyMs, maxLatencyMs } = this.knobs
    const link = `${from}>${to}>${lane}`
    const arrival = Math.max(
      this.time.now + this.random.between(minLatencyMs, maxLatencyMs),
      this.lastArrival.get(link) ?? 0,
    )
    this.lastArrival.set(link, arrival)
    const copy = frame.slice()
    this.time.at(arrival - this.time.now, () => {
      if (this.endpoints.get(to) !== target || !target || this.blocked.has(`${from}>${to}`)) return
      this.whenAwake(to, () => {
        if (this.endpoints.get(to) === target && target.told.has(from)) target.handlers.onFrame(from, copy)
      })
    })
    return true
  }

  private whenAwake(node: NodeId, run: () => void): void {
    const waiting = this.frozen.get(node)
    if (waiting) waiting.push(run)
    else run()
  }
}
