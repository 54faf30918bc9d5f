/** §4.3, 'Replication', sentence by sentence. */
import { describe, expect, test } from 'vitest'
import { named, nodeOf, openRing, replicaAt } from './ring.js'

const N = 3

describe('§4.3 Replication', () => {
  test('each data item is replicated at N hosts', async () => {
    const ring = await openRing(5)
    const ann = ring.client(ring.others('cart')[0])

    await ann.put('cart', 'apple')
    await ring.pass(2000)

    const holders = ring.tabs.filter((tab) => replicaAt(tab, 'cart').includes('apple'))
    expect(holders).toHaveLength(N)
    expect(new Set(holders)).toEqual(new Set(ring.homes('cart')))
  })

  test('the coordinator replicates the keys at the other N-1 homes, itself being one', async () => {
    const ring = await openRing(5)
    const [coordinator, ...successors] = ring.homes('cart')

    const outcome = await ring.client(coordinator).put('cart', 'apple', { w: N })

    expect(successors).toHaveLength(N - 1)
    expect(new Set(outcome.acks)).toEqual(new Set(ring.homes('cart').map(({ id }) => id)))
    for (const home of ring.homes('cart')) expect(replicaAt(home, 'cart')).toEqual(['apple'])
  })

  test('a delete is replicated at the N hosts like any other version', async () => {
    const ring = await openRing(5)
    const ann = ring.client(ring.tab(0))

    await ann.put('cart', 'apple')
    await ann.delete('cart')
    await ring.pass(2000)

    for (const home of ring.homes('cart')) expect(replicaAt(home, 'cart')).toEqual([])
    expect(await ring.client(ring.tab(4)).get('cart', { r: N })).toEqual([])
  })

  test('every node in the system can determine which nodes should be in this list for any particular key', async () => {
    const ring = await openRing(6)
    for (const key of ['cart', 'profile', 'session', 'order', 'wish list']) {
      const lists = ring.tabs.map((tab) => nodeOf(tab).routing.preferenceList(named(key)))
      for (const list of lists) expect(list).toEqual(lists[0])
    }
  })

  test('to account for node failures, the preference list contains more than N nodes', async () => {
    const ring = await openRing(6)
    const list = ring.preferenceList('cart')
    expect(list).toHaveLength(6)
    expect(list.slice(0, N)).toEqual(ring.homes('cart'))
    expect(new Set(list).size).toBe(6)
  })

  test('the preference list of a key contains only distinct physical nodes', async () => {
    const ring = await openRing(6, {}, { devices: ['laptop', 'laptop', 'laptop', 'phone', 'tablet', 'tablet'] })
    const deviceOf = (id: string) =>
      nodeOf(ring.tab(0))
        .membership.all()
        .find(({ node }) => node === id)?.device
    for (let i = 0; i < 50; i++) {
      const homes = ring.homes(`key ${i}`)
      expect(new Set(homes.map(({ id }) => deviceOf(id))).size).toBe(N)
    }
  })

  test('with fewer devices than N, the homes spread over all the devices there are', async () => {
    const ring = await openRing(5, {}, { devices: ['laptop', 'laptop', 'laptop', 'phone', 'phone'] })
    const deviceOf = (id: string) =>
      nodeOf(ring.tab(0))
        .membership.all()
        .find(({ node }) => node === id)?.device
    for (let i = 0; i < 50; i++) {
      const homes = ring.homes(`key ${i}`)
      expect(homes).toHaveLength(N)
      expect(new Set(homes.map(({ id }) => deviceOf(id)))).toEqual(new Set(['laptop', 'phone']))
    }
  })

  test('a ring smaller than N replicates at everybody', async () => {
    const ring = await openRing(2)
    await ring.client(ring.tab(0)).put('cart', 'apple')
    await ring.pass(1000)
    for (const tab of ring.tabs) expect(replicaAt(tab, 'cart')).toEqual(['apple'])
  })
})
