/** Tells an application of each conflict once per state: whether a read met it or replication brought it to this node's disk. */
import { type StoreKey, parseStoreKey } from '../core/ids.js'
import { type Container, isLiveSibling } from '../core/versions/container.js'
import { digestOf } from '../core/versions/encoding.js'

export interface Conflict {
  bucket: string
  key: string
  siblings: number
  /** A warning: `warnSiblings` or more, and at `maxSiblings` the next concurrent write is refused. Put a merged value with the entry's context. */
  many: boolean
}

const MAX_REMEMBERED = 1000

export class Conflicts {
  /** The states that were told, by key. */
  private readonly told = new Map<StoreKey, string>()

  constructor(
    private readonly wallTime: () => number,
    private readonly warnSiblings: number,
    private readonly tell: (conflict: Conflict) => void,
  ) {}

  look(key: StoreKey, container: Container): void {
    const siblings = container.siblings.filter((sibling) => isLiveSibling(sibling, this.wallTime())).length
    if (siblings < 2) {
      this.told.delete(key)
      return
    }
    const { high, low } = digestOf(key, container)
    const state = `${high} ${low}`
    const name = parseStoreKey(key)
    if (this.told.get(key) === state || !name) return
    this.told.set(key, state)
    if (this.told.size > MAX_REMEMBERED)
      for (const [oldest] of this.told) {
        this.told.delete(oldest)
        break
      }
    this.tell({ bucket: name.bucket, key: name.key, siblings, many: siblings >= this.warnSiblings })
  }
}
