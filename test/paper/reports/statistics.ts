/** Small numbers for the reports, and how operations on a simulated ring are timed. */
import type { SeededRandom } from '../../sim/random.js'
import type { Ring } from '../../sim/ring.js'

/** Log-normal around its median (Box and Muller 1958). */
export function logNormal(random: SeededRandom, median: number, sigma: number): number {
  const normal = Math.sqrt(-2 * Math.log(1 - random.next())) * Math.cos(2 * Math.PI * random.next())
  return median * Math.exp(sigma * normal)
}

/** The time until the next event of a Poisson process. */
export function untilNext(random: SeededRandom, meanMs: number): number {
  return -Math.log(1 - random.next()) * meanMs
}

/** How long the operation takes, to the event: `Ring.await` alone looks once a millisecond. */
export async function timed<T>(ring: Ring, operation: Promise<T>): Promise<{ result: T; tookMs: number }> {
  const { time } = ring.world
  const start = time.now
  const ended = operation.then((result) => ({ result, tookMs: time.now - start }))
  return ring.await(ended)
}

export function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length
}

export function ascending(values: readonly number[]): number[] {
  return [...values].sort((a, b) => a - b)
}

/** The value at this part of a sorted list. */
export function quantile(sorted: readonly number[], part: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? Number.NaN
}

/** One standard error of a share that so many trials gave. */
export function standardError(share: number, trials: number): number {
  return Math.sqrt((share * (1 - share)) / trials)
}

export function ms(value: number): string {
  return `${value.toFixed(value < 10 ? 2 : 1)} ms`
}
