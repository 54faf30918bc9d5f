/**
 * How many concurrent versions of a key a new write may find. Copies of old writes are never refused. What is deleted or has expired is no version to an
 * application, and no reason to refuse it one; but all that is there is read, merged and sent with each request, until the scrub has cleaned it.
 */
import { MAX_CONTAINER_BYTES } from '../messages.js'
import { type Container, isLiveSibling } from '../versions/container.js'

/** Of all versions of a key together. What two sides of a cut have taken, each up to this, still travels as one. */
const MAX_FRESH_BYTES = MAX_CONTAINER_BYTES / 2
/** So many times the limit of living versions is the one of all, tombstones and expired ones too. */
const DEAD_AND_ALIVE = 10

/** Whether `merged` is more than may be, and more than `former` was. @param maxSiblings 0 is no limit */
export function isTooMany(former: Container, merged: Container, maxSiblings: number, wallTime: number): boolean {
  if (maxSiblings === 0 || merged.siblings.length === 1) return false
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
