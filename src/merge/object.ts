/** A merge for records, made of one merge per field. */
import { max } from './greatest.js'
import { type Merge, fieldsOf } from './order.js'

/**
 * Merges plain objects field by field, each with its own merge: `object({ tags: union(), seen: max() })`.
 *
 * Limits: a field that one sibling has and another removed comes back; of a field without a merge the greatest value stays
 * (as with {@link max}), so name every field that is changed concurrently; a sibling that is no object yields to one that is.
 * @throws TypeError for a field whose merge is none; when it merges, for one that gives a function
 */
export function object<V extends object>(merges: { [K in keyof V]?: Merge<V[K] & {}> }): Merge<V> {
  const mergeOf = new Map(Object.entries(merges) as [string, Merge<unknown>][])
  for (const [name, merge] of mergeOf)
    if (merge !== undefined && typeof merge !== 'function')
      throw new TypeError(`object takes a merge for each field, and of '${name}' it is none`)
  const greatest = max<unknown>()
  return (siblings) => {
    const objects = siblings.map(fieldsOf).filter((fields) => fields !== undefined)
    if (objects.length === 0) return greatest(siblings) as V
    const names = [...new Set(objects.flatMap((fields) => [...fields.keys()]))].sort()
    const merged = names.flatMap((name): [string, unknown][] => {
      const values = objects.map((fields) => fields.get(name)).filter((value) => value !== undefined)
      if (values.length === 0) return []
      const value = (mergeOf.get(name) ?? greatest)(values)
      // It would be taken for the field's value.
      if (typeof value === 'function')
        throw new TypeError(
          `object: the merge of '${name}' gave a function; ready-made ones are made by a call, as in max()`,
        )
      return [[name, value]]
    })
    return Object.fromEntries(merged) as V
  }
}
