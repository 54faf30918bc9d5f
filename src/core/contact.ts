/**
 * A contact: what a node knows of one peer from its Hello on, which life of it this is, how fast its link is and how long frames wait on it. Ends when
 * the link does, or when another life of the peer says Hello. Relied on by `Peers`.
 */
const OFFSET_WINDOW_MS = 5000

export class Contact {
  /** Not suspected. */
  reachable = false
  malformed = 0
  /** Smallest (my clock − sender's clock) of the present and the former window: a frame with no wait. */
  private offset: number
  private formerOffset: number
  private offsetSince: number
  /** Smoothed round trip and its deviation, as TCP keeps them (RFC 6298); undefined before the first reply. */
  private roundTrip: { mean: number; deviation: number } | undefined

  constructor(
    readonly incarnation: number,
    readonly life: string,
    now: number,
    sentAt: number,
  ) {
    this.offset = this.formerOffset = now - sentAt
    this.offsetSince = now
  }

  /**
   * How long a frame waited beyond the fastest one of this link, in milliseconds. Clocks of different tabs share no zero, so only the
   * difference to the smallest offset counts; the window lets the measure recover when one clock stood still.
   */
  waited(now: number, sentAt: number): number {
    const offset = now - sentAt
    if (now - this.offsetSince > OFFSET_WINDOW_MS) {
      this.formerOffset = this.offset
      this.offset = offset
      this.offsetSince = now
    } else if (offset < this.offset) this.offset = offset
    return offset - Math.min(this.offset, this.formerOffset)
  }

  /** An answer came after so many milliseconds. */
  measured(sample: number): void {
    const { roundTrip } = this
    if (!roundTrip) {
      this.roundTrip = { mean: sample, deviation: sample / 2 }
      return
    }
    roundTrip.deviation += (Math.abs(sample - roundTrip.mean) - roundTrip.deviation) / 4
    roundTrip.mean += (sample - roundTrip.mean) / 8
  }

  /** Smoothed round-trip time in milliseconds; undefined before the first reply. */
  get rtt(): number | undefined {
    return this.roundTrip?.mean
  }

  /** About the 95th percentile of this peer's answers, in milliseconds; 0 before the first. */
  get slowAfter(): number {
    return this.roundTrip ? this.roundTrip.mean + 4 * this.roundTrip.deviation : 0
  }
}
