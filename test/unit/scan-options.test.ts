/** What a scan is asked for becomes a range of store keys of its bucket, and never of another. */
import { decode, encode } from '@msgpack/msgpack'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { bucketPrefix } from '../../src/core/ids.js'
import { OptionError } from '../../src/store/errors.js'
import { type ScanOptions, readScanOptions } from '../../src/store/scan.js'

const BUCKET = bucketPrefix(3, 'notes')
const plan = (options: ScanOptions = {}) => readScanOptions(options, BUCKET)

/** Short texts of few characters: bounds that meet. Among them the last of one and of two units, and their neighbours in order. */
const character = fc.constantFrom('a', 'b', '\0', '\ud7ff', '\u{10000}', '🏿', '\u{10ffff}', '\ue000', '\uffff')
const text = fc.string({ unit: character, maxLength: 4 })
const bounds = fc.record({ prefix: text, start: text, end: text }, { requiredKeys: [] })

describe('the range of a scan', () => {
  test('holds exactly the keys that begin with the prefix, from start on, up to end', () => {
    fc.assert(
      fc.property(bounds, text, (options, key) => {
        const { from, to } = plan(options)
        const { prefix = '', start, end } = options
        const wanted =
          key.startsWith(prefix) && (start === undefined || key >= start) && (end === undefined || key < end)
        const full = BUCKET + key
        expect(from <= full && full < to).toBe(wanted)
      }),
      { numRuns: 3000 },
    )
  })

  test('never leaves its bucket', () => {
    const others = [
      bucketPrefix(3, 'note'),
      bucketPrefix(3, 'notes2'),
      bucketPrefix(3, 'notet'),
      bucketPrefix('all', 'notes'),
    ]
    fc.assert(
      fc.property(bounds, text, fc.constantFrom(...others), (options, key, other) => {
        const { from, to } = plan(options)
        expect(from <= other + key && other + key < to).toBe(false)
      }),
    )
  })

  // The end of the range behind 🏿 held half a surrogate pair, which long texts lose on the way.
  test('arrives at other nodes as it is', () => {
    fc.assert(
      fc.property(text, (tail) => {
        const { from, to } = plan({ prefix: 'x'.repeat(300) + tail })
        expect(decode(encode([from, to]))).toEqual([from, to])
      }),
    )
  })

  test('is the whole bucket, forwards and without a limit, when nothing is asked for', () => {
    expect(plan()).toEqual({
      from: BUCKET,
      to: `${BUCKET.slice(0, -1)}\u0001`,
      limit: Number.POSITIVE_INFINITY,
      reverse: false,
    })
    const nothing = { prefix: undefined, start: undefined, end: undefined, limit: undefined, reverse: undefined }
    expect(plan(nothing)).toEqual(plan())
  })

  test('is empty, not refused, when it ends before it starts', () => {
    const { from, to } = plan({ start: 'b', end: 'a' })
    expect(from >= to).toBe(true)
  })
})

describe('options of a scan', () => {
  test.each([0, 1, 1000, Number.MAX_SAFE_INTEGER, Number.POSITIVE_INFINITY])('accept a limit of %s', (limit) => {
    expect(plan({ limit }).limit).toBe(limit)
  })

  test('accept a signal and a direction', () => {
    expect(plan({ reverse: true, signal: new AbortController().signal }).reverse).toBe(true)
  })

  test('accept bounds as long as a key may be', () => {
    const longest = 'é'.repeat(512)
    expect(plan({ prefix: longest, start: longest, end: longest }).from).toBe(BUCKET + longest)
  })

  // Peers refused the range as malformed, and ended the link after a few.
  test.each(['prefix', 'start', 'end'])('refuse a %s that no key is long enough for, by name', (option) => {
    expect(() => plan({ [option]: 'é'.repeat(513) })).toThrow(expect.objectContaining({ option, code: 'option' }))
  })

  test.each([
    ['limit', -1],
    ['limit', 1.5],
    ['limit', Number.NaN],
    ['limit', Number.NEGATIVE_INFINITY],
    ['limit', '10'],
    ['limit', null],
    ['prefix', 5],
    ['prefix', '\ud83c'],
    ['start', null],
    ['end', ['z']],
    ['reverse', 'yes'],
    ['reverse', 1],
    ['from', 'a'],
    ['constructor', 'a'],
  ])('refuse %s: %j, by name', (option, value) => {
    const read = () => plan({ [option]: value } as ScanOptions)
    expect(read).toThrow(OptionError)
    expect(read).toThrow(expect.objectContaining({ option, code: 'option' }))
  })
})
