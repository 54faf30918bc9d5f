/** Dots are minted once, whatever happens to the tab that mints them. */
import { describe, expect, test } from 'vitest'
import { type NodeId, nodeOfActor, storeKey } from '../../src/core/ids.js'
import { Minter } from '../../src/core/minter.js'
import { type Container, EMPTY_CONTAINER, writtenContainer } from '../../src/core/versions/container.js'
import { type Dot, EMPTY_CONTEXT, compact, withDot } from '../../src/core/versions/context.js'
import { SeededRandom } from '../sim/random.js'

const NODE = 'node______' as NodeId
const KEY = storeKey(3, '', 'k')
const OTHER = storeKey(3, '', 'other')

const containerOf = (dot: Dot): Container =>
  writtenContainer(EMPTY_CONTEXT, { dot, value: undefined, checksum: 0, expiresAt: 0 })

describe('a minter', () => {
  test('counts 1, 2, 3 for each key, as one actor of its node', () => {
    const minter = new Minter(NODE, new SeededRandom(1))
    const dots = [KEY, KEY, OTHER, KEY].map((key) => minter.mint(key))
    expect(dots.map(({ counter }) => counter)).toEqual([1, 2, 1, 3])
    expect(new Set(dots.map(({ actor }) => actor)).size).toBe(1)
    expect(nodeOfActor((dots[0] as Dot).actor)).toBe(NODE)
  })

  test('is another actor in every life of its node', () => {
    const random = new SeededRandom(1)
    expect(new Minter(NODE, random).mint(KEY).actor).not.toBe(new Minter(NODE, random).mint(KEY).actor)
  })

  test('goes on counting when its own writes come back to it', () => {
    const minter = new Minter(NODE, new SeededRandom(1))
    const first = minter.mint(KEY)
    minter.observe(KEY, containerOf(first))
    minter.observe(KEY, EMPTY_CONTAINER)
    expect(minter.mint(KEY)).toEqual({ actor: first.actor, counter: 2 })
  })

  test('gives its actor up when somebody knows a dot of it that it has not issued', () => {
    const minter = new Minter(NODE, new SeededRandom(1))
    const { actor } = minter.mint(KEY)
    minter.observe(KEY, containerOf({ actor, counter: 2 }))
    const next = minter.mint(KEY)
    expect(next.actor).not.toBe(actor)
    expect(next.counter).toBe(1)
  })

  test('judges by the very key: another key of the same actor says nothing', () => {
    const minter = new Minter(NODE, new SeededRandom(1))
    const { actor } = minter.mint(KEY)
    minter.observe(OTHER, containerOf({ actor, counter: 1 }))
    expect(minter.mint(KEY).actor).not.toBe(actor)
  })

  test('does not care what is known of other actors, its own earlier lives included', () => {
    const random = new SeededRandom(1)
    const earlier = new Minter(NODE, random).mint(KEY)
    const minter = new Minter(NODE, random)
    const { actor } = minter.mint(KEY)
    minter.observe(KEY, containerOf({ ...earlier, counter: 99 }))
    expect(minter.mint(KEY)).toEqual({ actor, counter: 2 })
  })

  test('copes with a context of very many dots', () => {
    const minter = new Minter(NODE, new SeededRandom(1))
    const { actor } = minter.mint(KEY)
    const counters = new Set(Array.from({ length: 300_000 }, (_, i) => 2 * i + 3))
    minter.observe(KEY, { siblings: [], context: compact(new Map(), new Map([[actor, counters]])) })
    expect(minter.mint(KEY).actor).not.toBe(actor)
  })

  test('issues no dot twice when it forgets the counters of very many keys', () => {
    const minter = new Minter(NODE, new SeededRandom(1))
    const seen = new Set<string>()
    const mint = (i: number) => {
      const key = storeKey(3, '', `k${i}`)
      const { actor, counter } = minter.mint(key)
      seen.add(`${key} ${actor} ${counter}`)
    }
    for (let round = 0; round < 2; round++) for (let i = 0; i < 60_000; i++) mint(i)
    expect(seen.size).toBe(120_000)
  })

  test('knows what was minted on its disk, and nothing of it any more when it is another one', () => {
    const random = new SeededRandom(1)
    const former = new Minter(NODE, random)
    const minter = new Minter(NODE, random)
    minter.restore(former.encodedActors())
    const own = [former.mint(KEY), minter.mint(KEY)]
    const other = new Minter(NODE, random).mint(KEY)
    const mintedAll = (dots: Dot[]) => minter.mintedAll(dots.reduce(withDot, EMPTY_CONTEXT))
    expect([mintedAll(own), mintedAll([...own, other]), mintedAll([other])]).toEqual([true, false, false])
    minter.lost()
    expect([mintedAll(own), mintedAll([minter.mint(KEY)])]).toEqual([false, true])
  })

  test('remembers the latest of very many lives', () => {
    const random = new SeededRandom(1)
    const lives = Array.from({ length: 1500 }, () => new Minter(NODE, random))
    let stored: Uint8Array | undefined
    for (const life of lives) {
      life.restore(stored)
      stored = life.encodedActors()
    }
    const last = lives.at(-1) as Minter
    const isRemembered = (life: Minter | undefined) => life && last.mintedAll(withDot(EMPTY_CONTEXT, life.mint(KEY)))
    expect([0, 400, 600, 1499].map((at) => isRemembered(lives[at]))).toEqual([false, false, true, true])
  })

  test('remembers what it is after very many keys', () => {
    const random = new SeededRandom(1)
    let stored: Uint8Array | undefined
    const life: Minter = new Minter(NODE, random, () => {
      stored = life.encodedActors()
    })
    const dots = Array.from({ length: 50_001 }, (_, i) => life.mint(storeKey(3, '', `k${i}`)))
    const next = new Minter(NODE, random)
    next.restore(stored)
    for (const dot of [dots[0], dots[50_000]] as Dot[]) expect(next.mintedAll(withDot(EMPTY_CONTEXT, dot))).toBe(true)
  })
})
