/** What closed tabs have left on this device is found by a tab that is on its own, and while it is being taken over. */
import { expect, test } from 'vitest'
import { type StoreKey, bucketPrefix } from '../../src/core/ids.js'
import type { Attic } from '../../src/core/requests/copies.js'
import type { Container } from '../../src/core/versions/container.js'
import { encodeContainer } from '../../src/core/versions/encoding.js'
import { readScanOptions } from '../../src/store/scan.js'
import { type Ring, type Tab, containerAt, named, nodeOf, openRing, textsOf } from '../paper/ring.js'

const KEYS = Array.from({ length: 20 }, (_, i) => `k${String(i).padStart(2, '0')}`)

/** All keys as a tab has them that has never met anybody. */
async function left(): Promise<Map<StoreKey, Container>> {
  const ring = await openRing(1)
  for (const key of KEYS) await ring.client(ring.tab(0)).put(key, 'left', { w: 1 })
  return new Map(KEYS.map((key) => [named(key), containerAt(ring.tab(0), key)]))
}

function atticOf(rows: ReadonlyMap<StoreKey, Container>): Attic {
  return {
    read: ({ key }) =>
      Promise.resolve([...rows].flatMap(([name, row]) => (name === key ? [encodeContainer(row)] : []))),
    keysIn: (from, to) => Promise.resolve([...rows.keys()].filter((key) => key >= from && key < to)),
  }
}

/** As an adoption does it. */
async function takeOver(tab: Tab, rows: ReadonlyMap<StoreKey, Container>): Promise<void> {
  const entries = [...rows].map(([key, container]) => ({ key, container }))
  await nodeOf(tab).replica.store(entries, {
    asRecord: true,
    hintFor: [],
    own: false,
    durability: 'strict',
    maxSiblings: 0,
  })
}

async function scan(ring: Ring, tab: Tab) {
  const found = nodeOf(tab).coordinator.scan(readScanOptions({}, bucketPrefix(3, '')), 3, { r: 1, strictQuorum: false })
  const keys: StoreKey[] = []
  await ring.await(
    (async () => {
      for await (const { key } of found.entries()) keys.push(key)
    })(),
  )
  return { keys, complete: found.complete }
}

// It counted as one that has everything: its own 'no' was a quorum of one, and a scan was complete without them.
test('a tab on its own finds them with r = 1 as well', async () => {
  const ring = await openRing(1, {}, { knobs: { attic: atticOf(await left()) } })
  const client = ring.client(ring.tab(0))
  const { met, cached, container } = await client.ask('k00', { r: 1 })
  expect({ met, cached, texts: textsOf(container) }).toEqual({ met: true, cached: true, texts: ['left'] })
  expect(await scan(ring, ring.tab(0))).toEqual({ keys: KEYS.map(named), complete: true })
  const other = await client.ask('k01', { r: 1, strictQuorum: true })
  expect([other.met, textsOf(other.container)]).toEqual([true, []])
  // A put goes on from what was shown.
  await client.put('k00', 'next', { w: 1 })
  expect(await client.get('k00', { r: 1 })).toEqual(['next'])
})

// It was not here yet when this tab's disk was read, and not there any more when the closed one's was.
test.each([1, 2])('a get finds what is taken over while it looks (r = %i)', async (r) => {
  const rows = await left()
  let moved = false
  const attic: Attic = {
    ...atticOf(rows),
    async read() {
      moved = true
      await takeOver(ring.tab(0), rows)
      return []
    },
  }
  const ring: Ring = await openRing(1, {}, { knobs: { attic } })
  expect(await ring.client(ring.tab(0)).get('k00', { r })).toEqual(['left'])
  expect(moved).toBe(true)
})

test('a scan finds what is taken over while it looks', async () => {
  const rows = await left()
  const attic: Attic = {
    ...atticOf(new Map()),
    async keysIn() {
      await takeOver(ring.tab(0), rows)
      return []
    },
  }
  const ring: Ring = await openRing(1, {}, { knobs: { attic } })
  expect((await scan(ring, ring.tab(0))).keys).toEqual(KEYS.map(named))
})
