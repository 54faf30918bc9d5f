/**
 * What this node has lately agreed to forget. A read that began before that may still hold what the forgotten tombstone had replaced, and nothing is
 * left on any disk that would tell.
 */
import type { StoreKey } from '../ids.js'

const MAX_KEYS = 20_000

export class Forgettings {
  /** Grows with every agreement: a moment to ask about later. */
  now = 0
  /** When each key was last agreed on, the oldest first. */
  private readonly last = new Map<StoreKey, number>()
  /** Of earlier moments too much has happened to know. */
  private known = 0

  note(keys: readonly StoreKey[]): void {
    this.now++
    for (const key of keys) {
      this.last.delete(key)
      this.last.set(key, this.now)
    }
    for (const [key, moment] of this.last) {
      if (this.last.size <= MAX_KEYS) break
      this.last.delete(key)
      this.known = moment
    }
  }

  /** Whether something of the key may have been forgotten after that moment. */
  since(moment: number, key: StoreKey): boolean {
    return moment < this.known || (this.last.get(key) ?? 0) > moment
  }
}
