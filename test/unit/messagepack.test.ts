/** Bytes from outside: what they announce must be there. */
import { decode, encode } from '@msgpack/msgpack'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { decodeMessagePack } from '../../src/core/versions/messagepack.js'

const leaf = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 300 }),
  fc.double(),
  fc.maxSafeInteger(),
  fc.boolean(),
  fc.constant(null),
  fc.uint8Array({ maxLength: 300 }),
  fc.date({ noInvalidDate: true }),
)
const { value } = fc.letrec<{ value: unknown }>((tie) => ({
  value: fc.oneof(
    { depthSize: 'small' },
    leaf,
    fc.array(tie('value'), { maxLength: 40 }),
    fc.dictionary(
      fc.string().filter((name) => name !== '__proto__'),
      tie('value'),
      { maxKeys: 20 },
    ),
  ),
}))

describe('MessagePack from outside', () => {
  test('is decoded as it was encoded, whatever it holds', () => {
    fc.assert(
      fc.property(value, (given) => {
        const bytes = encode(given)
        expect(decodeMessagePack(bytes)).toEqual(decode(bytes))
      }),
      { numRuns: 500 },
    )
  })

  test.each([
    ['a text', 'x'],
    ['bytes', new Uint8Array(1)],
    ['a list', null],
  ])('is decoded in its long forms: %s', (_, one) => {
    for (const length of [0, 15, 16, 31, 32, 255, 256, 65_535, 65_536]) {
      const given =
        typeof one === 'string' ? one.repeat(length) : one ? new Uint8Array(length) : new Array(length).fill(one)
      expect(decodeMessagePack(encode([given, 'behind']))).toEqual([given, 'behind'])
    }
  })

  test('is decoded or refused exactly as without the check, if its bytes are random', () => {
    const outcome = (read: () => unknown) => {
      try {
        return { value: read() }
      } catch {
        return 'refused'
      }
    }
    // No counts of four bytes: without the check they are what is tested below.
    const random = fc
      .uint8Array({ maxLength: 60 })
      .filter((bytes) => !bytes.some((byte) => byte === 0xdd || byte === 0xdf))
    fc.assert(
      fc.property(random, (bytes) => {
        expect(outcome(() => decodeMessagePack(bytes))).toEqual(outcome(() => decode(bytes)))
      }),
      { numRuns: 3000 },
    )
  })

  // Thirty such bytes took a second and more than a gigabyte.
  test.each([
    ['lists', 0xdd],
    ['maps', 0xdf],
  ])('is refused at once when it announces more %s than it has bytes', (_, head) => {
    const nested = Uint8Array.from(new Array(200).fill([head, 1, 200, 0, 0]).flat())
    const start = performance.now()
    expect(() => decodeMessagePack(nested)).toThrow('more items are announced than there are bytes')
    expect(performance.now() - start).toBeLessThan(100)
  })

  test('is refused when it ends too early', () => {
    fc.assert(
      fc.property(value, fc.nat(), (given, cut) => {
        const bytes = encode(given)
        expect(() => decodeMessagePack(bytes.subarray(0, cut % bytes.length))).toThrow()
      }),
    )
  })
})
