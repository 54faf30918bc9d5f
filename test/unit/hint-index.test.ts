/** Which keys wait for which homes (§4.6), in memory, against a plain model. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { HintRow } from '../../src/core/environment.js'
import type { NodeId, StoreKey } from '../../src/core/ids.js'
import { HintIndex } from '../../src/core/replica/hint-index.js'

const HOMES = ['home-a____', 'home-b____', 'home-c____'] as NodeId[]
const [A, B] = HOMES as [NodeId, NodeId, NodeId]
const KEY = '3/\0k' as StoreKey
const OTHER = '3/\0other' as StoreKey

const row = (homes: NodeId[], own = false): HintRow => ({ homes, own, container: Uint8Array.of(1) })

describe('the hints of a node', () => {
  test('are those that a plain table of rows holds, after any changes', () => {
    const change = fc.record({
      key: fc.nat(4).map((i) => `3/\0${i}` as StoreKey),
      row: fc.option(fc.record({ homes: fc.subarray(HOMES, { minLength: 1 }), own: fc.boolean() }), { nil: undefined }),
    })
    fc.assert(
      fc.property(fc.array(change, { maxLength: 40 }), (changes) => {
        const index = new HintIndex()
        const model = new Map<StoreKey, { homes: NodeId[]; own: boolean }>()
        for (const { key, row: next } of changes) {
          index.set(key, next)
          if (next) model.set(key, next)
          else model.delete(key)
        }
        const rows = [...model]
        expect(index.keys().sort()).toEqual([...model.keys()].sort())
        expect(index.own).toBe(rows.filter(([, { own }]) => own).length)
        expect(index.pending).toBe(rows.reduce((sum, [, { homes }]) => sum + homes.length, 0))
        for (const home of HOMES) {
          const waiting = rows.filter(([, { homes }]) => homes.includes(home)).map(([key]) => key)
          expect(index.keysFor(home, 100).sort()).toEqual(waiting.sort())
          expect(index.homes().includes(home)).toBe(waiting.length > 0)
        }
        for (const [key, { homes }] of rows) {
          expect(index.has(key)).toBe(true)
          expect(index.homesOf(key)).toEqual(homes)
        }
      }),
    )
  })

  test('are given out as many at a time as asked for', () => {
    const index = new HintIndex()
    for (let i = 0; i < 10; i++) index.set(`3/\0${i}` as StoreKey, row([A]))
    expect(index.keysFor(A, 4)).toHaveLength(4)
    expect(index.keysFor(B, 4)).toEqual([])
  })

  test('are not given out while their put is under way, though they count as pending', () => {
    const index = new HintIndex()
    index.putBegan(KEY)
    index.putBegan(KEY)
    index.set(KEY, row([A]))
    index.set(OTHER, row([A]))
    expect(index.keysFor(A, 10)).toEqual([OTHER])
    expect(index.pending).toBe(2)
    index.putEnded(KEY)
    expect(index.keysFor(A, 10)).toEqual([OTHER])
    index.putEnded(KEY)
    expect(index.keysFor(A, 10).sort()).toEqual([KEY, OTHER].sort())
  })

  test('hold their own copy of the homes', () => {
    const index = new HintIndex()
    const homes = [A]
    index.set(KEY, row(homes))
    homes.push(B)
    expect(index.homesOf(KEY)).toEqual([A])
    expect(index.homes()).toEqual([A])
  })
})

describe('a tracked update', () => {
  test('reaches the index only once its transaction has completed', () => {
    const index = new HintIndex()
    const { update, done } = index.tracked({ key: KEY, apply: () => row([A], true) })
    update.apply(undefined)
    expect(index.has(KEY)).toBe(false)
    done()
    expect(index.homesOf(KEY)).toEqual([A])
    expect(index.own).toBe(1)
  })

  test('that had to be repeated counts as it went the last time', () => {
    const index = new HintIndex()
    const { update, done } = index.tracked({
      key: KEY,
      apply: (current) => (current ? { ...current, homes: [...current.homes, B] } : row([A])),
    })
    update.apply(row([A]))
    update.apply(undefined)
    done()
    expect(index.homesOf(KEY)).toEqual([A])
  })

  test('that removes the row removes it here', () => {
    const index = new HintIndex()
    index.set(KEY, row([A], true))
    const { update, done } = index.tracked({ key: KEY, apply: () => undefined })
    update.apply(row([A], true))
    done()
    expect(index.has(KEY)).toBe(false)
    expect([index.own, index.pending, index.homes().length]).toEqual([0, 0, 0])
  })

  // A disk that could not even be opened for lack of room would have taken every row out of memory.
  test('stay as they are where the disk never looked at them', () => {
    const index = new HintIndex()
    index.set(KEY, row([A, B], true))
    index.tracked({ key: KEY, apply: () => undefined }).done()
    expect(index.homesOf(KEY)).toEqual([A, B])
  })

  test('a home that has its copy needs none any more, whatever the row says', () => {
    const index = new HintIndex()
    index.set(KEY, row([A, B], true))
    index.relieve(KEY, [A])
    index.relieve(OTHER, [A])
    expect([index.homesOf(KEY), index.keysFor(A, 9), index.own]).toEqual([[B], [], 1])
    index.relieve(KEY, [A, B])
    expect([index.has(KEY), index.pending, index.own]).toEqual([false, 0, 0])
  })
})
