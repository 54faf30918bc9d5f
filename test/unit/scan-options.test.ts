/** What a scan is asked for becomes a range of store keys of its bucket, and never of another. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { bucketPrefix } from '../../src/core/ids.js'
import { OptionError } from '../../src/store/errors.js'
import { type ScanOptions, readScanOptions } from '../../src/store/scan.js'

const BUCKET = bucketPrefix(3, 'notes')
const plan = (options: ScanOptions = {}) => readScanOptions(options, BUCKET)

/** Short texts of few characters, the last of all among them: bounds that meet. */
const text = fc.string({ unit: fc.constantFrom('a', 'b', '\0', '\uffff', '\ud800'), maxLength: 4 })
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

  test.each([
    ['limit', -1],
    ['limit', 1.5],
    ['limit', Number.NaN],
    ['limit', Number.NEGATIVE_INFINITY],
    ['limit', '10'],
    ['limit', null],
    ['prefix', 5],
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
