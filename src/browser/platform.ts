/** The tab's clock and chance. */
import type { Clock, Random } from '../core/environment.js'

export const browserClock: Clock = {
  now: () => performance.now(),
  wallTime: () => Date.now(),
  setTimer(delayMs, callback) {
    const timer = setTimeout(callback, delayMs)
    return () => clearTimeout(timer)
  },
}

const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'

export const browserRandom: Random = {
  next: () => Math.random(),
  id(length) {
    let id = ''
    for (const byte of crypto.getRandomValues(new Uint8Array(length))) id += ALPHABET[byte % 64]
    return id
  },
}
