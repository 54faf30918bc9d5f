/** What a named scenario is: a schedule, the states it must have visited, and its own claims besides what holds after every scenario. */
import type { Tuning } from '../../../src/core/tuning.js'
import { MalformedError } from '../../../src/core/versions/encoding.js'
import { type Ring, type Tab, containerAt } from '../ring.js'
import type { Sight } from '../sights.js'
import type { WorldKnobs } from '../world.js'

export interface Scenario {
  /** Its place in the list of all (docs/simulator.md). */
  number: number
  name: string
  /** What it shows when it passes. */
  shows: string
  /** Default 7. */
  tabs?: number
  tuning?: Partial<Tuning>
  knobs?: Partial<WorldKnobs>
  devices?: string[]
  noticeMs?: number
  /** Without having been there, it has shown nothing. */
  visits?: (Sight | (string & {}))[]
  /** Throws what does not hold. */
  run(ring: Ring): Promise<void>
  /** Convergence may take this long afterwards, in virtual milliseconds. Default 200,000. */
  convergesWithinMs?: number
}

/** For scenarios that last hours: heartbeats and housekeeping as rare as they may be. */
export const SLOW_HEART: Partial<Tuning> = {
  heartbeatIntervalMs: 60_000,
  gossipIntervalMs: 60_000,
  handoffIntervalMs: 60_000,
  syncIntervalMs: 300_000,
  scrubIntervalMs: 300_000,
}

/** Keys `k0` to `k${count - 1}`. */
export function keys(count: number): string[] {
  return Array.from({ length: count }, (_, i) => `k${i}`)
}

/** The value at this part of a sorted list. */
export function quantile(sorted: number[], part: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] as number
}

/** Whether the tab's record of the key cannot be read any more. */
export function isDamaged(tab: Tab, key: string): boolean {
  try {
    containerAt(tab, key)
    return false
  } catch (error) {
    if (error instanceof MalformedError) return true
    throw error
  }
}

export function mean(numbers: number[]): number {
  return numbers.reduce((sum, number) => sum + number, 0) / numbers.length
}
