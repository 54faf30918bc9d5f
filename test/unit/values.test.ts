/** What may be stored comes back as it was; what may not is refused by name. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { ValueError, ValueTooLargeError } from '../../src/store/errors.js'
import { type AnyValue, MAX_VALUE_BYTES, decodeValue, encodeValue } from '../../src/store/values.js'

const through = (value: unknown) => decodeValue(encodeValue(value), 'k')
const plain = { noNullPrototype: true }

const text = fc.string({ unit: 'binary' })
const date = fc.date({ noInvalidDate: true })
const number = fc.oneof(fc.double(), fc.maxSafeInteger())
const scalar = fc.oneof(text, number, fc.boolean(), fc.constant(null), fc.bigInt(), date, fc.uint8Array())
const { value } = fc.letrec<{ value: unknown }>((tie) => {
  const inner = tie('value')
  const key = text.filter((name) => name !== '__proto__')
  return {
    value: fc.oneof(
      { depthSize: 'small', withCrossShrink: true },
      scalar,
      fc.array(inner, { maxLength: 4 }),
      fc.dictionary(key, inner, { maxKeys: 4, ...plain }),
      fc.array(fc.tuple(inner, inner), { maxLength: 4 }).map((pairs) => new Map(pairs)),
      fc.array(inner, { maxLength: 4 }).map((items) => new Set(items)),
    ),
  }
})

/** `value` inside `levels` lists. */
function nested(levels: number, wrap: (inner: unknown) => unknown = (inner) => [inner]): unknown {
  let result: unknown = 'core'
  for (let i = 0; i < levels; i++) result = wrap(result)
  return result
}

describe('a value', () => {
  test('of any supported type, nested in any way, comes back as it was', () => {
    fc.assert(
      fc.property(value, (given) => {
        expect(through(given)).toEqual(given)
      }),
      { numRuns: 300 },
    )
  })

  test.each([
    ['not a number', Number.NaN],
    ['infinity', Number.NEGATIVE_INFINITY],
    ['the largest safe integer', Number.MAX_SAFE_INTEGER],
    ['a number beyond the safe integers', 2 ** 70],
    ['the smallest number', Number.MIN_VALUE],
    ['a bigint of thousands of digits', 7n ** 4000n],
    ['the first moment of all', new Date(-8.64e15)],
    ['the last moment of all', new Date(8.64e15)],
    ['a moment before 1970 with milliseconds', new Date(-1)],
    ['an empty text', ''],
    ['a text of other planes', '🏿'.repeat(100)],
    ['a map with lists as keys', new Map([[[1, 2], new Map([[null, new Set([1n])]])]])],
    ['empty bytes', new Uint8Array(0)],
    ['a list of lists without anything', [[], [[]], {}]],
    ['an object with the names of methods', { toString: 1, constructor: 2, hasOwnProperty: 3 }],
    ['an object without a prototype', { inside: { ...Object.create(null), a: 1 } }],
  ])('that is %s comes back as it was', (_, given) => {
    expect(through(given)).toEqual(given)
  })

  test('keeps the order of properties, of a map and of a set', () => {
    expect(Object.keys(through({ b: 1, a: 2 }) as object)).toEqual(['b', 'a'])
    expect([
      ...(
        through(
          new Map([
            ['b', 1],
            ['a', 2],
          ]),
        ) as Map<string, number>
      ).keys(),
    ]).toEqual(['b', 'a'])
    expect([...(through(new Set(['b', 'a'])) as Set<string>)]).toEqual(['b', 'a'])
  })

  test('loses properties without a value or under symbols, as in JSON', () => {
    expect(through({ a: undefined, b: 1, [Symbol('c')]: 1 })).toStrictEqual({ b: 1 })
    // Inside a map they came back with null.
    const inside = new Map([['in a map', new Set([{ a: undefined, b: 1 }])]])
    expect(through(inside)).toStrictEqual(new Map([['in a map', new Set([{ b: 1 }])]]))
  })

  test('keeps the sign of -0, wherever it stands, and is no larger where there is none', () => {
    const given = { zero: -0, none: 0, list: [1, new Map([['deep', new Set([{ zero: -0 }])]])] }
    expect(through(given)).toStrictEqual(given)
    expect(through(-0)).toBe(-0)
    expect(encodeValue([0, 1])).toHaveLength(3)
  })

  // A decoder of long texts took it for no part of the text.
  test('keeps a byte order mark that a text begins with, however long it is', () => {
    for (const length of [1, 198, 199, 5000]) {
      const file = `\uFEFF${'x'.repeat(length)}`
      const given = {
        file,
        list: [file, -0],
        map: new Map<unknown, unknown>([[file, new Set([file])]]),
        at: new Date(7),
      }
      expect(through(file)).toBe(file)
      expect(through(given)).toEqual(given)
    }
    expect(() => encodeValue({ [`\uFEFF${'x'.repeat(199)}`]: 1 })).toThrow(/byte order mark/)
  })

  test('that only looks like a plain object, or has lost its bytes, is refused', () => {
    const given = (function () {
      // biome-ignore lint/complexity/noArguments: it is what is looked at.
      return arguments
    })()
    const moved = new Uint8Array([1, 2, 3])
    structuredClone(moved, { transfer: [moved.buffer] })
    for (const [value, name] of [
      [Math, 'Math'],
      [JSON, 'JSON'],
      [given, 'Arguments'],
    ] as const)
      expect(() => encodeValue({ value })).toThrow(
        new ValueError(`the value.value is of type ${name}; only plain objects can be stored.`),
      )
    expect(() => encodeValue({ moved })).toThrow(ValueError)
  })

  // They had been views of a copy of the whole value: what was made of their buffers held the bytes around them too.
  test.each<[where: string, value: (bytes: Uint8Array) => unknown, bytesOf: (value: AnyValue) => Uint8Array]>([
    ['itself', (bytes) => bytes, (value) => value],
    ['in a list', (bytes) => [0, [bytes]], (value) => value[1][0]],
    ['in an object', (bytes) => ({ a: { b: bytes } }), (value) => value.a.b],
    ['in a set', (bytes) => new Set([[bytes]]), (value) => [...value][0][0]],
    ['as a key of a map', (bytes) => new Map([[bytes, 1]]), (value) => [...value.keys()][0]],
    ['in a map', (bytes) => new Map([[1, { bytes }]]), (value) => value.get(1).bytes],
  ])('belongs to the application: bytes (%s) have a buffer of their own', (_, wrap, bytesOf) => {
    const stored = encodeValue(wrap(Uint8Array.of(1, 2, 3)))
    const bytes = bytesOf(decodeValue(stored, 'k'))
    expect(new Uint8Array(bytes.buffer)).toEqual(Uint8Array.of(1, 2, 3))
    bytes[0] = 9
    expect(bytesOf(decodeValue(stored, 'k'))).toEqual(Uint8Array.of(1, 2, 3))
  })

  test('may be nested 64 levels deep, and no deeper', () => {
    const wraps: ((inner: unknown) => unknown)[] = [
      (inner) => [inner],
      (inner) => ({ inner }),
      (inner) => new Set([inner]),
      (inner) => new Map([['inner', inner]]),
    ]
    for (const wrap of wraps) {
      expect(through(nested(64, wrap))).toEqual(nested(64, wrap))
      expect(() => encodeValue(nested(65, wrap))).toThrow('nested more than 64 levels deep')
    }
  })

  test('may take 1 MiB when encoded, and not a byte more', () => {
    const header = 5
    expect(encodeValue(new Uint8Array(MAX_VALUE_BYTES - header))).toHaveLength(MAX_VALUE_BYTES)
    const tooLarge = new Uint8Array(MAX_VALUE_BYTES - header + 1)
    expect(() => encodeValue(tooLarge)).toThrow(ValueTooLargeError)
    expect(() => encodeValue(tooLarge)).toThrow(`takes ${MAX_VALUE_BYTES + 1} bytes; at most ${MAX_VALUE_BYTES}`)
  })
})

class Account {}

describe('a value is refused, and the message says what and where, when it is or holds', () => {
  const cycle: unknown[] = []
  cycle.push(cycle)
  test.each([
    ['undefined', undefined, 'the value is undefined'],
    ['a function', () => {}, 'the value is a function'],
    ['a symbol', Symbol('x'), 'the value is a symbol'],
    ['undefined in a list', [1, undefined], 'the value[1] is undefined'],
    // biome-ignore lint/suspicious/noSparseArray: what is tested.
    ['a hole in a list', [1, , 3], 'the value[1] is undefined'],
    ['a function deep inside', { a: [{ b: () => {} }] }, 'the value.a[0].b is a function'],
    ['a symbol in a set', new Set([Symbol('x')]), 'an item of the value is a symbol'],
    ['a function as a key of a map', new Map([[() => {}, 1]]), 'a key of the value is a function'],
    ['a function in a map', new Map([['name', () => {}]]), 'the value.get(name) is a function'],
    ['undefined in a map', new Map([['name', undefined]]), 'the value.get(name) is undefined'],
    ['a function under an unprintable key', new Map([[Object.create(null), () => {}]]), 'is a function'],
    ['a class instance', { owner: new Account() }, 'the value.owner is of type Account; only plain objects'],
    ['an error', new Error('x'), 'the value is of type Error'],
    ['a regular expression', /x/, 'the value is of type RegExp'],
    ['a promise', Promise.resolve(), 'the value is of type Promise'],
    ['other typed arrays', new Float64Array(2), 'the value is of type Float64Array'],
    ['a buffer', new ArrayBuffer(2), 'the value is of type ArrayBuffer'],
    ['a weak map', new WeakMap(), 'the value is of type WeakMap'],
    ['an invalid date', { at: new Date(Number.NaN) }, 'the value.at is an invalid Date'],
    ['itself', cycle, 'contains itself'],
    ['a property __proto__', JSON.parse('{"__proto__": 1}'), 'a property named __proto__'],
    ['half a surrogate pair', { name: `${'x'.repeat(100)}\ud83c` }, 'the value.name holds half a surrogate pair'],
    ['half a surrogate pair as a name', { '\ud83c': 1 }, 'a property name of the value holds half a surrogate pair'],
  ])('%s', (_, given, message) => {
    expect(() => encodeValue(given)).toThrow(ValueError)
    expect(() => encodeValue(given)).toThrow(message)
  })
})

describe('stored bytes', () => {
  test('that are damaged are refused as a value that cannot be read, or read as another value', () => {
    const change = fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 }))
    fc.assert(
      fc.property(value, fc.array(change, { minLength: 1, maxLength: 4 }), (given, changes) => {
        const bytes = encodeValue(given)
        for (const [at, byte] of changes) bytes[at % bytes.length] = byte
        try {
          decodeValue(bytes, 'k')
        } catch (error) {
          expect(error).toBeInstanceOf(ValueError)
        }
      }),
      { numRuns: 500 },
    )
  })
})

test('a map may have keys that cannot be printed', () => {
  const map = new Map<unknown, number>([[{ toString: 1 }, 1]])
  expect(through(map)).toEqual(map)
  expect(through(new Map([[Object.create(null), 1]]))).toEqual(new Map([[{}, 1]]))
})
