/**
 * A set that elements can be removed from: an observed-remove set without tombstones (Bieniusa et al. 2012), kept in the
 * value itself. Each addition is a dot (actor, counter); an element is in while one of its dots is. A dot that the clock
 * covers but that is not there has been removed. Invariant: the clock covers every dot of its set.
 */
import { checkActor } from './actor.js'
import { type Merge, compare, compareText, distinct, fieldsOf, textOf } from './order.js'

type Addition<T> = [actor: string, counter: number, element: T]

export interface OrSet<T> {
  /** How many additions of each actor this state has seen. */
  clock: { [actor: string]: number }
  additions: Addition<T>[]
}

/**
 * Merges {@link OrSet}s: a removal takes away the additions that it had seen, so an element removed in one tab and
 * added anew in another at the same time stays in. No other removal is undone, no other addition lost.
 *
 *     const actor = newActor()
 *     await lists.update('todo', (value) => orSetAdd(value, actor, 'milk'))
 *     await lists.update('todo', (value) => orSetRemove(value, 'milk'))
 *     orSetValues((await lists.get('todo')).value)
 *
 * Limits: one clock entry of some 20 bytes for every actor that ever added; one actor's additions must follow one another
 * (as `update` makes them), of two at once **both are lost**; no order; an element is changed by removing it and adding
 * another; what is not such a set counts as an empty one.
 */
export function orSet<T>(): Merge<OrSet<T>> {
  return (siblings) => toPlain(siblings.map(fromPlain<T>).reduce(join))
}

/** The set with `element` in it; undefined is an empty set. */
export function orSetAdd<T>(state: OrSet<T> | undefined, actor: string, element: T): OrSet<T> {
  checkActor(actor)
  const set = fromPlain<T>(orSetRemove(state, element))
  const counter = (set.clock.get(actor) ?? 0) + 1
  set.clock.set(actor, counter)
  const addition: Addition<T> = [actor, counter, element]
  set.additions.set(textOf(addition), addition)
  return toPlain(set)
}

/** The set without `element`, found by content; undefined is an empty set. */
export function orSetRemove<T>(state: OrSet<T> | undefined, element: T): OrSet<T> {
  const set = fromPlain<T>(state)
  const text = textOf(element)
  for (const [key, addition] of set.additions) if (textOf(addition[2]) === text) set.additions.delete(key)
  return toPlain(set)
}

export function orSetHas<T>(state: OrSet<T> | undefined, element: T): boolean {
  const text = textOf(element)
  return orSetValues(state).some((value) => textOf(value) === text)
}

/** The elements, once each, in a fixed order. */
export function orSetValues<T>(state: OrSet<T> | undefined): T[] {
  return distinct([...fromPlain<T>(state).additions.values()].map(([, , element]) => element))
}

interface State<T> {
  clock: Map<string, number>
  /** By the text of the whole addition: even if an actor was used twice, equal dots with other elements stay apart. */
  additions: Map<string, Addition<T>>
}

/** Per addition unseen < present < removed, and the greater wins: that is why the laws hold. */
function join<T>(a: State<T>, b: State<T>): State<T> {
  const additions = new Map<string, Addition<T>>()
  const keep = (from: State<T>, other: State<T>) => {
    for (const [text, addition] of from.additions) {
      const [actor, counter] = addition
      if (other.additions.has(text) || counter > (other.clock.get(actor) ?? 0)) additions.set(text, addition)
    }
  }
  keep(a, b)
  keep(b, a)
  const clock = new Map(a.clock)
  for (const [actor, counter] of b.clock) clock.set(actor, Math.max(counter, clock.get(actor) ?? 0))
  return { clock, additions }
}

function fromPlain<T>(plain: unknown): State<T> {
  const fields = fieldsOf(plain)
  const clock = new Map<string, number>()
  for (const [actor, counter] of fieldsOf(fields?.get('clock')) ?? []) if (isCounter(counter)) clock.set(actor, counter)
  const listed = fields?.get('additions')
  const additions = new Map<string, Addition<T>>()
  for (const addition of Array.isArray(listed) ? listed : []) {
    if (!Array.isArray(addition) || addition.length !== 3) continue
    const [actor, counter] = addition
    if (typeof actor !== 'string' || !isCounter(counter)) continue
    additions.set(textOf(addition), addition as Addition<T>)
    clock.set(actor, Math.max(counter, clock.get(actor) ?? 0))
  }
  return { clock, additions }
}

function toPlain<T>({ clock, additions }: State<T>): OrSet<T> {
  return {
    clock: Object.fromEntries([...clock].sort(([a], [b]) => compareText(a, b))),
    additions: [...additions.values()].sort(compare),
  }
}

function isCounter(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) > 0
}
