/** Watching: who is told of which changes, however much is watched. */
import { expect, test } from 'vitest'
import { type StoreKey, storeKey } from '../../src/core/ids.js'
import type { Message } from '../../src/core/messages.js'
import type { Interest } from '../../src/core/requests/interests.js'
import { type Ring, type Tab, nodeOf, openRing } from '../paper/ring.js'
import { answerOf, passing, storeAt } from './support/stores.js'

const named = (key: string) => storeKey(3, '', key)

/** The keys of which the tab's watches hear from now on, each once. */
function heardBy(tab: Tab): Set<StoreKey> {
  const heard = new Set<StoreKey>()
  nodeOf(tab).interests.events.on('changed', ({ key }) => heard.add(key))
  return heard
}

const watch = (tab: Tab, interest: Interest) => nodeOf(tab).interests.add(interest)

test('a watched key is told of from the next write on, and no longer than it is watched', async () => {
  const ring = await openRing(5)
  const [home] = ring.homes('a')
  const [stranger] = ring.others('a')
  const heard = heardBy(stranger)
  const end = watch(stranger, { key: named('a') })
  watch(stranger, { key: named('b') })
  await ring.pass(100)
  await ring.client(home).put('a', '1')
  await ring.pass(100)
  expect([...heard]).toEqual([named('a')])
  heard.clear()
  end()
  await ring.pass(100)
  const sent = await ring.messages(async () => {
    await ring.client(home).put('a', '2')
    await ring.pass(100)
  })
  expect(sent.filter(({ type, to }) => type === 'Changed' && to === stranger.id)).toEqual([])
  await ring.client(home).put('b', '1')
  await ring.pass(100)
  expect([...heard]).toEqual([named('b')])
})

// All who were in reach just then were told, and nobody later on where nothing else was watched.
test('a watch that ends while a home is out of reach has ended there as well once it is back', async () => {
  const ring = await openRing(5, {}, { noticeMs: Number.POSITIVE_INFINITY })
  const [home] = ring.homes('a')
  const [stranger] = ring.others('a')
  const end = watch(stranger, { key: named('a') })
  await ring.pass(100)
  ring.partition([stranger], [home])
  await ring.until('it is suspected', () => !nodeOf(stranger).peers.isReachable(home.id))
  end()
  await ring.pass(100)
  ring.heal()
  await ring.until('it is back', () => nodeOf(stranger).peers.isReachable(home.id))
  await ring.pass(100)
  const sent = await ring.messages(async () => {
    await ring.client(home).put('a', '1')
    await ring.pass(100)
  })
  expect(sent.filter(({ type, to }) => type === 'Changed' && to === stranger.id)).toEqual([])
})

// 1,025 prefixes were a malformed message, and soon the end of the link; each watch told all of them anew.
test.each<[what: string, interest: (i: number) => Interest]>([
  ['prefixes', (i) => ({ prefix: named(`room ${i}/`) })],
  ['keys', (i) => ({ key: named(`room ${i}/title`) })],
  ['long keys', (i) => ({ key: named(`room ${i}/title`.padEnd(1000, '.')) })],
])('thousands of watched %s cost few bytes and are all told of', async (what, interest) => {
  const ring = await openRing(5)
  const key = what === 'long keys' ? 'room 2999/title'.padEnd(1000, '.') : 'room 2999/title'
  const [home] = ring.homes(key)
  const [stranger] = ring.others(key)
  const heard = heardBy(stranger)
  const ends: (() => void)[] = []
  const sent = await ring.messages(async () => {
    for (let i = 0; i < 3000; i++) ends.push(watch(stranger, interest(i)))
    await ring.pass(1000)
  })
  const told = sent.filter(({ type }) => type === 'Interest').reduce((sum, { bytes }) => sum + bytes, 0)
  expect(told).toBeLessThan(4 * 600_000)
  await ring.client(home).put('unwatched', '1')
  await ring.client(home).put(key, '1')
  await ring.pass(100)
  expect([...heard]).toEqual([named(key)])
  heard.clear()
  for (const end of ends.slice(0, 2990)) end()
  await ring.pass(100)
  await ring.client(home).put(key, '2')
  await ring.pass(100)
  expect([...heard]).toEqual([named(key)])
  const after = await ring.messages(async () => {
    await ring.client(home).put('unwatched', '2')
    await ring.pass(100)
  })
  expect(after.filter(({ type, to }) => type === 'Changed' && to === stranger.id)).toEqual([])
})

// Peers dropped the interests of a tab that they only suspected, or that had said goodbye before it was frozen; and that one, which had never lost them, did not tell anew.
test.each<[what: string, pause: (ring: Ring, tab: Tab) => void, resume: (ring: Ring, tab: Tab) => void]>([
  ['that stood still for a while', ({ world }, tab) => world.freeze(tab), ({ world }, tab) => world.thaw(tab)],
  ['that was suspended and goes on', (_, tab) => nodeOf(tab).peers.suspend(), () => {}],
])('a tab %s hears of what it watches as before', async (_, pause, resume) => {
  const ring = await openRing(5)
  const [home] = ring.homes('a')
  const [stranger] = ring.others('a')
  const heard = heardBy(stranger)
  watch(stranger, { key: named('a') })
  await ring.pass(100)
  pause(ring, stranger)
  await ring.pass(8000)
  resume(ring, stranger)
  await ring.pass(8000)
  heard.clear()
  await ring.client(home).put('a', '1')
  await ring.pass(100)
  expect([...heard]).toEqual([named('a')])
})

/** A ring in which a tab that is no home of 'a' subscribes to it, and what it is shown. */
async function watched() {
  const ring = await openRing(5)
  const [watcher] = ring.others('a') as [Tab]
  const seen: unknown[] = []
  storeAt(watcher).store.subscribe('a', ({ value }) => seen.push(value))
  await passing(ring, 1000)
  return { ring, watcher, homes: ring.homes('a'), seen }
}

// What is told to a tab that stands still waits there; what has waited for half a minute is dropped, and no link had ended by which it could have noticed.
test('a watch of a tab that stood still for a minute shows what was written meanwhile', async () => {
  const { ring, watcher, homes, seen } = await watched()
  ring.world.freeze(watcher)
  await passing(ring, 1000)
  await answerOf(ring, storeAt(homes[0]).store.put('a', 'written meanwhile'))
  await passing(ring, 60_000)
  ring.world.thaw(watcher)
  await passing(ring, 5000)
  expect(seen).toEqual([undefined, 'written meanwhile'])
})

// Nobody said it again, and no link had ended: the watch stayed with the former state.
test('a watch shows what was written while nothing could be sent to its tab', async () => {
  const { ring, watcher, homes, seen } = await watched()
  for (const home of homes) ring.world.network.setSlow(home.id, watcher.id, { bytesPerMs: 1, bufferBytes: 1 })
  await answerOf(ring, storeAt(homes[0]).store.put('a', 'written meanwhile'))
  await passing(ring, 200)
  ring.world.network.endSlowness()
  expect(nodeOf(watcher).peers.reachable()).toHaveLength(4)
  await passing(ring, 5000)
  expect(seen).toEqual([undefined, 'written meanwhile'])
})

test('a watch that begins while its tab can send nothing hears of what is written later', async () => {
  const ring = await openRing(5)
  const [watcher] = ring.others('a') as [Tab]
  const homes = ring.homes('a')
  await passing(ring, 1000)
  for (const home of homes) ring.world.network.setSlow(watcher.id, home.id, { bytesPerMs: 1, bufferBytes: 1 })
  const seen: unknown[] = []
  storeAt(watcher).store.subscribe('a', ({ value }) => seen.push(value))
  await passing(ring, 200)
  ring.world.network.endSlowness()
  await passing(ring, 5000)
  await answerOf(ring, storeAt(homes[0]).store.put('a', 'written later'))
  await passing(ring, 1000)
  expect(seen.at(-1)).toBe('written later')
})

// What had waited in a queue for half a minute was dropped there. As other frames came from there all the time, nobody was suspected, and no link had ended.
test('a watch shows what was written while what is sent to its tab waits for longer than a request would', async () => {
  const { ring, watcher, homes, seen } = await watched()
  const large: Message = { type: 'Entries', entries: [[named('other'), new Uint8Array(10_000)]], cursor: undefined }
  for (const home of homes) {
    ring.world.network.setSlow(home.id, watcher.id, { bytesPerMs: 10, bufferBytes: 1_000_000 })
    for (let i = 0; i < 40; i++) nodeOf(home).peers.notify(watcher.id, large, 'foreground')
  }
  await answerOf(ring, storeAt(homes[0]).store.put('a', 'written meanwhile'))
  const downs: string[] = []
  nodeOf(watcher).peers.events.on('down', (node) => downs.push(node))
  await passing(ring, 60_000)
  expect([downs, seen]).toEqual([[], [undefined, 'written meanwhile']])
})
