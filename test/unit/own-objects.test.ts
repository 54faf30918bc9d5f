/** What an application gives is its own again once the call is made. */
import { expect, test } from 'vitest'
import { openRing } from '../paper/ring.js'
import { answerOf, storeAt } from './support/stores.js'

// Pairs from the 257th on, which wait for a place, were left out without a word when the list was used for the next batch.
test('putMany and getMany go by the list and the options as they were at the call', async () => {
  const ring = await openRing(3)
  const { store } = storeAt(ring.tab(0))
  const pairs = Array.from({ length: 300 }, (_, i): [string, number] => [`k${i}`, i])
  const keys = pairs.map(([key]) => key)
  const options: { w: number } = { w: 1 }
  const putting = store.putMany(pairs, options)
  pairs.length = 0
  options.w = 3
  const receipts = await answerOf(ring, putting)
  expect(receipts.map(({ key }) => key)).toEqual(keys)
  expect(new Set(receipts.map(({ quorum }) => quorum.needed))).toEqual(new Set([1]))
  const asked = [...keys]
  const getting = store.getMany(asked)
  asked.length = 0
  expect((await answerOf(ring, getting)).map(({ value }) => value)).toEqual(keys.map((_, i) => i))
})

// Which one of five thousand pairs was refused, nobody could tell.
test('what is refused of a putMany is named, and the others are written', async () => {
  const ring = await openRing(3)
  const { store } = storeAt(ring.tab(0))
  const pairs: [string, unknown][] = ['a', 'b', 'c'].map((key) => [key, key])
  const putting = (value: unknown) => answerOf(ring, store.putMany([...pairs, ['bad', { items: [1, value] }]]))
  await expect(putting(() => {})).rejects.toThrow('the value of "bad".items[1] is a function')
  await expect(putting(new Uint8Array(1024 * 1024))).rejects.toThrow(/the value of "bad" takes \d+ bytes/)
  expect((await answerOf(ring, store.getMany(['a', 'b', 'c', 'bad']))).map(({ value }) => value)).toEqual([
    'a',
    'b',
    'c',
    undefined,
  ])
})

test('a Map and a Set are taken as they are at the call as well', async () => {
  const ring = await openRing(3)
  const { store } = storeAt(ring.tab(0))
  const pairs = new Map(Array.from({ length: 300 }, (_, i) => [`k${i}`, i]))
  const keys = new Set(pairs.keys())
  const putting = store.putMany(pairs)
  pairs.clear()
  expect((await answerOf(ring, putting)).length).toBe(300)
  const getting = store.getMany(keys)
  keys.clear()
  expect((await answerOf(ring, getting)).map(({ value }) => value)).toEqual(Array.from({ length: 300 }, (_, i) => i))
})

// Two scans whose options are one object, with a signal of its own for each, were both ended by the second one's.
test('a scan goes by the options as they were at the call', async () => {
  const ring = await openRing(3)
  const { store } = storeAt(ring.tab(0))
  await answerOf(ring, store.put('k', 1))
  const options: { signal?: AbortSignal } = {}
  const scan = store.scan(options)
  options.signal = AbortSignal.abort('of another scan')
  expect((await answerOf(ring, scan[Symbol.asyncIterator]().next())).value).toMatchObject({ key: 'k', value: 1 })
})

// It was refused with a ContextError when the function had passed the entry on to a worker, bytes and all.
test("the entry that an update shows its function is that one's own", async () => {
  const ring = await openRing(3)
  const { store } = storeAt(ring.tab(0))
  await answerOf(ring, store.put('k', 1))
  const change = (value: number | undefined, { context }: { context: Uint8Array }) => {
    structuredClone(context, { transfer: [context.buffer] })
    return (value ?? 0) + 1
  }
  await answerOf(ring, store.update('k', change))
  expect((await answerOf(ring, store.get('k'))).siblings).toEqual([2])
})
