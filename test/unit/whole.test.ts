/** A node that lacks something must not count as whole: its "not found" would be a vote. Where the others are away, that is hard to know. */
import { expect, test } from 'vitest'
import { type Ring, type Tab, named, nodeOf, openRing } from '../paper/ring.js'

const KEYS = Array.from({ length: 20 }, (_, i) => `k${i}`)
const MANY = Array.from({ length: 200 }, (_, i) => `k${i}`)

/** How many of the keys a get at the tab denies, as if that were certain. */
async function denied(ring: Ring, tab: Tab, r: number, keys = KEYS): Promise<number> {
  let found = 0
  for (const key of keys) {
    const { met, sloppy, container } = await ring.await(
      nodeOf(tab).coordinator.get(named(key), { r, strictQuorum: true }),
    )
    if (met && !sloppy && container.siblings.length === 0) found++
  }
  return found
}

// 'Nothing' of those who answered was taken for all there is.
test('newcomers deny nothing after one of two has left, and the other is closed for a moment', async () => {
  const ring = await openRing(2, {}, { quiet: false, noticeMs: 100 })
  const [a, b] = ring.tabs as [Tab, Tab]
  for (const key of KEYS)
    expect(await ring.client(a).put(key, 'there', { w: 2, strictQuorum: true })).toMatchObject({ met: true })
  await ring.leave(a)
  await ring.await(nodeOf(a).stop())
  ring.evict(a)
  await ring.pass(5000)
  const first = await ring.join()
  await ring.until('met', () => nodeOf(first).peers.reachable().length === 1)
  ring.crash(b)
  await ring.pass(6000)
  const one = await denied(ring, first, 1)
  const second = await ring.join()
  await ring.pass(6000)
  const two = await denied(ring, second, 2)
  expect({ one, two }).toEqual({ one: 0, two: 0 })
})

test('nor does a tab whose disk was emptied while the other one is closed for a moment', async () => {
  const ring = await openRing(2, {}, { quiet: false, noticeMs: 100 })
  const [a, b] = ring.tabs as [Tab, Tab]
  for (const key of KEYS)
    expect(await ring.client(a).put(key, 'there', { w: 2, strictQuorum: true })).toMatchObject({ met: true })
  ring.crash(b)
  await ring.pass(5000)
  a.storage?.empty()
  await ring.pass(6000)
  const one = await denied(ring, a, 1)
  const joined = await ring.join()
  await ring.pass(6000)
  const two = await denied(ring, joined, 2)
  expect({ one, two }).toEqual({ one: 0, two: 0 })
})

test('nor do two of three, of which one was emptied and one replaced, while the third is closed', async () => {
  const ring = await openRing(3, { replaceAfterMs: 30_000 }, { quiet: false, noticeMs: 100 })
  const [a, b, c] = ring.tabs as [Tab, Tab, Tab]
  // c sleeps; a and b take the writes.
  ring.crash(c)
  await ring.pass(60_000)
  for (const key of KEYS)
    expect(await ring.client(a).put(key, 'there', { w: 2, strictQuorum: true })).toMatchObject({ met: true })
  await ring.pass(3000)
  // c is back, hears that it was replaced, and before it has fetched anything b is closed; a, which has it, was emptied just before.
  ring.world.begin(c)
  a.storage?.empty()
  await ring.until('met', () => c.node !== undefined && nodeOf(c).peers.reachable().length === 2)
  ring.crash(b)
  await ring.pass(8000)
  expect({ a: await denied(ring, a, 2), c: await denied(ring, c, 2) }).toEqual({ a: 0, c: 0 })
})

/** Seven tabs; all but the first are closed until it is alone, and writes a little everywhere. Four come back at once, two stay away. */
async function leftAlone(): Promise<{ ring: Ring; tab: Tab; back: Tab[] }> {
  const ring = await openRing(7, { replaceAfterMs: 30_000 }, { quiet: false })
  const [tab, ...rest] = ring.tabs as [Tab, ...Tab[]]
  for (const [i, key] of MANY.entries()) await ring.client(rest[i % 6] as Tab).put(key, 'there', { w: 3 })
  await ring.pass(20_000)
  ring.crash(...rest)
  await ring.pass(60_000)
  expect(nodeOf(tab).membership.placed()).toEqual([tab.id])
  for (let i = 0; i < 100; i++) await ring.client(tab).put(`new${i}`, 'new', { w: 1 })
  const back = rest.slice(0, 4)
  for (const other of back) ring.world.begin(other)
  await ring.until('back', () => back.every((other) => other.node) && nodeOf(tab).peers.reachable().length === 4)
  return { ring, tab, back }
}

// What it had written by itself made it a whole home, as if others had never been.
test.each([1, 2])(
  'a tab that was alone denies nothing that the others have, once they are back (r = %i)',
  async (r) => {
    const { ring, tab } = await leftAlone()
    expect(await denied(ring, tab, r, MANY)).toBe(0)
  },
)

test('and nobody fills from it what it does not have', async () => {
  const { ring, tab, back } = await leftAlone()
  const wrong = new Set<string>()
  for (let step = 0; step < 40; step++) {
    await ring.pass(100)
    for (const key of MANY) {
      const lacks = ({ disk }: Tab) => !disk.records.has(named(key))
      const isWhole = (one: Tab) => nodeOf(one).duties.isComplete(nodeOf(one).partitionOf(named(key)))
      if ([tab, ...back].filter((one) => isWhole(one) && lacks(one)).length >= 2) wrong.add(key)
    }
  }
  expect([...wrong]).toEqual([])
})

// It had forgotten that nobody else was there when it counted as whole. With a record of its own in the partition, nothing made it look for others.
test('nor does a tab that was alone, wrote, and was loaded anew before it met the others', async () => {
  const ring = await openRing(3)
  const old = [...ring.tabs]
  for (const key of MANY)
    expect(await ring.client(ring.tab(0)).put(key, 'there', { w: 3, strictQuorum: true })).toMatchObject({ met: true })
  const tab = ring.world.addPlace()
  ring.partition([tab], old)
  await ring.world.start(tab)
  for (let i = 0; i < 100; i++) await ring.client(tab).put(`new${i}`, 'new', { w: 1 })
  await ring.pass(1000)
  ring.crash(tab)
  ring.heal()
  await ring.reopen(tab)
  const both = [ring.tab(0), tab]
  const haveMet = () => both.every((one) => both.every(({ id }) => nodeOf(one).membership.placed().includes(id)))
  await ring.world.time.until('they meet', haveMet, 60_000, 5)
  // All at once: in a moment, sync will have brought it everything.
  const gets = both.map((at) =>
    Promise.all(MANY.map((key) => nodeOf(at).coordinator.get(named(key), { r: 1, strictQuorum: true }))),
  )
  const absent = (await ring.await(Promise.all(gets))).map(
    (outcomes) => outcomes.filter(({ met, container }) => met && container.siblings.length === 0).length,
  )
  expect(absent).toEqual([0, 0])
})

// What is new to it since its last life counted as whole there, with the old records of a former home.
test('nor does a tab that is opened with more capacity, and is a home again of what it has not handed over yet', async () => {
  const ring = await openRing(3, { scrubIntervalMs: 1e9 })
  const [tab] = ring.tabs as [Tab]
  for (const key of MANY) await ring.client(tab).put(key, 'old', { w: 3 })
  await ring.join()
  await ring.join()
  await ring.join()
  await ring.until('one ring', () => ring.isWhole())
  const later = MANY.map((key) => `later ${key}`)
  const writer = ring.client(ring.tab(1))
  for (const key of later)
    expect(await writer.put(key, 'new', { w: 3, strictQuorum: true })).toMatchObject({ met: true })
  await ring.world.close(tab)
  tab.options.capacity = 8
  await ring.reopen(tab)
  expect(await denied(ring, tab, 1, later)).toBe(0)
})
