/** A `Clock` whose time only passes when told; what comes due runs in order, with all that its promises set off. */
import type { Clock } from '../../src/core/environment.js'
import { VirtualTime } from '../sim/virtual-time.js'

export class VirtualClock implements Clock {
  private readonly time = new VirtualTime()

  now(): number {
    return this.time.now
  }

  wallTime(): number {
    return 1_700_000_000_000 + this.time.now
  }

  setTimer(delayMs: number, callback: () => void) {
    return this.time.at(delayMs, callback)
  }

  async advance(ms: number): Promise<void> {
    // What was begun just now may still set timers that come due on the way.
    await new Promise((resolve) => setImmediate(resolve))
    await this.time.advance(ms)
  }
}
