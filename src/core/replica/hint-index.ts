/**
 * The hints of this node, in memory: which keys wait for which homes. The rows themselves are on disk, in their own store (§4.6); this
 * index is what load() gave and every commit changed since; of a full disk, less than the rows say.
 */
import { Emitter } from '../emitter.js'
import type { HintRow, HintUpdate } from '../environment.js'
import type { NodeId, StoreKey } from '../ids.js'

interface Waiting {
  homes: readonly NodeId[]
  own: boolean
}

interface UnderWay {
  puts: number
  /** Another node may have been told what is in the row meanwhile, and have told others; or it has become a record here. */
  shown: boolean
  /** Puts that all homes have refused are being taken out of the row. */
  withdrawals: number
}

/** An update of a row on the disk, and what to call once it is committed. */
export interface Tracked {
  update: HintUpdate
  done: () => void
}

export class HintIndex {
  /** Emitted whenever a row loses homes or goes: delivered, taken over, or nobody left to wait for. */
  readonly events = new Emitter<{ fewer: undefined }>()
  private readonly rows = new Map<StoreKey, Waiting>()
  private readonly byHome = new Map<NodeId, Set<StoreKey>>()
  /** Rows that contain a write issued here. */
  own = 0
  /** Keys of puts that still wait for their homes' answers: delivering their hints as well would be doing it twice. */
  private readonly underWay = new Map<StoreKey, UnderWay>()
  /** Times that a put was taken out of a row: a row that was being read meanwhile may still have it. */
  withdrawn = 0

  /** The disk that they were on is lost. Nobody is told that there are fewer: nothing has arrived. */
  clear(): void {
    this.rows.clear()
    this.byHome.clear()
    this.own = 0
  }

  set(key: StoreKey, row: Waiting | undefined): void {
    const former = this.rows.get(key)
    this.replace(key, former, row)
    if (former && (!row || row.homes.length < former.homes.length || (former.own && !row.own)))
      this.events.emit('fewer', undefined)
  }

  /** These homes have it, and the row on the disk could not be told. */
  relieve(key: StoreKey, homes: readonly NodeId[]): void {
    const row = this.rows.get(key)
    if (!row) return
    const left = row.homes.filter((home) => !homes.includes(home))
    this.set(key, left.length === 0 ? undefined : { ...row, homes: left })
  }

  private replace(key: StoreKey, former: Waiting | undefined, row: Waiting | undefined): void {
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
   * Wraps an update so that the index follows once it is committed. An `apply` may run more than once; where it never ran, there is nothing to follow.
   */
  tracked(update: HintUpdate): Tracked {
    let result: HintRow | undefined | 'unknown' = 'unknown'
    return {
      update: {
        key: update.key,
        apply: (current) => {
          const row = update.apply(current)
          result = row
          return row
        },
      },
      done: () => {
        if (result !== 'unknown') this.set(update.key, result)
      },
    }
  }

  putBegan(key: StoreKey): void {
    const underWay = this.underWay.get(key)
    if (underWay) underWay.puts++
    else this.underWay.set(key, { puts: 1, shown: false, withdrawals: 0 })
  }

  putEnded(key: StoreKey): void {
    const underWay = this.underWay.get(key)
    if (underWay && --underWay.puts === 0) this.underWay.delete(key)
  }

  /** A put of this tab has not been decided: it may be refused, and taken out again. */
  isUnderWay(key: StoreKey): boolean {
    return this.underWay.has(key)
  }

  /** Asked before the row is shown to another node, or made a record; what was shown once can never be taken out again. */
  mayBeShown(key: StoreKey): boolean {
    const underWay = this.underWay.get(key)
    if (!underWay) return true
    if (underWay.withdrawals > 0) return false
    underWay.shown = true
    return true
  }

  /** Runs `work`, which takes a put that is under way out of the row, while nobody is shown the row. @returns false, without running it, when somebody was already */
  async unseen(key: StoreKey, work: () => Promise<void>): Promise<boolean> {
    const underWay = this.underWay.get(key)
    if (!underWay || underWay.shown) return false
    underWay.withdrawals++
    try {
      await work()
      return true
    } finally {
      this.withdrawn++
      underWay.withdrawals--
    }
  }

  has(key: StoreKey): boolean {
    return this.rows.has(key)
  }

  isOwn(key: StoreKey): boolean {
    return this.rows.get(key)?.own ?? false
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
