/**
 * How many concurrent versions of a key a new write may find. Copies of old writes are never refused. What is deleted or has expired is no version to an
 * application, and no reason to refuse it one; but all that is there is read, merged and sent with each request, until the scrub has cleaned it.
 */
import { type Clock, MAX_TTL_MS } from '../environment.js'
import type { StoreKey } from '../ids.js'
import { MAX_CONTAINER_BYTES } from '../messages.js'
import { type Container, isLiveSibling } from '../versions/container.js'
import type { Dot } from '../versions/context.js'

/** Of all versions of a key together. What two sides of a cut have taken, each up to this, still travels as one. */
const MAX_FRESH_BYTES = MAX_CONTAINER_BYTES / 2
/** So many times the limit of living versions is the one of all, tombstones and expired ones too. */
const DEAD_AND_ALIVE = 10

export class SiblingLimit {
  /** Writes that are refused, the oldest first: since when, and as which object it came then. */
  private readonly refused = new Map<string, { since: number; dot: Dot }>()

  constructor(private readonly clock: Clock) {}

  /**
   * Whether the write finds no room. For as long as frames live, one that was refused is refused again: its writer was told that it is nowhere, and a
   * second frame of the same put might find room. Not so the very same one, in a transaction that is repeated: nobody has been told of it.
   * @param maxSiblings 0 is no limit: a copy of an old write
   */
  refuses(key: StoreKey, write: Container, former: Container, merged: Container, maxSiblings: number): boolean {
    this.forgetOld()
    const [version] = write.siblings
    if (maxSiblings === 0 || !version) return false
    const { dot } = version
    const name = `${key} ${dot.actor}:${dot.counter}`
    const earlier = this.refused.get(name)
    if (earlier && earlier.dot !== dot) return true
    this.refused.delete(name)
    if (!isTooMany(former, merged, maxSiblings, this.clock.wallTime())) return false
    this.refused.set(name, { since: this.clock.now(), dot })
    return true
  }

  private forgetOld(): void {
    const lately = this.clock.now() - MAX_TTL_MS
    for (const [name, { since }] of this.refused) {
      if (since >= lately) return
      this.refused.delete(name)
    }
  }
}

/** Whether `merged` is more than may be, and more than `former` was. */
function isTooMany(former: Container, merged: Container, maxSiblings: number, wallTime: number): boolean {
  if (merged.siblings.length === 1) return false
  const isOver = (limit: number, measure: (container: Container) => number) =>
    measure(merged) > limit && measure(merged) > measure(former)
  const livingOf = ({ siblings }: Container) => siblings.filter((sibling) => isLiveSibling(sibling, wallTime)).length
  return (
    isOver(maxSiblings, livingOf) ||
    isOver(DEAD_AND_ALIVE * maxSiblings, ({ siblings }) => siblings.length) ||
    isOver(MAX_FRESH_BYTES, bytesOf)
  )
}

function bytesOf({ siblings }: Container): number {
  return siblings.reduce((sum, { value }) => sum + (value?.length ?? 0), 0)
}
