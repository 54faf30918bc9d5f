/**
 * One node's opinion on whether its peers answer (§4.8.3): phi accrual over the times between signs of life (Hayashibara et al.
 * 2004), plus requests that stayed unanswered. It is local and never gossiped. Only application frames count: the
 * channel of a frozen or crashed tab stays open. A node that is late itself (hidden, throttled, just thawed) doubts
 * itself first and widens its own limits (Lifeguard, arXiv:1707.00788).
 */
import type { Clock } from '../environment.js'
import type { NodeId } from '../ids.js'

const WINDOW = 32
/** A longer silence is an outage, and not what is to be expected: each would make the next one notice later. In intervals. */
const MAX_LEARNT = 3
/** Two requests in a row without an answer or any other sign of life. */
const MISSES_TO_SUSPECT = 2

interface Health {
  lastHeard: number
  /** Times between signs of life, newest last. */
  intervals: number[]
  misses: number
  /** How late the peer says its own timers run. */
  lagMs: number
}

export class FailureDetector {
  private readonly peers = new Map<NodeId, Health>()
  /** How late this node's own timers run, smoothed. */
  private ownLagMs = 0
  /** How late they are to be expected. */
  private expectedLagMs = 0

  constructor(
    private readonly clock: Clock,
    private readonly intervalMs: number,
    private readonly threshold: number,
  ) {}

  watch(node: NodeId): void {
    this.peers.set(node, { lastHeard: this.clock.now(), intervals: [], misses: 0, lagMs: 0 })
  }

  forget(node: NodeId): void {
    this.peers.delete(node)
  }

  heard(node: NodeId): void {
    const health = this.peers.get(node)
    if (!health) return
    const now = this.clock.now()
    const interval = now - health.lastHeard
    // Bursts say nothing about how long silence may last; only heartbeat-like gaps are learnt from.
    if (interval > this.intervalMs / 4) {
      health.intervals.push(Math.min(interval, MAX_LEARNT * this.intervalMs))
      if (health.intervals.length > WINDOW) health.intervals.shift()
    }
    health.lastHeard = now
    health.misses = 0
  }

  reportedLag(node: NodeId, lagMs: number): void {
    const health = this.peers.get(node)
    if (health) health.lagMs = lagMs
  }

  /** A request that was sent at `sentAt` got no answer in its time. */
  unanswered(node: NodeId, sentAt: number): void {
    const health = this.peers.get(node)
    if (health && health.lastHeard < sentAt) health.misses++
  }

  /** Told at every own heartbeat how late it came. After a pause everybody gets a fresh chance (P43). */
  ownTick(lateMs: number): void {
    this.ownLagMs = Math.max(lateMs, this.ownLagMs * 0.8)
    if (lateMs > 2 * this.intervalMs) {
      const now = this.clock.now()
      for (const health of this.peers.values()) health.lastHeard = now
    }
  }

  get lagMs(): number {
    return Math.max(this.ownLagMs, this.expectedLagMs)
  }

  /** A hidden tab's timers are late from now on. */
  expectLag(ms: number): void {
    this.expectedLagMs = ms
  }

  suspects(node: NodeId): boolean {
    const health = this.peers.get(node)
    if (!health) return true
    const silence = this.clock.now() - health.lastHeard
    if (health.misses >= MISSES_TO_SUSPECT && silence > 1.5 * this.intervalMs + 2 * this.lagMs) return true
    return this.phi(health, silence) > this.threshold
  }

  lastHeard(node: NodeId): number | undefined {
    return this.peers.get(node)?.lastHeard
  }

  private phi(health: Health, silence: number): number {
    const { intervals } = health
    const allowance = health.lagMs + 2 * this.lagMs
    // Before enough was seen, one expected interval stands in for what is known.
    const samples = intervals.length < 4 ? [...intervals, this.intervalMs, this.intervalMs] : intervals
    const mean = samples.reduce((sum, x) => sum + x, 0) / samples.length
    const variance = samples.reduce((sum, x) => sum + (x - mean) ** 2, 0) / samples.length
    const deviation = Math.max(Math.sqrt(variance), this.intervalMs / 2)
    const y = (silence - allowance - Math.max(mean, this.intervalMs)) / deviation
    if (y <= 0) return 0
    // Logistic approximation of the normal distribution's tail, as in Akka's detector.
    const e = Math.exp(-y * (1.5976 + 0.070566 * y * y))
    return -Math.log10(e / (1 + e))
  }
}
