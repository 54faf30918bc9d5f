/**
 * Dotted causal containers: the whole state of one key at one place. Siblings with their dots, and one context that also
 * covers everything these siblings replaced. All that moves data (replication, hints, read repair, Merkle sync,
 * transfer) sends containers and merges containers; replicas never mint dots.
 *
 * Merging is commutative, associative and idempotent, so any order, any number and any route of deliveries ends in
 * the same container. Relied on by requests and sync; relies on contexts only.
 */
import {
  type CausalContext,
  type Dot,
  EMPTY_CONTEXT,
  covers,
  descends,
  isEmpty,
  joinContexts,
  restrict,
  withDot,
} from './context.js'

/** One version of a key. Its bytes are encoded once, at the put, and opaque from then on. */
export interface Sibling {
  readonly dot: Dot
  /** undefined is a tombstone: a delete is a version without a value. */
  readonly value: Uint8Array | undefined
  /** Checksum of `value`, made at the put: carried over every wire and disk. */
  readonly checksum: number
  /** Milliseconds since 1970 after which it counts as deleted; 0 is never. Absolute, so that moving it never extends it (P7). */
  readonly expiresAt: number
}

export interface Container {
  /** Ordered by dot: the same order everywhere. */
  readonly siblings: readonly Sibling[]
  /** Covers the dots of all siblings, and of all that they replaced. */
  readonly context: CausalContext
}

export const EMPTY_CONTAINER: Container = { siblings: [], context: EMPTY_CONTEXT }

/** The container of one new version that descends from `context`: what a put or a delete sends out (§4.4). */
export function writtenContainer(context: CausalContext, sibling: Sibling): Container {
  return { siblings: [sibling], context: withDot(context, sibling.dot) }
}

/** Keeps what both have, and what one has and the other's context does not cover; nothing else survives. Gives back the one that has it all, where one does. */
export function mergeContainers(a: Container, b: Container): Container {
  if (a === b || isEmpty(b.context)) return a
  if (isEmpty(a.context)) return b
  const siblings: Sibling[] = []
  for (const sibling of a.siblings) {
    if (hasDot(b, sibling.dot) || !covers(b.context, sibling.dot)) siblings.push(sibling)
  }
  for (const sibling of b.siblings) {
    if (!covers(a.context, sibling.dot)) siblings.push(sibling)
  }
  for (const one of [a, b]) if (isAllOf(one, siblings, one === a ? b.context : a.context)) return one
  siblings.sort((x, y) => compareDots(x.dot, y.dot))
  return { siblings, context: joinContexts(a.context, b.context) }
}

/** Whether these merged siblings are those of the container, and its context covers the other one as well. */
function isAllOf(container: Container, merged: readonly Sibling[], other: CausalContext): boolean {
  return (
    merged.length === container.siblings.length &&
    merged.every((sibling) => hasDot(container, sibling.dot)) &&
    descends(container.context, other)
  )
}

/**
 * Whether merging `b` into `a` would change nothing: `a` knows all that `b` knows. More than `descends` of their contexts, because of
 * two containers that cover the same dots one may have dropped a sibling that the other still shows.
 */
export function dominates(a: Container, b: Container): boolean {
  return mergeContainers(a, b) === a
}

/** True when the key holds a value: some sibling is neither a tombstone nor expired at `wallTime`. */
export function isLive(container: Container, wallTime = 0): boolean {
  return container.siblings.some((sibling) => isLiveSibling(sibling, wallTime))
}

export function isLiveSibling(sibling: Sibling, wallTime: number): boolean {
  return sibling.value !== undefined && (sibling.expiresAt === 0 || sibling.expiresAt > wallTime)
}

/**
 * The container without the context entries that only cover replaced versions. Only legal where every member confirmed this very
 * container (causal stability): an older version that still travels would come back otherwise (P1).
 */
export function withStableContextDropped(container: Container): Container {
  const actors = new Set(container.siblings.map((sibling) => sibling.dot.actor))
  return { siblings: container.siblings, context: restrict(container.context, (actor) => actors.has(actor)) }
}

function hasDot(container: Container, dot: Dot): boolean {
  return container.siblings.some((sibling) => sibling.dot.counter === dot.counter && sibling.dot.actor === dot.actor)
}

export function compareDots(a: Dot, b: Dot): number {
  if (a.actor !== b.actor) return a.actor < b.actor ? -1 : 1
  return a.counter - b.counter
}
