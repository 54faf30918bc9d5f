/**
 * When Merkle sync runs (§4.7): with a peer that has just come back, after a change of the placement, and in turn with every peer at rest, which then
 * costs one comparison of roots. Also decides when this node stands in for homes that have been away for a while.
 */
import { Emitter } from '../emitter.js'
import type { CancelTimer, Clock, Random } from '../environment.js'
import type { NodeId, Partition } from '../ids.js'
import type { Membership } from '../membership/membership.js'
import type { Peers } from '../peers.js'
import type { Duties } from '../replica/duties.js'
import type { Routing } from '../routing.js'
import type { Tuning } from '../tuning.js'
import type { Exchange } from './exchange.js'
import type { Transfers } from './transfers.js'

/** What transfers were moving, in larger pieces than sync would, and what did not come to its end, is looked at so much later. */
const AGAIN_MS = 2000
/** Long enough not to flood the application, which is told of each failure of its disk. */
const AFTER_FAILURE_MS = 5000

export interface AntiEntropyEvents {
  /** A comparison ended; nothing moved when both numbers are 0. */
  synced: { peer: NodeId; pulled: number; pushed: number }
  /** The peer's copies of everything that both should hold were equal to this node's at the end. */
  equal: NodeId
  /** This node stands in for other partitions than before. */
  standIns: undefined
}

export class AntiEntropy {
  readonly events = new Emitter<AntiEntropyEvents>()
  private readonly due = new Set<NodeId>()
  /** They are due again in a moment. */
  private readonly unfinished = new Set<NodeId>()
  private running = false
  private pausing = false
  private turn = 0
  /** Changes of the placement: what was compared before one need not be all that is shared after it. */
  private placements = 0
  private readonly timers = new Set<CancelTimer>()
  private stopped = false

  constructor(
    private readonly exchange: Exchange,
    private readonly transfers: Transfers,
    private readonly duties: Duties,
    private readonly routing: Routing,
    private readonly membership: Membership,
    private readonly peers: Peers,
    private readonly clock: Clock,
    private readonly random: Random,
    private readonly tuning: Tuning,
    private readonly onError: (error: unknown) => void,
  ) {
    // Both ends see the link come up; one of them begins, the other looks later whether anything is left to do. Transfers to a
    // new home come first: they move the same data in larger pieces.
    peers.events.on('up', (node) => this.later(node, routing.self < node ? 600 : 1500))
  }

  start(): void {
    const { syncIntervalMs } = this.tuning
    this.repeat(syncIntervalMs, () => {
      const peers = this.peers.reachable().sort()
      const peer = peers[this.turn++ % Math.max(1, peers.length)]
      if (peer) this.syncWith(peer)
    })
    this.repeat(this.tuning.heartbeatIntervalMs, () => this.checkStandIns())
  }

  stop(): void {
    this.stopped = true
    for (const cancel of this.timers) cancel()
  }

  /**
   * After a change of the placement other homes share this node's partitions. Who leaves stands in for nobody any more, at once: of what it has a
   * duty for, it hands nothing over.
   */
  placementChanged(): void {
    this.placements++
    if (!this.routing.isPlaced(this.routing.self)) this.checkStandIns()
    for (const node of this.peers.reachable()) this.later(node, 1500)
  }

  syncWith(peer: NodeId): void {
    if (!this.tuning.merkleSync || this.stopped) return
    this.due.add(peer)
    if (!this.running) void this.run()
  }

  /** Partitions that both this node and the peer should hold. */
  shared(peer: NodeId): Partition[] {
    return this.duties.onDuty().filter((partition) => this.routing.homesOf(partition).includes(peer))
  }

  private later(node: NodeId, delayMs: number): void {
    if (this.stopped) return
    this.after(this.about(delayMs), () => this.syncWith(node))
  }

  /** Once, however often it turns out that something is left to be done: what stays so, as with a full disk, must not be asked ever more often. */
  private again(node: NodeId): void {
    if (this.stopped || this.unfinished.has(node)) return
    this.unfinished.add(node)
    this.after(this.about(AGAIN_MS), () => {
      this.unfinished.delete(node)
      this.syncWith(node)
    })
  }

  private async run(): Promise<void> {
    this.running = true
    for (let [peer] = this.due; peer !== undefined && !this.stopped; [peer] = this.due) {
      this.due.delete(peer)
      try {
        await this.compare(peer)
      } catch (error) {
        this.onError(error)
        // In its turn it would be compared a minute later, and whoever waits for the two to be equal would wait as long.
        this.due.add(peer)
        this.goOnLater()
        break
      }
    }
    this.running = false
  }

  /** It is this node's own disk that failed, which the others that are due would meet as well. */
  private goOnLater(): void {
    if (this.stopped || this.pausing) return
    this.pausing = true
    this.after(AFTER_FAILURE_MS, () => {
      this.pausing = false
      if (!this.running) void this.run()
    })
  }

  private async compare(peer: NodeId): Promise<void> {
    if (!this.routing.isReachable(peer)) return
    const shared = this.shared(peer)
    const partitions = shared.filter((partition) => !this.transfers.isMoving(peer, partition))
    if (partitions.length < shared.length) this.again(peer)
    if (partitions.length === 0) return
    const { placements } = this
    const how = { kind: 'sync', settle: true, give: true } as const
    const { pulled, pushed, complete } = await this.exchange.with(peer, partitions, how)
    if (complete || pulled + pushed > 0) this.events.emit('synced', { peer, pulled, pushed })
    const isAll = partitions.length === shared.length && placements === this.placements
    if (complete && isAll) this.events.emit('equal', peer)
    if (!complete && this.routing.isReachable(peer)) this.again(peer)
  }

  /**
   * For every partition with homes that have been silent for `standInAfterMs`, the next reachable nodes behind its homes hold a copy until these are back:
   * a tab that is closed for good must not leave its keys one copy short until `replaceAfterMs` has passed.
   */
  private checkStandIns(): void {
    const away = new Set(this.membership.placed().filter((node) => this.transfers.isAway(node)))
    const wanted = new Set<Partition>()
    if (away.size > 0 && this.tuning.merkleSync) {
      for (const n of this.duties.inUse())
        for (const partition of this.duties.partitionsOf(n)) if (this.standsIn(partition, away)) wanted.add(partition)
    }
    if (!this.duties.setStandIns(wanted)) return
    this.transfers.fill()
    this.events.emit('standIns', undefined)
  }

  private standsIn(partition: Partition, away: Set<NodeId>): boolean {
    const homes = this.routing.homesOf(partition)
    const missing = homes.filter((home) => away.has(home)).length
    if (missing === 0 || homes.includes(this.routing.self)) return false
    const list = this.routing.listOf(partition).slice(homes.length)
    return list
      .filter((node) => this.routing.isReachable(node))
      .slice(0, missing)
      .includes(this.routing.self)
  }

  private about(delayMs: number): number {
    return delayMs * (0.75 + 0.5 * this.random.next())
  }

  private repeat(intervalMs: number, work: () => void): void {
    this.after(intervalMs * (0.9 + 0.2 * this.random.next()), () => {
      this.repeat(intervalMs, work)
      work()
    })
  }

  private after(delayMs: number, work: () => void): void {
    const cancel = this.clock.setTimer(delayMs, () => {
      this.timers.delete(cancel)
      if (!this.stopped) work()
    })
    this.timers.add(cancel)
  }
}
