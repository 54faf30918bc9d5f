/** §4.6, 'Handling failures: hinted handoff', sentence by sentence. */
import { describe, expect, test } from 'vitest'
import { hintAt, nodeOf, openRing, replicaAt } from './ring.js'

/** Only hints may bring a home up to date. */
const HINTS_ONLY = { readRepair: false, merkleSync: false }

/** A ring of five in which one home of 'cart' is down, and everybody knows. */
async function oneHomeDown() {
  const ring = await openRing(5, HINTS_ONLY)
  const [a, b, c] = ring.homes('cart')
  const [d, e] = ring.others('cart')
  ring.crash(a)
  await ring.pass(3000)
  return { ring, a, b, c, d, e: e ?? d }
}

describe('§4.6 Hinted handoff', () => {
  test('all operations are performed on the first N healthy nodes from the preference list', async () => {
    const { ring, b, c, d } = await oneHomeDown()
    const { acks, met, sloppy } = await ring.client(b).put('cart', 'apple', { w: 3 })
    expect(new Set(acks)).toEqual(new Set([b.id, c.id, d.id]))
    expect({ met, sloppy }).toEqual({ met: true, sloppy: true })
  })

  test('if node A is unreachable, a replica that would have lived on A will now be sent to node D', async () => {
    const { ring, b, d, e } = await oneHomeDown()
    await ring.client(b).put('cart', 'apple', { w: 3 })
    expect(hintAt(d, 'cart')?.texts).toEqual(['apple'])
    expect(hintAt(e, 'cart')).toBeUndefined()
  })

  test('the replica sent to D has a hint in its metadata that suggests which node was the intended recipient', async () => {
    const { ring, a, b, d } = await oneHomeDown()
    const { hintedFor } = await ring.client(b).put('cart', 'apple', { w: 3 })
    expect(hintAt(d, 'cart')?.homes).toEqual([a.id])
    expect(hintedFor).toEqual([a.id])
  })

  test('nodes that receive hinted replicas keep them in a separate local database', async () => {
    const { ring, b, d } = await oneHomeDown()
    await ring.client(b).put('cart', 'apple', { w: 3 })
    expect(hintAt(d, 'cart')?.texts).toEqual(['apple'])
    expect(replicaAt(d, 'cart')).toEqual([])
  })

  test('upon detecting that A has recovered, D delivers the replica to A and deletes it from its local store', async () => {
    const { ring, a, b, c, d } = await oneHomeDown()
    await ring.client(b).put('cart', 'apple', { w: 3 })
    await ring.reopen(a)
    await ring.until('A to have it', () => replicaAt(a, 'cart').includes('apple'), 20_000)
    await ring.until('the hints to be gone', () => ring.tabs.every((tab) => tab.disk.hints.size === 0), 20_000)
    // Without decreasing the total number of replicas in the system:
    for (const home of [a, b, c]) expect(replicaAt(home, 'cart')).toEqual(['apple'])
    expect(replicaAt(d, 'cart')).toEqual([])
  })

  test('D alone delivers, when nobody else that knows of the write is there any more', async () => {
    const { ring, a, b, c, d } = await oneHomeDown()
    await ring.client(b).put('cart', 'apple', { w: 3 })
    ring.crash(b, c)
    await ring.reopen(a)
    await ring.until('A to have it', () => replicaAt(a, 'cart').includes('apple'), 20_000)
    await ring.until('D to let go', () => hintAt(d, 'cart') === undefined, 10_000)
  })

  test('the hint is not deleted before A has confirmed it', async () => {
    const { ring, a, b, c, d } = await oneHomeDown()
    await ring.client(b).put('cart', 'apple', { w: 3 })
    ring.crash(b, c)
    for (let second = 0; second < 20; second++) {
      await ring.pass(1000)
      expect(hintAt(d, 'cart')?.homes).toEqual([a.id])
    }
  })

  test('a holder that was restarted still delivers', async () => {
    const { ring, a, b, c, d } = await oneHomeDown()
    await ring.client(b).put('cart', 'apple', { w: 3 })
    ring.crash(b, c, d)
    await ring.pass(2000)
    await ring.reopen(d)
    expect(nodeOf(d).replica.hints.homes()).toEqual([a.id])
    await ring.reopen(a)
    await ring.until('A to have it', () => replicaAt(a, 'cart').includes('apple'), 20_000)
    await ring.until('D to let go', () => hintAt(d, 'cart') === undefined, 10_000)
  })

  test('several writes while A is down are one hint, of the latest version', async () => {
    const { ring, a, b, d } = await oneHomeDown()
    const ann = ring.client(b)
    for (const cart of ['apple', 'apple, bread', 'apple, bread, cheese']) await ann.put('cart', cart, { w: 3 })
    expect(hintAt(d, 'cart')?.texts).toEqual(['apple, bread, cheese'])
    await ring.reopen(a)
    await ring.until('A to have it', () => replicaAt(a, 'cart').length > 0, 20_000)
    expect(replicaAt(a, 'cart')).toEqual(['apple, bread, cheese'])
  })

  test('a delete is handed off like any write', async () => {
    const ring = await openRing(5, HINTS_ONLY)
    const [a, b] = ring.homes('cart')
    const ann = ring.client(b)
    await ann.put('cart', 'apple', { w: 3 })
    ring.crash(a)
    await ring.pass(3000)
    await ann.delete('cart')
    expect(replicaAt(a, 'cart')).toEqual(['apple'])
    await ring.reopen(a)
    await ring.until('A to forget it', () => replicaAt(a, 'cart').length === 0, 20_000)
  })

  test('a home that fails during the write is replaced as well: read and write operations are not failed', async () => {
    const ring = await openRing(5, HINTS_ONLY)
    const [a, b, c] = ring.homes('cart')
    const [d] = ring.others('cart')
    ring.world.freeze(a)
    const { met, acks } = await ring.client(b).put('cart', 'apple', { w: 3 })
    expect(met).toBe(true)
    expect(new Set(acks)).toEqual(new Set([b.id, c.id, d.id]))
    expect(hintAt(d, 'cart')?.homes).toEqual([a.id])
  })

  test('the hinted replica is found by a get while the homes are down', async () => {
    const { ring, b, c, d, e } = await oneHomeDown()
    await ring.client(b).put('cart', 'apple', { w: 3 })
    ring.crash(b, c)
    await ring.pass(3000)
    expect(await ring.client(e).get('cart', { r: 1 })).toEqual(['apple'])
    expect(await ring.client(d).get('cart', { r: 1 })).toEqual(['apple'])
  })

  test('with W = 1 a write is accepted as long as a single node in the system has durably written it to its local store', async () => {
    const ring = await openRing(5, HINTS_ONLY)
    const [survivor] = ring.others('cart')
    ring.crash(...ring.homes('cart'), ...ring.tabs.filter((tab) => tab !== survivor))
    await ring.pass(5000)
    const outcome = await ring.client(survivor).put('cart', 'apple', { w: 1 })
    expect(outcome).toMatchObject({ met: true, acks: [survivor.id] })
    expect(hintAt(survivor, 'cart')?.texts).toEqual(['apple'])
  })

  test('even a tab whose own disk is full gets its write accepted by another one', async () => {
    const ring = await openRing(5, HINTS_ONLY, { quiet: false })
    const [full, other] = ring.others('cart')
    ring.crash(...ring.homes('cart'))
    await ring.pass(3000)
    if (full.storage) full.storage.failing = 'quota'
    const { met, acks } = await ring.client(full).put('cart', 'apple', { w: 1 })
    expect({ met, acks }).toEqual({ met: true, acks: [other?.id] })
  })

  test('the write request is only rejected if all nodes in the system are unavailable', async () => {
    const ring = await openRing(5, HINTS_ONLY, { quiet: false })
    const [last, ...rest] = ring.tabs
    ring.crash(...rest)
    await ring.pass(5000)
    if (last?.storage) last.storage.failing = 'quota'
    const outcome = await ring.client(ring.tab(0)).put('cart', 'apple', { w: 1 })
    expect(outcome).toMatchObject({ met: false, acks: [], answers: 0 })
    expect(outcome.storageError).toBeDefined()
  })

  test('hints for a home that left go to the home that took its place', async () => {
    const { ring, a, b, d } = await oneHomeDown()
    await ring.client(b).put('cart', 'apple', { w: 3 })
    expect(hintAt(d, 'cart')?.homes).toEqual([a.id])

    // A comes back where D is not, and leaves for good; D learns of it when it is back itself, and re-routes its hint.
    ring.crash(d)
    await ring.pass(2000)
    await ring.reopen(a)
    await ring.pass(3000)
    nodeOf(a).membership.declare({ state: 'left' })
    await ring.pass(5000)
    ring.crash(a)
    await ring.reopen(d)
    await ring.until('no hints', () => ring.world.alive().every((tab) => tab.disk.hints.size === 0), 20_000)

    const homes = ring.homes('cart', d)
    expect(homes).not.toContain(a)
    for (const home of homes) expect(replicaAt(home, 'cart')).toEqual(['apple'])
  })

  test('hints for a home that stayed away for replaceAfter are re-routed too', async () => {
    const ring = await openRing(5, { ...HINTS_ONLY, replaceAfterMs: 20_000 })
    const [a, b] = ring.homes('cart')
    ring.crash(a)
    await ring.pass(3000)
    await ring.client(b).put('cart', 'apple', { w: 3 })
    await ring.pass(30_000)
    expect(ring.homes('cart', b)).not.toContain(a)
    for (const home of ring.homes('cart', b)) expect(replicaAt(home, 'cart')).toEqual(['apple'])
    expect(ring.world.alive().every((tab) => tab.disk.hints.size === 0)).toBe(true)
  })
})
