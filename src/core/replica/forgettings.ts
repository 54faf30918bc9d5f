/**
 * What this node has lately agreed to forget, and what may be kept all the same. A read that began before that may still hold what the forgotten
 * tombstone had replaced, and nothing is left on any disk that would tell.
 */
import type { Digest } from '../environment.js'
import type { StoreKey } from '../ids.js'
import { type Container, withStableContextDropped } from '../versions/container.js'
import { digestOf } from '../versions/encoding.js'
import { sameDigest } from './merkle.js'

/** Everybody is about to forget a deleted key, or what the long context of a living one says of versions that were replaced. */
export interface Agreed {
  key: StoreKey
  /** Of a key that lives: the digest of what will be left everywhere. */
  left: Digest | undefined
}

/**
 * What has been kept of such a key, in the form that is left of it; undefined where it may not be kept any longer. With the very siblings that are
 * left, a longer context covers only what no longer exists. Any other version may be one of those whose replacement nobody will
 * know of: shown once more, it would be news.
 */
export function leftOf(container: Container, { key, left }: Agreed): Container | undefined {
  const shortened = withStableContextDropped(container)
  return left && sameDigest(digestOf(key, shortened), left) ? shortened : undefined
}

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
