/**
 * How many connections this page may still make. Chromium counts closed connections until garbage collection and refuses
 * to make more than 500 per process, so creations are counted, not only live links; the count is the page's, because all
 * meshes of a page share the process.
 */

const WINDOW_MS = 5 * 60_000
const MAX_CREATED = 250
/** Of these, for peers that have not just been dialed in vain: many that cannot be reached must not keep others from being. */
const RESERVED = 50
/** After the browser has refused one in spite of all. */
const REFUSED_MS = 30_000

const createdAt: number[] = []
let refusedUntil = 0

/** Counts a connection that is about to be made; false when it should wait. `isRetry`: the last one to this page of the peer came to nothing. */
export function mayCreateConnection(now: number, isRetry: boolean): boolean {
  while (createdAt.length > 0 && now - (createdAt[0] as number) > WINDOW_MS) createdAt.shift()
  if (now < refusedUntil || createdAt.length >= MAX_CREATED - (isRetry ? RESERVED : 0)) return false
  createdAt.push(now)
  return true
}

export function connectionWasRefused(now: number): void {
  refusedUntil = now + REFUSED_MS
}
