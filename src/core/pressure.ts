/**
 * How little room is left on the disk, and what this node therefore takes no more of: first the hints and copies, which others can keep as well, then the
 * replicas of others' writes, whose other homes and stand-ins take them. Its own user's writes are always tried: what is left is for them.
 */
import { Emitter } from './emitter.js'
import { type Clock, isQuota } from './environment.js'

/** What is refused; each includes those before it. */
export type Refusal = 'nothing' | 'hints' | 'replicas'

const GRADES: readonly Refusal[] = ['nothing', 'hints', 'replicas']
/** Parts of the quota in use from which on these are refused. */
const HINTS_FROM = 0.9
const REPLICAS_FROM = 0.95
/** After a commit was refused for lack of room, and not again: one grade less, so that it is tried again. */
const EASE_AFTER_MS = 5000
/** Commits that were on their way when a grade began say nothing about it. */
const RAISE_AFTER_MS = 500

export interface StorageEstimate {
  /** Bytes. */
  usage: number
  quota: number
}

export class Pressure {
  readonly events = new Emitter<{ changed: Refusal }>()
  estimate: StorageEstimate | undefined
  /** By what the disk itself has refused. */
  private failed = 0
  private easesAt = 0
  private raisedAt = Number.NEGATIVE_INFINITY
  private told: Refusal = 'nothing'

  constructor(private readonly clock: Clock) {}

  get refuses(): Refusal {
    return GRADES[Math.max(this.estimated(), this.experienced())] ?? 'replicas'
  }

  get refusesHints(): boolean {
    return this.refuses !== 'nothing'
  }

  get refusesReplicas(): boolean {
    return this.refuses === 'replicas'
  }

  /** The disk itself has refused something lately, whatever the platform says of the room that there is. */
  get hasRefused(): boolean {
    return this.experienced() > 0
  }

  /** What the platform says of the room that there is. */
  note(estimate: StorageEstimate): void {
    this.estimate = estimate
    this.tell()
  }

  /** A commit failed: for lack of room, or for another reason, which is none of this. */
  commitFailed(error: unknown): void {
    if (!isQuota(error)) return
    const now = this.clock.now()
    if (now - this.raisedAt >= RAISE_AFTER_MS) {
      this.failed = Math.min(this.experienced() + 1, GRADES.length - 1)
      this.raisedAt = now
    }
    this.easesAt = now + EASE_AFTER_MS
    this.tell()
  }

  private estimated(): number {
    if (!this.estimate || this.estimate.quota <= 0) return 0
    const used = this.estimate.usage / this.estimate.quota
    return used >= REPLICAS_FROM ? 2 : used >= HINTS_FROM ? 1 : 0
  }

  private experienced(): number {
    while (this.failed > 0 && this.clock.now() >= this.easesAt) {
      this.failed--
      this.easesAt += EASE_AFTER_MS
    }
    return this.failed
  }

  private tell(): void {
    const { refuses } = this
    if (refuses === this.told) return
    this.told = refuses
    this.events.emit('changed', refuses)
  }
}
