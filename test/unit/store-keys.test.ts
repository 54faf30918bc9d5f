/** The one place where replication, bucket and key become one text, and are read from it again. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  type NodeId,
  type ReplicationFactor,
  actorOf,
  bucketPrefix,
  nodeOfActor,
  parseStoreKey,
  storeKey,
} from '../../src/core/ids.js'

const factor: fc.Arbitrary<ReplicationFactor> = fc.oneof(fc.integer({ min: 1, max: 99 }), fc.constant<'all'>('all'))
const text = fc.oneof(fc.string({ unit: 'binary' }), fc.constantFrom('/', '\0', '3/a', '*', '\uffff', '\ud800'))
const bucket = text.filter((name) => !name.includes('\0'))
const key = text.filter((name) => name.length > 0)

describe('a store key', () => {
  test('is taken apart into what it was made of, whatever characters bucket and key hold', () => {
    fc.assert(
      fc.property(factor, bucket, key, (n, b, k) => {
        expect(parseStoreKey(storeKey(n, b, k))).toEqual({ n, bucket: b, key: k })
      }),
      { numRuns: 500 },
    )
  })

  test('begins with the prefix of its bucket, and with that of no other', () => {
    fc.assert(
      fc.property(factor, bucket, key, factor, bucket, (n, b, k, otherN, otherB) => {
        const made = storeKey(n, b, k)
        expect(made).toBe(bucketPrefix(n, b) + k)
        expect(made.startsWith(bucketPrefix(otherN, otherB))).toBe(n === otherN && b === otherB)
      }),
    )
  })

  test('sorts within its bucket as the keys themselves do', () => {
    fc.assert(
      fc.property(factor, bucket, key, key, (n, b, one, two) => {
        expect(storeKey(n, b, one) < storeKey(n, b, two)).toBe(one < two)
      }),
    )
  })
})

describe('what is no store key', () => {
  test.each([
    ['nothing', ''],
    ['a key without a bucket', 'key'],
    ['no replication factor', '/bucket\0key'],
    ['a replication factor of 0', '0/bucket\0key'],
    ['a replication factor with a leading 0', '03/bucket\0key'],
    ['a negative replication factor', '-3/bucket\0key'],
    ['a fraction', '1.5/bucket\0key'],
    ['a replication factor of three digits', '100/bucket\0key'],
    ['a replication factor of four digits', '1000/bucket\0key'],
    ['a replication factor with a space', ' 3/bucket\0key'],
    ['a replication factor in another notation', '1e/bucket\0key'],
    ['a replication factor that is spelt out', 'all/bucket\0key'],
    ['two stars', '**/bucket\0key'],
    ['no separator', '3/bucket'],
    ['no key', '3/bucket\0'],
    ['a separator before the slash', '3\0bucket/key'],
  ])('is refused: %s', (_, odd) => {
    expect(parseStoreKey(odd)).toBeUndefined()
  })

  test('is refused without an error, whatever a peer sends, and what is accepted is written in one way only', () => {
    const odd = fc.string({ unit: fc.constantFrom('0', '1', '9', '*', '/', '\0', 'a', '\n') })
    fc.assert(
      fc.property(odd, (sent) => {
        const parsed = parseStoreKey(sent)
        if (parsed) expect(storeKey(parsed.n, parsed.bucket, parsed.key)).toBe(sent)
      }),
      { numRuns: 2000 },
    )
  })
})

test('an actor names its node in every life', () => {
  const node = 'Ab3-_.x9zz' as NodeId
  expect(nodeOfActor(actorOf(node, 'AAAAAAAA'))).toBe(node)
  expect(nodeOfActor(actorOf(node, 'BBBBBBBB'))).toBe(node)
  expect(actorOf(node, 'AAAAAAAA')).not.toBe(actorOf(node, 'BBBBBBBB'))
})
