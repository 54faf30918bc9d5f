/** Sets that only grow, as in the paper's shopping cart (§4.4). */
import { type Merge, distinct } from './order.js'

/**
 * Every element that any sibling has, once each, in a fixed order (equal means equal content, not identity). A Set when a
 * sibling is a Set, an array otherwise; null is empty, any other value counts as one element.
 *
 * Limits: an element that one sibling removed and another still has comes back (the paper's resurfacing cart item); use
 * {@link orSet} when removals must hold. Arrays are treated as sets: their order and repeated elements are not kept.
 */
export function union<C extends unknown[] | Set<unknown>>(): Merge<C> {
  return (siblings) => {
    const elements = distinct(siblings.flatMap(elementsOf))
    return (siblings.some((sibling) => sibling instanceof Set) ? new Set(elements) : elements) as C
  }
}

function elementsOf(sibling: unknown): unknown[] {
  if (sibling === null || sibling === undefined) return []
  return Array.isArray(sibling) || sibling instanceof Set ? [...sibling] : [sibling]
}
