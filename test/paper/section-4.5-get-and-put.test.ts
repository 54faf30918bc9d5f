/** §4.5, 'Execution of get() and put() operations', sentence by sentence. */
import { describe, expect, test } from 'vitest'
import { containerAt, openRing, replicaAt, textsOf } from './ring.js'

const NO_HELP = { hintedHandoff: false, readRepair: false, merkleSync: false }

describe('§4.5 Execution of get() and put() operations', () => {
  test('any storage node is eligible to receive client get and put operations for any key', async () => {
    const ring = await openRing(6)
    for (const writer of ring.tabs) {
      const key = `written at ${writer.id}`
      await ring.client(writer).put(key, 'hello')
      for (const reader of ring.tabs) expect(await ring.client(reader).get(key)).toEqual(['hello'])
    }
  })

  test('a client reads its own write at once, wherever it wrote', async () => {
    const ring = await openRing(6)
    for (const tab of [...ring.homes('cart'), ...ring.others('cart')]) {
      const ann = ring.client(tab)
      await ann.get('cart')
      await ann.put('cart', tab.id, { w: 1 })
      expect(await ann.get('cart', { r: 1 })).toContain(tab.id)
    }
  })

  test('the coordinator generates the vector clock for the new version and writes the new version locally', async () => {
    const ring = await openRing(3)
    const [coordinator] = ring.homes('cart')
    await ring.client(coordinator).put('cart', 'apple', { w: 1 })
    expect(replicaAt(coordinator, 'cart')).toEqual(['apple'])
    expect(containerAt(coordinator, 'cart').context.vector.size).toBe(1)
  })

  test.each([1, 2, 3])('if at least W-1 nodes respond then the write is considered successful: W = %d', async (w) => {
    const ring = await openRing(3)
    const [coordinator] = ring.homes('cart')
    const { met, answers, needed, acks } = await ring.client(coordinator).put('cart', 'apple', { w })
    expect({ met, needed }).toEqual({ met: true, needed: w })
    expect(answers).toBeGreaterThanOrEqual(w)
    expect(acks.length).toBeGreaterThanOrEqual(w)
  })

  test.each([1, 2, 3])(
    'W is the minimum number of nodes that must participate in a write: with %d of 3 up',
    async (up) => {
      const ring = await openRing(3, NO_HELP)
      const [coordinator, ...others] = ring.homes('cart')
      ring.crash(...others.slice(up - 1))
      await ring.pass(5000)
      for (const w of [1, 2, 3]) {
        const { met, answers, needed } = await ring.client(coordinator).put('cart', 'apple', { w, strictQuorum: true })
        expect({ met, needed }).toEqual({ met: w <= up, needed: w })
        expect(answers).toBeGreaterThanOrEqual(Math.min(w, up))
        expect(answers).toBeLessThanOrEqual(up)
      }
    },
  )

  test.each([1, 2, 3])(
    'R is the minimum number of nodes that must participate in a read: with %d of 3 up',
    async (up) => {
      const ring = await openRing(3)
      const [reader, ...others] = ring.homes('cart')
      await ring.client(reader).put('cart', 'apple', { w: 3 })
      ring.crash(...others.slice(up - 1))
      await ring.pass(5000)
      for (const r of [1, 2, 3]) {
        const { container, met, answers, needed } = await ring.client(reader).ask('cart', { r })
        expect(textsOf(container)).toEqual(['apple'])
        expect({ met, needed }).toEqual({ met: r <= up, needed: r })
        expect(answers).toBeGreaterThanOrEqual(Math.min(r, up))
      }
    },
  )

  test('a write that too few nodes confirmed says so, and is not undone', async () => {
    const ring = await openRing(3, NO_HELP)
    const [coordinator, second, third] = ring.homes('cart')
    ring.crash(second, third)
    await ring.pass(5000)
    const ann = ring.client(coordinator)
    expect(await ann.put('cart', 'apple', { w: 2 })).toMatchObject({ met: false, answers: 1, needed: 2 })
    expect(await ann.get('cart', { r: 1 })).toEqual(['apple'])
  })

  test('setting R and W such that R + W > N yields a quorum-like system: every read meets every write', async () => {
    const ring = await openRing(5, NO_HELP)
    const [a, b, c] = ring.homes('cart')
    const writer = ring.client(a)
    for (const [round, away] of [b, c, b, c].entries()) {
      ring.partition([away], ring.tabs)
      await ring.pass(20_000)
      await writer.put('cart', `round ${round}`, { w: 2, strictQuorum: true })
      ring.heal()
      await ring.pass(10_000)
      for (const reader of ring.tabs)
        expect(await ring.client(reader).get('cart', { r: 2, strictQuorum: true })).toEqual([`round ${round}`])
    }
  })

  test('if the coordinator gathers multiple versions, it returns all the versions it deems causally unrelated', async () => {
    const ring = await openRing(3, NO_HELP)
    const [a, b, c] = ring.homes('cart')
    ring.partition([a], [b, c])
    ring.partition([b], [c])
    await ring.client(a).put('cart', 'apple', { w: 1 })
    await ring.client(b).put('cart', 'bread', { w: 1 })
    await ring.client(c).put('cart', 'cheese', { w: 1 })
    ring.heal()
    await ring.pass(10_000)
    expect([a, b, c].map((tab) => replicaAt(tab, 'cart'))).toEqual([['apple'], ['bread'], ['cheese']])
    expect(await ring.client(a).get('cart', { r: 3 })).toEqual(['apple', 'bread', 'cheese'])
  })

  test('and none of those that another one descends from', async () => {
    const ring = await openRing(3, NO_HELP)
    const [a, b, c] = ring.homes('cart')
    const ann = ring.client(a)
    await ann.put('cart', 'apple', { w: 3 })
    ring.partition([c], [a, b])
    await ann.put('cart', 'apple, bread', { w: 2 })
    ring.heal()
    await ring.pass(10_000)
    expect(replicaAt(c, 'cart')).toEqual(['apple'])
    expect(await ring.client(c).get('cart', { r: 3 })).toEqual(['apple, bread'])
  })

  test('the divergent versions are then reconciled, and the reconciled version superseding them is written back', async () => {
    const ring = await openRing(3, { hintedHandoff: false, merkleSync: false })
    const [a, b, c] = ring.homes('cart')
    ring.partition([a, b], [c])
    await ring.client(a).put('cart', 'apple', { w: 2 })
    await ring.client(c).put('cart', 'cheese', { w: 1 })
    ring.heal()
    await ring.pass(10_000)

    // A read repairs the homes that it found behind (§5); a write over both versions supersedes them.
    const ann = ring.client(a)
    expect(await ann.get('cart', { r: 3 })).toEqual(['apple', 'cheese'])
    await ring.pass(2000)
    for (const home of [a, b, c]) expect(replicaAt(home, 'cart')).toEqual(['apple', 'cheese'])
    await ann.put('cart', 'apple and cheese', { w: 3 })
    for (const home of [a, b, c]) expect(replicaAt(home, 'cart')).toEqual(['apple and cheese'])
  })

  test('R can be 1: a get answers from a single home while all the others are down', async () => {
    const ring = await openRing(5)
    const [survivor] = ring.homes('cart')
    await ring.client(survivor).put('cart', 'apple', { w: 3 })
    ring.crash(...ring.tabs.filter((tab) => tab !== survivor))
    await ring.pass(5000)
    expect(await ring.client(survivor).ask('cart', { r: 1 })).toMatchObject({ met: true, answers: 1 })
    expect(await ring.client(survivor).get('cart', { r: 1 })).toEqual(['apple'])
  })

  test('the latency of a get is dictated by the slowest of the R replicas, not of all N', async () => {
    const ring = await openRing(3)
    const [reader, , stuck] = ring.homes('cart')
    await ring.client(reader).put('cart', 'apple', { w: 3 })
    ring.world.freeze(stuck)
    const start = ring.world.time.now
    expect(await ring.client(reader).ask('cart', { r: 2 })).toMatchObject({ met: true })
    expect(ring.world.time.now - start).toBeLessThan(200)
  })
})
