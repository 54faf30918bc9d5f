/**
 * The paper's shopping cart (§4.4) as a value: a set of units, each a thing that one press of a button put in. Two carts that were changed
 * apart are merged as observed-remove sets (`orSet`), which decides what quantities mean:
 *
 * - what two tabs add at once adds up, also of the same item;
 * - a removal takes away the units that the page showed, and no others: of an item removed here and added there, what was added stays;
 * - one unit that two tabs take away at once is taken away once.
 */
import { type OrSet, orSet, orSetAdd, orSetRemove, orSetValues } from '../../merge/index.js'

/** The id tells units of one item apart. */
type Unit = [item: string, id: string]

export type Cart = OrSet<Unit>

export interface CartLine {
  item: string
  /** As many as the quantity. */
  units: Unit[]
}

/** The bucket that carts live in. Every tab of a room has to name the same ones. */
export const CART_BUCKETS = { carts: { merge: orSet<Unit>() } }

export const MAX_QUANTITY = 99

/** The cart with one more of an item, unless there are too many of it. */
export function addOne(cart: Cart | undefined, actor: string, item: string): Cart {
  const line = linesOf(cart).find((other) => other.item === item)
  if (line && line.units.length >= MAX_QUANTITY) throw new RangeError(`${MAX_QUANTITY} of ${item} are the most.`)
  return orSetAdd(cart, actor, [item, crypto.randomUUID().slice(0, 8)])
}

/** The cart with one less of an item; without the item after the last. */
export function takeOne(cart: Cart | undefined, item: string): Cart {
  const line = linesOf(cart).find((other) => other.item === item)
  return removeUnits(cart, line?.units.slice(-1) ?? [])
}

export function removeUnits(cart: Cart | undefined, units: readonly Unit[]): Cart {
  const empty: Cart = { clock: {}, additions: [] }
  return units.reduce((left, unit) => orSetRemove(left, unit), cart ?? empty)
}

/** By item, in the order of the alphabet. What is no unit is left out: anybody may write to a public room. */
export function linesOf(cart: Cart | undefined): CartLine[] {
  const lines = new Map<string, CartLine>()
  for (const unit of orSetValues<unknown>(cart)) {
    if (!isUnit(unit)) continue
    const line = lines.get(unit[0]) ?? { item: unit[0], units: [] }
    line.units.push(unit)
    lines.set(unit[0], line)
  }
  return [...lines.values()].sort((a, b) => a.item.localeCompare(b.item))
}

function isUnit(value: unknown): value is Unit {
  return Array.isArray(value) && value.length === 2 && value.every((part) => typeof part === 'string')
}
