import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  type Counter,
  type Merge,
  type OrSet,
  counter,
  counterAdd,
  counterValue,
  lww,
  max,
  newActor,
  object,
  orSet,
  orSetAdd,
  orSetHas,
  orSetRemove,
  orSetValues,
  union,
} from '../../src/merge/index.js'

/** Everything that a store carries, and small enough that equal parts meet. */
const { value: anyValue } = fc.letrec<{ value: unknown }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 3, depthSize: 'small' },
    fc.constantFrom<unknown>(
      null,
      undefined,
      true,
      false,
      0,
      -0,
      1,
      -1.5,
      Number.NaN,
      Infinity,
      5n,
      -5n,
      '',
      'a',
      '1',
      '__proto__',
    ),
    fc.date({ noInvalidDate: false }),
    fc.uint8Array({ maxLength: 2 }),
    fc.array(tie('value'), { maxLength: 3 }),
    fc.array(tie('value'), { maxLength: 3 }).map((elements) => new Set(elements)),
    fc.array(fc.tuple(tie('value'), tie('value')), { maxLength: 3 }).map((pairs) => new Map(pairs)),
    fc.dictionary(fc.constantFrom('a', 'at', 'b', '__proto__'), tie('value'), { maxKeys: 3 }),
  ),
}))

const actor = fc.constantFrom('ann', 'bob', '__proto__')
const count = fc.nat(5)

const counters: fc.Arbitrary<unknown> = fc.dictionary(actor, fc.tuple(count, count))
const orSets: fc.Arbitrary<unknown> = fc.record({
  clock: fc.dictionary(actor, count),
  additions: fc.array(fc.tuple(actor, count, fc.constantFrom<unknown>('milk', 'eggs', { id: 1 })), { maxLength: 4 }),
})
const records: fc.Arbitrary<unknown> = fc.record(
  { tags: fc.array(fc.nat(3), { maxLength: 3 }), hits: counters, list: orSets, other: anyValue, at: count },
  { requiredKeys: [] },
)

const merges: { name: string; merge: Merge<unknown>; siblings: fc.Arbitrary<unknown> }[] = [
  { name: 'union()', merge: union() as Merge<unknown>, siblings: fc.array(anyValue, { maxLength: 4 }) },
  { name: 'max()', merge: max(), siblings: count },
  { name: "lww('at')", merge: lww('at'), siblings: records },
  { name: 'counter()', merge: counter() as Merge<unknown>, siblings: counters },
  { name: 'orSet()', merge: orSet() as Merge<unknown>, siblings: orSets },
  {
    name: 'object()',
    merge: object({ tags: union<number[]>(), hits: counter(), list: orSet() }) as Merge<unknown>,
    siblings: records,
  },
]

describe.each(merges)('$name', ({ merge, siblings }) => {
  const several = fc.array(fc.oneof({ weight: 5, arbitrary: siblings }, { weight: 1, arbitrary: anyValue }), {
    minLength: 1,
    maxLength: 5,
  })

  test('gives the same whatever the order of the siblings', () => {
    const shuffled = several.chain((list) =>
      fc.tuple(fc.constant(list), fc.shuffledSubarray(list, { minLength: list.length })),
    )
    fc.assert(fc.property(shuffled, ([list, other]) => void expect(merge(other)).toEqual(merge(list))))
  })

  test('gives the same however the siblings are grouped', () => {
    fc.assert(
      fc.property(several, several, several, (a, b, c) => {
        const atOnce = merge([...a, ...b, ...c])
        expect(merge([merge([...a, ...b]), ...c])).toEqual(atOnce)
        expect(merge([...a, merge([...b, ...c])])).toEqual(atOnce)
        expect(merge([merge(a), merge(b), merge(c)])).toEqual(atOnce)
      }),
    )
  })

  test('gives the same when siblings come twice, or merged once more', () => {
    fc.assert(
      fc.property(several, (list) => {
        const once = merge(list)
        expect(merge([...list, ...list])).toEqual(once)
        expect(merge([once])).toEqual(once)
        expect(merge([...list, once])).toEqual(once)
      }),
    )
  })

  test('leaves the siblings as they are', () => {
    fc.assert(
      fc.property(several, (list) => {
        const before = structuredClone(list)
        merge(list)
        expect(list).toEqual(before)
      }),
    )
  })
})

describe('union()', () => {
  test('holds every element of every sibling once, and nothing else', () => {
    const lists = fc.array(fc.array(fc.nat(9)), { minLength: 1 })
    fc.assert(
      fc.property(
        lists,
        (all) => void expect(union<number[]>()(all)).toEqual([...new Set(all.flat())].sort((a, b) => a - b)),
      ),
    )
  })

  test('compares elements by content', () => {
    expect(union()([[{ id: 1, n: 'a' }], [{ n: 'a', id: 1 }]])).toEqual([{ id: 1, n: 'a' }])
  })

  // Their texts were the same.
  test('tells bytes within a list from their numbers', () => {
    const [bytes, numbers] = [[new Uint8Array([1, 2])], [new Uint8Array([1]), 2]]
    expect(union<unknown[]>()([[bytes], [numbers]])).toHaveLength(2)
    expect(max<unknown>()([bytes, numbers])).toEqual(max<unknown>()([numbers, bytes]))
  })

  test('tells 0 from -0, whichever comes first', () => {
    expect(union<number[]>()([[0], [-0]])).toEqual([-0, 0])
    expect(union<number[]>()([[-0], [0]])).toEqual([-0, 0])
  })

  test('stays a Set when a sibling is one', () => {
    expect(union<Set<string> | string[]>()([['b'], new Set(['a'])])).toEqual(new Set(['a', 'b']))
  })
})

describe('max() and lww()', () => {
  test('max() keeps the greatest number, string and date', () => {
    expect(max<number>()([2, 10, 9])).toBe(10)
    expect(max<string>()(['b', 'c', 'a'])).toBe('c')
    expect(max<Date>()([new Date(1), new Date(3), new Date(2)])).toEqual(new Date(3))
  })

  test('lww() keeps the whole sibling with the latest field, and any before one without it', () => {
    const late = { at: 20, text: 'late' }
    expect(lww('at')([{ at: 3, text: 'early', extra: true }, late, { text: 'undated' }])).toBe(late)
  })
})

test('a field that is none, or a merge, is refused at once', () => {
  expect(() => lww(undefined as never)).toThrow(new TypeError("lww takes the name of a field, as in lww('changedAt')"))
  expect(() => object({ a: 5 as never })).toThrow(
    new TypeError("object takes a merge for each field, and of 'a' it is none"),
  )
})

// All tabs without one counted under 'undefined', and of two at once only the larger counted; an addition to a set was gone at once.
test('an actor that is none is refused', () => {
  for (const none of [undefined, null, '', 7]) {
    expect(() => counterAdd(undefined, none as never, 1)).toThrow(
      new TypeError(`an actor is what newActor() gives, and not ${none}`),
    )
    expect(() => orSetAdd(undefined, none as never, 'tea')).toThrow(TypeError)
  }
})

// The function that it gave was taken for the merged value of the field.
test('a merge of a field that was not called is told of when it is to merge', () => {
  expect(() => object<object>({ a: max as never })([{ a: 1 }, { a: 2 }])).toThrow(
    new TypeError("object: the merge of 'a' gave a function; ready-made ones are made by a call, as in max()"),
  )
})

test('object() keeps what is no object until there is one', () => {
  const merge = object<object>({})
  expect(merge([3, 7] as never)).toBe(7)
  expect(merge([3, { a: 1 }, 7] as never)).toEqual({ a: 1 })
})

/** Replicas of one value: each step changes one of them, or merges one into another. */
function replicas<V>(merge: Merge<V>) {
  const states: (V | undefined)[] = [undefined, undefined, undefined]
  return {
    states,
    sync(from: number, to: number) {
      const known = [states[from], states[to]].filter((state) => state !== undefined)
      if (known.length > 0) states[to] = merge(known)
    },
    all: () => {
      const known = states.filter((state) => state !== undefined)
      return known.length === 0 ? undefined : merge(known)
    },
  }
}
const replica = fc.nat(2)
const sync = fc.record({ kind: fc.constant('sync' as const), from: replica, to: replica })

describe('counter()', () => {
  test('is the sum of all additions, wherever they were made and however they spread', () => {
    const add = fc.record({ kind: fc.constant('add' as const), at: replica, amount: fc.integer({ min: -9, max: 9 }) })
    fc.assert(
      fc.property(fc.array(fc.oneof(add, sync)), (steps) => {
        const ring = replicas<Counter>(counter())
        let sum = 0
        for (const step of steps) {
          if (step.kind === 'sync') ring.sync(step.from, step.to)
          else {
            ring.states[step.at] = counterAdd(ring.states[step.at], `actor ${step.at}`, step.amount)
            sum += step.amount
          }
        }
        expect(counterValue(ring.all())).toBe(sum)
      }),
    )
  })

  test('refuses to add what is not a number', () => {
    expect(() => counterAdd(undefined, 'ann', Number.NaN)).toThrow(TypeError)
  })
})

describe('orSet()', () => {
  test('holds exactly the elements with an addition that no removal has seen', () => {
    const change = fc.record({
      kind: fc.constantFrom('add' as const, 'remove' as const),
      at: replica,
      element: fc.nat(3),
    })
    fc.assert(
      fc.property(fc.array(fc.oneof(change, sync)), (steps) => {
        const ring = replicas<OrSet<number>>(orSet())
        // The model: each addition by its number, and what each replica has seen of additions and removals.
        const additions: number[] = []
        const seen = [new Set<number>(), new Set<number>(), new Set<number>()]
        const removed = [new Set<number>(), new Set<number>(), new Set<number>()]
        for (const step of steps) {
          if (step.kind === 'sync') {
            ring.sync(step.from, step.to)
            for (const id of seen[step.from] ?? []) seen[step.to]?.add(id)
            for (const id of removed[step.from] ?? []) removed[step.to]?.add(id)
          } else if (step.kind === 'add') {
            ring.states[step.at] = orSetAdd(ring.states[step.at], `actor ${step.at}`, step.element)
            for (const id of seen[step.at] ?? []) if (additions[id] === step.element) removed[step.at]?.add(id)
            seen[step.at]?.add(additions.push(step.element) - 1)
          } else {
            ring.states[step.at] = orSetRemove(ring.states[step.at], step.element)
            for (const id of seen[step.at] ?? []) if (additions[id] === step.element) removed[step.at]?.add(id)
          }
        }
        const gone = new Set(removed.flatMap((ids) => [...ids]))
        const left = additions.filter((_, id) => !gone.has(id))
        expect(orSetValues(ring.all())).toEqual([...new Set(left)].sort((a, b) => a - b))
      }),
    )
  })

  test('keeps an element that was removed in one tab and added anew in another', () => {
    const start = orSetAdd(undefined, 'ann', 'milk')
    const merged = orSet<string>()([orSetRemove(start, 'milk'), orSetAdd(start, 'bob', 'milk')])
    expect(orSetHas(merged, 'milk')).toBe(true)
  })

  test('does not grow by adding what is there', () => {
    const once = orSetAdd(orSetAdd(undefined, 'ann', 'milk'), 'bob', 'milk')
    expect(once).toEqual({ clock: { ann: 1, bob: 1 }, additions: [['bob', 1, 'milk']] })
  })

  test('does not grow by adding and removing', () => {
    let set: OrSet<string> | undefined
    for (let i = 0; i < 100; i++) set = orSetRemove(orSetAdd(set, 'ann', 'milk'), 'milk')
    expect(set).toEqual({ clock: { ann: 100 }, additions: [] })
  })
})

test('newActor() never gives a name twice', () => {
  expect(new Set(Array.from({ length: 1000 }, newActor)).size).toBe(1000)
})
