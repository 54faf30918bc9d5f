/**
 * The one budget of all background work (§6.5): hints before transfers before Merkle sync before scrubbing before reaping. Every batch of
 * such work waits here for its turn. While users wait for gets and puts, turns come apart from each other, the further the
 * slower these run; at rest there is no waiting. A class that waited long enough comes first whatever its rank, so
 * nothing starves.
 */
import { type CancelTimer, type Clock, StorageFailure } from './environment.js'

export type BackgroundKind = 'hints' | 'transfer' | 'sync' | 'scrub' | 'reap'

const RANK: Record<BackgroundKind, number> = { hints: 0, transfer: 1, sync: 2, scrub: 3, reap: 4 }
/** Foreground operations count as going on for this long after the last one. */
const BUSY_MS = 30
/** Twice what a page of a disk takes: foreground operations then wait a fifth longer on average (scenario aae-flood; with 2 ms, twice as long). */
const MIN_GAP_MS = 10
/** The minimum share: at least this often one batch runs. */
const MAX_GAP_MS = 100
const STARVED_AFTER_MS = 1000

interface Waiter {
  kind: BackgroundKind
  since: number
  go: () => void
  giveUp: (failure: StorageFailure) => void
}

export class Background {
  private readonly waiting: Waiter[] = []
  private nextTurn = 0
  private timer: CancelTimer | undefined
  private running = 0
  private lastForeground = Number.NEGATIVE_INFINITY
  /** Smoothed latency of foreground operations, and what it is when nothing is in the way. */
  private latency = 0
  private baseline = 0
  private stopped = false

  constructor(private readonly clock: Clock) {}

  /** Resolves when one batch of this kind may run. @throws StorageFailure 'closed' once the node has stopped: whoever waits holds something, as an adopter does a lock. */
  turn(kind: BackgroundKind): Promise<void> {
    return new Promise((resolve, reject) => {
      this.waiting.push({ kind, since: this.clock.now(), go: resolve, giveUp: reject })
      this.pump()
    })
  }

  /** Wraps a foreground operation, whose latency steers the background. */
  async foreground<T>(operation: Promise<T>): Promise<T> {
    const start = this.clock.now()
    this.running++
    try {
      return await operation
    } finally {
      this.running--
      const now = this.clock.now()
      this.lastForeground = now
      const latency = now - start
      this.latency = this.latency === 0 ? latency : this.latency + (latency - this.latency) / 8
      // Falls at once, rises slowly: the latency of an unhurried moment.
      this.baseline = this.baseline === 0 ? latency : Math.min(this.latency, this.baseline * 1.002 + 0.001)
    }
  }

  stop(): void {
    this.stopped = true
    this.timer?.()
    this.timer = undefined
    this.pump()
  }

  private gap(): number {
    if (this.running === 0 && this.clock.now() - this.lastForeground > BUSY_MS) return 0
    const strain = this.baseline > 0 ? this.latency / this.baseline : 1
    return Math.min(MAX_GAP_MS, MIN_GAP_MS * strain * strain)
  }

  private pump(): void {
    if (this.stopped)
      for (const { giveUp } of this.waiting.splice(0)) giveUp(new StorageFailure('closed', 'the node has stopped'))
    if (this.timer) return
    while (this.waiting.length > 0) {
      const now = this.clock.now()
      if (now < this.nextTurn) {
        this.timer = this.clock.setTimer(this.nextTurn - now, () => {
          this.timer = undefined
          this.pump()
        })
        return
      }
      this.nextTurn = now + this.gap()
      this.takeFirst(now).go()
    }
  }

  private takeFirst(now: number): Waiter {
    const rank = (waiter: Waiter) => (now - waiter.since > STARVED_AFTER_MS ? -1 : RANK[waiter.kind])
    let best = 0
    for (let i = 1; i < this.waiting.length; i++) {
      if (rank(this.waiting[i] as Waiter) < rank(this.waiting[best] as Waiter)) best = i
    }
    return this.waiting.splice(best, 1)[0] as Waiter
  }
}
