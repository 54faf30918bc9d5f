/**
 * One total order over every value a store carries, so that merges can choose and sort the same way on every node,
 * whatever order the siblings arrive in. Invariant: `compare` is 0 exactly when `textOf` is the same.
 */

/**
 * What is given to a bucket as its `merge`: commutative, associative, idempotent, and total: it
 * answers for any one or more siblings, whatever they hold, and changes none of them.
 */
export type Merge<V> = (siblings: V[]) => V

/**
 * Orders by kind first (null, booleans, numbers, bigints, strings, dates, bytes, then collections), then by value;
 * NaN is the least number. Collections have an order, but not one that means anything.
 */
export function compare(a: unknown, b: unknown): number {
  const kind = kindOf(a)
  return kind - kindOf(b) || compareWithin(kind, a, b) || compareText(textOf(a), textOf(b))
}

/** Distinct for values that differ in content; the order in which a Map, Set or object was filled does not count. */
export function textOf(value: unknown): string {
  switch (kindOf(value)) {
    case Kind.number:
      return Object.is(value, -0) ? '-0' : String(value)
    case Kind.bigint:
      return `${value}n`
    case Kind.string:
      return JSON.stringify(value)
    case Kind.date:
      return `date ${(value as Date).getTime()}`
    case Kind.bytes:
      return `bytes [${(value as Uint8Array).join()}]`
    case Kind.list:
      return `[${(value as unknown[]).map(textOf).join()}]`
    case Kind.set:
      return `set {${[...(value as Set<unknown>)].map(textOf).sort().join()}}`
    case Kind.map:
      return `map {${[...(value as Map<unknown, unknown>)].map(pairText).sort().join()}}`
    case Kind.object:
      return `{${Object.entries(value as object)
        .map(pairText)
        .sort()
        .join()}}`
    default:
      return String(value)
  }
}

/** One of each distinct element, in order. */
export function distinct<T>(elements: Iterable<T>): T[] {
  const byText = new Map<string, T>()
  for (const element of elements) {
    const text = textOf(element)
    if (!byText.has(text)) byText.set(text, element)
  }
  return [...byText.values()].sort(compare)
}

/** The own fields of a plain object; undefined for everything else. */
export function fieldsOf(value: unknown): Map<string, unknown> | undefined {
  return kindOf(value) === Kind.object ? new Map(Object.entries(value as object)) : undefined
}

export function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}

const Kind = {
  absent: 0,
  boolean: 1,
  number: 2,
  bigint: 3,
  string: 4,
  date: 5,
  bytes: 6,
  list: 7,
  set: 8,
  map: 9,
  object: 10,
  other: 11,
} as const
type Kind = (typeof Kind)[keyof typeof Kind]

function kindOf(value: unknown): Kind {
  switch (typeof value) {
    case 'undefined':
      return Kind.absent
    case 'boolean':
      return Kind.boolean
    case 'number':
      return Kind.number
    case 'bigint':
      return Kind.bigint
    case 'string':
      return Kind.string
    case 'object':
      if (value === null) return Kind.absent
      if (value instanceof Date) return Kind.date
      if (value instanceof Uint8Array) return Kind.bytes
      if (Array.isArray(value)) return Kind.list
      if (value instanceof Set) return Kind.set
      if (value instanceof Map) return Kind.map
      return Kind.object
    default:
      return Kind.other
  }
}

/** 0 where the kind has no order of its own, or a tie that the text decides (-0 and 0). */
function compareWithin(kind: Kind, a: unknown, b: unknown): number {
  switch (kind) {
    case Kind.number:
      return compareNumbers(a as number, b as number)
    case Kind.date:
      return compareNumbers((a as Date).getTime(), (b as Date).getTime())
    case Kind.bigint:
      return (a as bigint) < (b as bigint) ? -1 : (a as bigint) > (b as bigint) ? 1 : 0
    case Kind.string:
      return compareText(a as string, b as string)
    default:
      return 0
  }
}

function compareNumbers(a: number, b: number): number {
  if (Number.isNaN(a) || Number.isNaN(b)) return Number(Number.isNaN(b)) - Number(Number.isNaN(a))
  return a < b ? -1 : a > b ? 1 : 0
}

function pairText([key, value]: [unknown, unknown]): string {
  return `${textOf(key)}:${textOf(value)}`
}
