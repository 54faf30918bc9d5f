/** Merges that keep one sibling whole and drop the others. */
import { type Merge, compare, fieldsOf } from './order.js'

/**
 * The greatest sibling: numbers, bigints, strings and dates by value; kinds are not mixed (every string is greater than
 * every number). Right for high scores, 'seen up to' marks and version numbers.
 *
 * Limit: it is not a sum. Two tabs that each add one to 5 leave 6; use {@link counter} for that.
 */
export function max<V>(): Merge<V> {
  return (siblings) => greatest(siblings, compare)
}

/**
 * **Lossy.** The sibling whose `field` is greatest ('last writer wins' when the field holds the time of writing);
 * equal ones are told apart by their content, siblings without the field come last.
 *
 * Limits: every other concurrent write is dropped without a trace, and a device whose clock is ahead wins until the
 * others catch up. Right for values that are replaced whole and may be lost: a cursor, a presence note, a preference.
 * @throws TypeError for a field that is no text
 */
export function lww<V>(field: string): Merge<V> {
  if (typeof field !== 'string') throw new TypeError("lww takes the name of a field, as in lww('changedAt')")
  const time = (sibling: V) => fieldsOf(sibling)?.get(field)
  return (siblings) => greatest(siblings, (a, b) => compare(time(a), time(b)) || compare(a, b))
}

function greatest<V>(siblings: V[], order: (a: V, b: V) => number): V {
  return siblings.reduce((best, sibling) => (order(sibling, best) > 0 ? sibling : best))
}
