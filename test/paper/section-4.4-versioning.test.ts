/**
 * §4.4, 'Data Versioning', with Figure 3. Sx, Sy and Sz are the tabs where a put starts, as the paper's are the nodes that coordinate
 * it. A dot's actor is one life of a tab, so a clock is told by the tab that minted.
 */
import { describe, expect, test } from 'vitest'
import { descends } from '../../src/core/versions/context.js'
import { type Client, type Ring, clockOf, containerAt, openRing } from './ring.js'

async function figure3() {
  const ring = await openRing(3)
  const names = { Sx: ring.tab(0), Sy: ring.tab(1), Sz: ring.tab(2) }
  const [x, y, z] = [ring.client(names.Sx), ring.client(names.Sy), ring.client(names.Sz)]
  const clock = async (client: Client, key: string) => clockOf((await client.ask(key)).container.context, names)
  return { ring, x, y, z, clock }
}

/** Both have read what there is; both write before either has seen the other. */
async function bothWrite(ring: Ring, key: string, [a, text]: [Client, string], [b, other]: [Client, string]) {
  await a.get(key)
  await b.get(key)
  const first = a.begin(key, text)
  const second = b.begin(key, other)
  await ring.await(first)
  await ring.await(second)
  await ring.pass(2000)
}

describe('§4.4 Data versioning', () => {
  test('Figure 3: version evolution of an object over time', async () => {
    const { ring, x, y, z, clock } = await figure3()

    // Sx handles the write of a new object: D1 ([Sx, 1]).
    await x.put('object', 'D1')
    await ring.pass(1000)
    expect(await x.get('object')).toEqual(['D1'])
    expect(await clock(y, 'object')).toEqual({ Sx: 1 })

    // The client updates the object at the same node: D2 ([Sx, 2]) descends from D1 and overwrites it.
    await x.put('object', 'D2')
    await ring.pass(1000)
    expect(await x.get('object')).toEqual(['D2'])
    expect(await clock(z, 'object')).toEqual({ Sx: 2 })

    // D3 at Sy and D4 at Sz, both from D2: neither descends from the other, both must be kept.
    await bothWrite(ring, 'object', [y, 'D3'], [z, 'D4'])
    expect(await x.get('object')).toEqual(['D3', 'D4'])
    expect(await clock(x, 'object')).toEqual({ Sx: 2, Sy: 1, Sz: 1 })

    // A client that read both reconciles them at Sx: D5 ([Sx, 3], [Sy, 1], [Sz, 1]).
    await x.put('object', 'D5')
    await ring.pass(1000)
    for (const client of [x, y, z]) {
      expect(await client.get('object', { r: 3 })).toEqual(['D5'])
      expect(await clock(client, 'object')).toEqual({ Sx: 3, Sy: 1, Sz: 1 })
    }
  })

  test('D3 and D4 have the clocks ([Sx, 2], [Sy, 1]) and ([Sx, 2], [Sz, 1]), on parallel branches', async () => {
    const { ring, x, y, z } = await figure3()
    const names = { Sx: x.tab, Sy: y.tab, Sz: z.tab }
    await x.put('object', 'D1')
    await x.put('object', 'D2')
    await ring.pass(1000)
    await y.get('object')
    await z.get('object')

    // While Sy and Sz do not hear from each other, each holds its own branch only.
    ring.partition([y.tab], [x.tab, z.tab])
    await y.put('object', 'D3', { w: 1 })
    await z.put('object', 'D4', { w: 1 })
    const [d3, d4] = [containerAt(y.tab, 'object').context, containerAt(z.tab, 'object').context]

    expect(clockOf(d3, names)).toEqual({ Sx: 2, Sy: 1 })
    expect(clockOf(d4, names)).toEqual({ Sx: 2, Sz: 1 })
    expect(descends(d3, d4)).toBe(false)
    expect(descends(d4, d3)).toBe(false)
  })

  test('a node that is aware of D1 can determine upon receiving D2 that D1 can be garbage collected', async () => {
    const { ring, x, y } = await figure3()
    await x.put('object', 'D1')
    await x.put('object', 'D2')
    await ring.pass(1000)
    expect(containerAt(y.tab, 'object').siblings).toHaveLength(1)
  })

  test('old versions that arrive after new ones change nothing', async () => {
    const { ring, x, y, z } = await figure3()
    await x.put('object', 'D1')
    await ring.pass(1000)
    ring.crash(z.tab)
    await ring.pass(2000)
    await x.put('object', 'D2')
    await ring.reopen(z.tab)
    await ring.pass(20_000)
    for (const tab of [x.tab, y.tab, z.tab]) expect(containerAt(tab, 'object').siblings).toHaveLength(1)
    expect(await z.get('object', { r: 3 })).toEqual(['D2'])
  })

  test('two writes at one node without knowing of each other are siblings as well', async () => {
    const { ring, x } = await figure3()
    const other = ring.client(x.tab)
    await x.put('object', 'mine')
    await other.put('object', 'yours')
    expect(await x.get('object')).toEqual(['mine', 'yours'])
  })

  test('the add to cart operation can never be forgotten or rejected', async () => {
    const { ring, x, y } = await figure3()
    await x.put('cart', 'apple')
    await ring.pass(1000)

    // Two tabs that cannot reach each other both add to the cart they know.
    await y.get('cart')
    ring.partition([x.tab], [y.tab, ring.tab(2)])
    await ring.pass(20_000)
    const left = await x.put('cart', 'apple, bread', { w: 1 })
    const right = await y.put('cart', 'apple, cheese', { w: 1 })
    expect([left.met, right.met]).toEqual([true, true])

    // Once they can, every reader sees both additions, and nothing of what both replaced.
    ring.heal()
    await ring.pass(20_000)
    for (const tab of ring.tabs) expect(await ring.client(tab).get('cart')).toEqual(['apple, bread', 'apple, cheese'])

    // A customer merges the carts; the merged one is the only one left.
    await x.get('cart')
    await x.put('cart', 'apple, bread, cheese')
    await ring.pass(1000)
    for (const tab of ring.tabs) expect(await ring.client(tab).get('cart')).toEqual(['apple, bread, cheese'])
  })

  test('a delete is a version too: a concurrent addition survives it', async () => {
    const { ring, x, y } = await figure3()
    await x.put('cart', 'apple')
    await ring.pass(1000)
    await y.get('cart')
    ring.partition([x.tab], [y.tab, ring.tab(2)])
    await x.put('cart', undefined, { w: 1 })
    await y.put('cart', 'apple, bread', { w: 1 })
    ring.heal()
    await ring.pass(20_000)
    expect(await x.get('cart')).toEqual(['apple, bread'])
  })
})
