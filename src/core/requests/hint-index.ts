/**
 * The hints of this node, in memory: which keys wait for which homes. The rows themselves are on disk, in their own store (§4.6); this
 * index is what load() gave and every commit changed since.
 */
import type { HintRow, HintUpdate } from '../environment.js'
import type { NodeId, StoreKey } from '../ids.js'

interface Waiting {
  homes: readonly NodeId[]
  own: boolean
}

export class HintIndex {
  private readonly rows = new Map<StoreKey, Waiting>()
  private readonly byHome = new Map<NodeId, Set<StoreKey>>()
  /** Rows that contain a write issued here. */
  own = 0
  /** Keys of puts that still wait for their homes' answers: delivering their hints as well would be doing it twice. */
  private readonly underWay = new Map<StoreKey, number>()

  /** There are none any more. */
  clear(): void {
    this.rows.clear()
    this.byHome.clear()
    this.own = 0
  }

  set(key: StoreKey, row: Waiting | undefined): void {
    const former = this.rows.get(key)
    if (former) {
      for (const home of former.homes) {
        const keys = this.byHome.get(home)
        keys?.delete(key)
        if (keys?.size === 0) this.byHome.delete(home)
      }
      if (former.own) this.own--
      this.rows.delete(key)
    }
    if (!row) return
    this.rows.set(key, { homes: [...row.homes], own: row.own })
    for (const home of row.homes) {
      const keys = this.byHome.get(home) ?? new Set()
      this.byHome.set(home, keys.add(key))
    }
    if (row.own) this.own++
  }

  /**
   * Wraps an update so that the index follows once the commit has succeeded: call the returned `done` then. An `apply` may run more than once.
   */
  tracked(update: HintUpdate): { update: HintUpdate; done: () => void } {
    let result: HintRow | undefined
    return {
      update: {
        key: update.key,
        apply: (current) => {
          result = update.apply(current)
          return result
        },
      },
      done: () => this.set(update.key, result),
    }
  }

  putBegan(key: StoreKey): void {
    this.underWay.set(key, (this.underWay.get(key) ?? 0) + 1)
  }

  putEnded(key: StoreKey): void {
    const left = (this.underWay.get(key) ?? 0) - 1
    if (left > 0) this.underWay.set(key, left)
    else this.underWay.delete(key)
  }

  /** A put of this tab has not been decided: it may be refused, and taken out again. */
  isUnderWay(key: StoreKey): boolean {
    return this.underWay.has(key)
  }

  has(key: StoreKey): boolean {
    return this.rows.has(key)
  }

  homesOf(key: StoreKey): readonly NodeId[] {
    return this.rows.get(key)?.homes ?? []
  }

  homes(): NodeId[] {
    return [...this.byHome.keys()]
  }

  /** Keys to deliver now. */
  keysFor(home: NodeId, limit: number): StoreKey[] {
    const keys: StoreKey[] = []
    for (const key of this.byHome.get(home) ?? []) {
      if (keys.length >= limit) break
      if (!this.underWay.has(key)) keys.push(key)
    }
    return keys
  }

  keys(): StoreKey[] {
    return [...this.rows.keys()]
  }

  /** Key and home pairs still to be delivered. */
  get pending(): number {
    let pending = 0
    for (const keys of this.byHome.values()) pending += keys.size
    return pending
  }
}
