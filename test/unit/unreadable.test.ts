/** One value that nobody can read, or that a merge fails at, in a store with others. */
import { ExtData, encode } from '@msgpack/msgpack'
import { beforeEach, describe, expect, test } from 'vitest'
import { EMPTY_CONTEXT } from '../../src/core/versions/context.js'
import { showValue } from '../../src/page/values.js'
import type { Entry } from '../../src/store/entry.js'
import { ValueError } from '../../src/store/errors.js'
import { decodeValue } from '../../src/store/values.js'
import { type Ring, named, nodeOf, openRing } from '../paper/ring.js'
import { answerOf, passing, storeAt } from './support/stores.js'

const LATER: Uint8Array = new Uint8Array([0, 0, 0, 0, 0x7f, ...new Array(7).fill(0xff)])

test.each<[what: string, bytes: Uint8Array]>([
  ['no MessagePack', new Uint8Array([0xc1])],
  ['a date that is none', encode(new ExtData(-1, LATER))],
  ['the like in a list', encode([new ExtData(-1, LATER)])],
  ['a list in a list in a list, and so on', new Uint8Array(100_001).fill(0x91).fill(0xc0, 100_000)],
])('%s is no value', (_, bytes) => {
  expect(() => decodeValue(bytes, 'k')).toThrow(ValueError)
})

test('whatever can be read can be shown', () => {
  let value: unknown = new Date(0)
  for (let depth = 0; depth < 60; depth++) value = depth % 2 ? new Set([value]) : new Map([[depth, value]])
  expect(showValue(value)).toMatch(/1970/)
})

describe('a value that is none, of a peer that stores what it likes', () => {
  let ring: Ring
  beforeEach(async () => {
    ring = await openRing(3)
    const written = { value: new Uint8Array([0xc1]), expiresAt: 0 }
    const options = { w: 2, strictQuorum: false, durability: 'strict' } as const
    await answerOf(ring, nodeOf(ring.tab(1)).coordinator.write(named('b'), written, EMPTY_CONTEXT, options).outcome)
  })

  test('is in the way of its own reader only', async () => {
    const { store, errors } = storeAt(ring.tab(0))
    for (const key of ['a', 'c']) await answerOf(ring, store.put(key, key))
    const scan = store.scan()
    const keys: string[] = []
    const all = async () => {
      for await (const { key } of scan) keys.push(key)
    }
    await answerOf(ring, all())
    expect({ keys, complete: scan.complete }).toEqual({ keys: ['a', 'c'], complete: false })
    expect(errors).toEqual([expect.any(ValueError)])
    expect(String(errors[0])).toContain('A stored value of "b" cannot be read')
    await expect(answerOf(ring, store.get('b'))).rejects.toThrow(ValueError)
  })

  test.each<[what: string, target: string | { prefix: string }]>([
    ['of its prefix', { prefix: '' }],
    ['of itself', 'b'],
  ])('ends no watch %s', async (_, target) => {
    const { store, errors } = storeAt(ring.tab(0))
    const seen: unknown[] = []
    store.subscribe(target, ({ value }) => seen.push(value))
    await passing(ring, 2000)
    expect([seen, errors.length]).toEqual([[], 1])
    await answerOf(ring, store.put('b', 'readable', { context: null }))
    await answerOf(ring, store.put('c', 'there'))
    // Beside the unreadable one; so it still cannot be shown.
    await passing(ring, 2000)
    expect(seen).toEqual(typeof target === 'string' ? [] : ['there'])
  })
})

describe('a merge that fails', () => {
  const failing = () => {
    throw new RangeError('not these')
  }

  test.each<[what: string, merge: () => unknown, error: object]>([
    ['throws', failing, new RangeError('not these')],
    ['was not called for', () => failing, expect.any(ValueError)],
    // As if the key were absent, and the next update began anew in the place of all versions.
    ['gives nothing', () => undefined, expect.any(ValueError)],
  ])('because it %s leaves a conflict, which can be resolved, and all else', async (_, merge, error) => {
    const ring = await openRing(3)
    const { store, errors } = storeAt(ring.tab(0), { buckets: { b: { merge } } })
    const bucket = store.bucket('b')
    for (const key of ['a', 'b', 'b', 'c']) await answerOf(ring, bucket.put(key, errors.length, { context: null }))
    await expect(answerOf(ring, bucket.get('b'))).rejects.toEqual(error)
    const update = bucket.update('b', () => 1)
    await expect(answerOf(ring, update)).rejects.toEqual(error)
    const entries: Entry[] = []
    const all = async () => {
      for await (const entry of bucket.scan()) entries.push(entry)
    }
    await answerOf(ring, all())
    expect(entries.map(({ key }) => key)).toEqual(['a', 'b', 'c'])
    expect(errors).toEqual([error])
    const { value } = await answerOf(ring, bucket.watch('b').next())
    expect(value).toMatchObject({ siblings: [0, 0], value: 0, conflict: true })
    await answerOf(ring, bucket.put('b', 'resolved', { context: (entries[1] as Entry).context }))
    expect((await answerOf(ring, bucket.get('b'))).siblings).toEqual(['resolved'])
  })
})

// It had said that as many homes had answered as were asked for, also where there was one.
test('what a scan and a watch of a prefix show tells who answered, as a get does', async () => {
  const ring = await openRing(1)
  const { store } = storeAt(ring.tab(0))
  await answerOf(ring, store.put('k', 1))
  const { quorum } = await answerOf(ring, store.get('k'))
  expect(quorum).toMatchObject({ met: false, answers: 1, needed: 2 })
  for (const entries of [store.scan()[Symbol.asyncIterator](), store.watch({ prefix: '' })]) {
    const { value } = await answerOf(ring, entries.next())
    expect(value?.quorum).toEqual(quorum)
    await entries.return?.(undefined)
  }
})
