/** A token bucket: so many a second on average, and at most a second's worth at once. */
import type { Clock } from './environment.js'

export class RateLimit {
  private tokens: number
  private since: number

  constructor(
    private readonly clock: Clock,
    private readonly perSecond: number,
  ) {
    this.tokens = perSecond
    this.since = clock.now()
  }

  /** Takes one, if there is one. */
  take(): boolean {
    const now = this.clock.now()
    this.tokens = Math.min(this.perSecond, this.tokens + ((now - this.since) / 1000) * this.perSecond)
    this.since = now
    if (this.tokens < 1) return false
    this.tokens--
    return true
  }
}
