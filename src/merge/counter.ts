/**
 * A number that many tabs add to and take from at once: a PN-counter (Shapiro et al. 2011), kept in the value itself.
 */
import { checkActor } from './actor.js'
import { type Merge, compareText, fieldsOf } from './order.js'

/** What each actor has added and what it has taken away so far, both only ever growing. */
export type Counter = { [actor: string]: [added: number, subtracted: number] }

/**
 * Merges {@link Counter}s: of every actor the furthest state. No addition is lost or counted twice.
 *
 *     const actor = newActor()
 *     await clicks.update('home', (value) => counterAdd(value, actor, 1))
 *     counterValue((await clicks.get('home')).value)
 *
 * Limits: one entry of some 20 bytes for every actor that ever changed it; one actor's changes must follow one
 * another (as `update` makes them), of two at once only the larger counts; entries that are not counts are left out.
 */
export function counter(): Merge<Counter> {
  return (siblings) => {
    const merged = new Map<string, [number, number]>()
    for (const sibling of siblings) {
      for (const [actor, [added, subtracted]] of entriesOf(sibling)) {
        const before = merged.get(actor) ?? [0, 0]
        merged.set(actor, [Math.max(before[0], added), Math.max(before[1], subtracted)])
      }
    }
    return fromEntries(merged)
  }
}

/** The counter after `actor` has added `amount`, which may be negative. Undefined is a counter at 0. */
export function counterAdd(state: Counter | undefined, actor: string, amount: number): Counter {
  checkActor(actor)
  if (!Number.isFinite(amount)) throw new TypeError(`a counter changes by a finite number, not by ${amount}`)
  const entries = entriesOf(state)
  const [added, subtracted] = entries.get(actor) ?? [0, 0]
  entries.set(actor, amount >= 0 ? [added + amount, subtracted] : [added, subtracted - amount])
  return fromEntries(entries)
}

export function counterValue(state: Counter | undefined): number {
  let value = 0
  for (const [added, subtracted] of Object.values(fromEntries(entriesOf(state)))) value += added - subtracted
  return value
}

function entriesOf(state: unknown): Map<string, [number, number]> {
  const entries = new Map<string, [number, number]>()
  for (const [actor, entry] of fieldsOf(state) ?? []) {
    if (!Array.isArray(entry) || entry.length !== 2) continue
    const [added, subtracted] = entry as unknown[]
    if (isAmount(added) && isAmount(subtracted)) entries.set(actor, [added, subtracted])
  }
  return entries
}

/** In the order of the actors, so that a sum of fractions comes out the same everywhere. */
function fromEntries(entries: Map<string, [number, number]>): Counter {
  return Object.fromEntries([...entries].sort(([a], [b]) => compareText(a, b)))
}

function isAmount(value: unknown): value is number {
  return typeof value === 'number' && value >= 0 && Number.isFinite(value)
}
