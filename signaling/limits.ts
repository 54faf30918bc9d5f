/**
 * What one client may ask of the signaling server. Everything is bounded, because anybody can reach a signaling server:
 * the size and the rate of messages, the peers of a room, rooms, connections per address, and silence. Relied on by the
 * server; `rateLimit` is a plain token bucket (Turner 1986).
 */

export interface SignalingLimits {
  /** Largest message that is accepted, in bytes of UTF-8. */
  messageBytes: number
  /** Messages per second that one connection may send in the long run. */
  messagesPerSecond: number
  /** Messages that one connection may send at once: joining a large room needs some per peer. */
  messageBurst: number
  peersPerRoom: number
  rooms: number
  connectionsPerAddress: number
  /** A connection that has not joined a room for so long, or was not heard of at all (not even a pong), is closed. */
  idleMs: number
  /** How often the server pings. Must be well below `idleMs`. */
  heartbeatMs: number
  /** Bytes that may wait for a client that does not read. */
  backlogBytes: number
}

export const defaultLimits: SignalingLimits = {
  messageBytes: 64 * 1024,
  messagesPerSecond: 50,
  messageBurst: 500,
  peersPerRoom: 256,
  rooms: 10_000,
  connectionsPerAddress: 256,
  idleMs: 60_000,
  heartbeatMs: 25_000,
  backlogBytes: 1024 * 1024,
}

/** Timers that are set for longer fire at once. */
const MAX_TIMER_MS = 2 ** 31 - 1

/** What is counted one by one. */
const COUNTS: readonly string[] = ['peersPerRoom', 'rooms', 'connectionsPerAddress']

/** The limits with defaults filled in. @throws TypeError that names the option which is none, or no number that makes sense */
export function checkLimits(given: Partial<SignalingLimits>): SignalingLimits {
  for (const [name, value] of Object.entries(given)) {
    if (!Object.hasOwn(defaultLimits, name)) throw new TypeError(`${name} is no option of a signaling server`)
    if (value !== undefined && !(Number.isFinite(value) && value > 0))
      throw new TypeError(`${name} must be a positive number, and it is ${JSON.stringify(value)}`)
    if (value !== undefined && COUNTS.includes(name) && !Number.isInteger(value))
      throw new TypeError(`${name} must be a whole number, and it is ${value}`)
  }
  const set = Object.entries(given).filter(([, value]) => value !== undefined)
  const limits: SignalingLimits = { ...defaultLimits, ...Object.fromEntries(set) }
  if (limits.heartbeatMs >= limits.idleMs) {
    throw new TypeError(`heartbeatMs (${limits.heartbeatMs}) must be smaller than idleMs (${limits.idleMs})`)
  }
  if (limits.heartbeatMs > MAX_TIMER_MS)
    throw new TypeError(`heartbeatMs must be at most ${MAX_TIMER_MS}, and it is ${limits.heartbeatMs}`)
  return limits
}

/** True as long as calls stay below `perSecond` on average and `burst` at once; `now` in milliseconds. */
export function rateLimit(
  perSecond: number,
  burst: number,
  now: () => number = () => performance.now(),
): () => boolean {
  let tokens = burst
  let filledAt = now()
  return () => {
    const time = now()
    tokens = Math.min(burst, tokens + ((time - filledAt) / 1000) * perSecond)
    filledAt = time
    if (tokens < 1) return false
    tokens -= 1
    return true
  }
}
