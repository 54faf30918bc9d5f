/**
 * Causal contexts: exact sets of dots. A dot names one put; it is minted by the tab where the put starts, so a put that
 * is retried through other nodes keeps its one dot and can never become a sibling of itself. A context is a version
 * vector plus a cloud of dots that the vector does not reach yet (Almeida, Shoker, Baquero: Delta state replicated data
 * types, 2018; the dotted version vectors of Preguiça et al. 2010 are the case of one such dot).
 *
 * Invariant: a context covers exactly the dots it was built from. It never claims a dot that its builder has not seen,
 * which is what lets a merge drop a value because "the other side knew it" (§4.4).
 */
import type { ActorId } from '../ids.js'

export interface Dot {
  readonly actor: ActorId
  /** 1, 2, 3 … per actor and key. */
  readonly counter: number
}

export interface CausalContext {
  /** For each actor, all counters from 1 through this one are covered. */
  readonly vector: ReadonlyMap<ActorId, number>
  /** Covered counters beyond the vector's, per actor; an actor without any has no entry. */
  readonly cloud: ReadonlyMap<ActorId, ReadonlySet<number>>
}

const NO_CLOUD: ReadonlyMap<ActorId, ReadonlySet<number>> = new Map()

export const EMPTY_CONTEXT: CausalContext = { vector: new Map(), cloud: NO_CLOUD }

/** Whether the context knows this dot. */
export function covers(context: CausalContext, dot: Dot): boolean {
  return (
    (context.vector.get(dot.actor) ?? 0) >= dot.counter || (context.cloud.get(dot.actor)?.has(dot.counter) ?? false)
  )
}

/** The context that covers what either covers. */
export function joinContexts(a: CausalContext, b: CausalContext): CausalContext {
  if (a === b || isEmpty(b)) return a
  if (isEmpty(a)) return b
  const vector = new Map(a.vector)
  for (const [actor, counter] of b.vector) if (counter > (vector.get(actor) ?? 0)) vector.set(actor, counter)
  if (a.cloud.size === 0 && b.cloud.size === 0) return { vector, cloud: NO_CLOUD }
  const cloud = new Map<ActorId, Set<number>>()
  for (const side of [a.cloud, b.cloud]) {
    for (const [actor, counters] of side) {
      const all = cloud.get(actor) ?? new Set<number>()
      for (const counter of counters) all.add(counter)
      cloud.set(actor, all)
    }
  }
  return compact(vector, cloud)
}

/** The context that also covers one more dot. */
export function withDot(context: CausalContext, dot: Dot): CausalContext {
  if (covers(context, dot)) return context
  return joinContexts(context, compact(new Map(), new Map([[dot.actor, new Set([dot.counter])]])))
}

/** Whether `a` covers everything that `b` covers. */
export function descends(a: CausalContext, b: CausalContext): boolean {
  for (const [actor, counter] of b.vector) {
    const reached = a.vector.get(actor) ?? 0
    const beyond = a.cloud.get(actor)
    for (let c = reached + 1; c <= counter; c++) if (!beyond?.has(c)) return false
  }
  for (const [actor, counters] of b.cloud)
    for (const counter of counters) if (!covers(a, { actor, counter })) return false
  return true
}

export function isEmpty(context: CausalContext): boolean {
  return context.vector.size === 0 && context.cloud.size === 0
}

/** Builds a context from parts, moving cloud dots that join up with the vector into it: one form per set of dots. */
export function compact(vector: Map<ActorId, number>, cloud: Map<ActorId, Set<number>>): CausalContext {
  for (const [actor, counters] of cloud) {
    let reached = vector.get(actor) ?? 0
    while (counters.has(reached + 1)) reached++
    if (reached > 0) vector.set(actor, reached)
    for (const counter of counters) if (counter <= reached) counters.delete(counter)
    if (counters.size === 0) cloud.delete(actor)
  }
  return { vector, cloud: cloud.size === 0 ? NO_CLOUD : cloud }
}

/** The part of a context that belongs to the actors that `keep` accepts. */
export function restrict(context: CausalContext, keep: (actor: ActorId) => boolean): CausalContext {
  const vector = new Map([...context.vector].filter(([actor]) => keep(actor)))
  const cloud = new Map([...context.cloud].filter(([actor]) => keep(actor)))
  return { vector, cloud: cloud.size === 0 ? NO_CLOUD : cloud }
}

/** How many entries it takes to write the context down: what must not grow without bound. */
export function contextSize(context: CausalContext): number {
  let size = context.vector.size
  for (const counters of context.cloud.values()) size += counters.size
  return size
}
