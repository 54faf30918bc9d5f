/** Deletions that everybody has agreed to forget, and reads that began before that (seed 1096). */
import { describe, expect, test } from 'vitest'
import { Forgettings } from '../../src/core/replica/forgettings.js'
import { type Ring, type Tab, containerAt, named, nodeOf, openRing, replicaAt, textsOf } from '../paper/ring.js'
import { typeOf } from '../sim/trace.js'
import { answerOf, passing, storeAt } from './support/stores.js'

const SOON = { reapAfterMs: 1000 }

/** Deletes the key at that tab, and lets time pass until no disk knows of it. */
async function deleteForGood(ring: Ring, tab: Tab, key: string): Promise<void> {
  const client = ring.client(tab)
  await client.get(key)
  await client.delete(key)
  await ring.until('it is forgotten', () => ring.tabs.every(({ disk }) => !disk.records.has(named(key))))
}

test('a scan that takes its time does not show what was deleted and forgotten meanwhile', async () => {
  const ring = await openRing(4, SOON)
  const [reader, writer] = [ring.tab(0), ring.tab(1)]
  for (const key of ['a', 'b', 'c', 'd']) await ring.client(writer).put(key, 'there', { w: 3 })
  const range = { from: named('a'), to: named('z'), reverse: false }
  const entries = nodeOf(reader).coordinator.scan(range, 3, { r: 2, strictQuorum: false }).entries()
  for (const key of ['a', 'b', 'c']) {
    const { value } = await ring.await(entries.next())
    expect(value?.key).toBe(named(key))
    expect(value && textsOf(value.container)).toEqual(key === 'b' ? [] : ['there'])
    // One that was not looked at yet, and then one that was.
    if (key === 'a') await deleteForGood(ring, writer, 'b')
    if (key === 'c') await deleteForGood(ring, writer, 'd')
  }
  const { value } = await ring.await(entries.next())
  expect(value && textsOf(value.container)).toEqual([])
  await ring.pass(10_000)
  for (const key of ['b', 'd']) expect(ring.tabs.map((tab) => replicaAt(tab, key))).toEqual([[], [], [], []])
})

// It was held against the page that the stream had asked for after that.
test('nor what waits for its turn behind a page that ends', async () => {
  const ring = await openRing(4, { ...SOON, batchBytes: 200 })
  const [reader, writer] = [ring.tab(0), ring.tab(1)]
  const value = 'there'.padEnd(150, '.')
  for (const key of 'abcdefghij') await ring.client(writer).put(key, value, { w: 3 })
  const range = { from: named('a'), to: named('z'), reverse: false }
  const entries = nodeOf(reader).coordinator.scan(range, 3, { r: 2, strictQuorum: false }).entries()
  for (const key of 'abcd') expect((await ring.await(entries.next())).value?.key).toBe(named(key))
  await deleteForGood(ring, writer, 'e')
  const { value: next } = await ring.await(entries.next())
  expect(next && [next.key, textsOf(next.container)]).toEqual([named('e'), []])
  expect(ring.tabs.map((tab) => replicaAt(tab, 'e'))).toEqual([[], [], [], []])
})

test('a get that takes its time neither shows nor repairs with what was deleted and forgotten meanwhile', async () => {
  const ring = await openRing(4, SOON)
  const [reader, writer] = ring.tabs as [Tab, Tab]
  await ring.client(writer).put('k', 'there', { w: 3 })
  const late = ring.homes('k').find((home) => home !== reader) as Tab
  const { knobs } = ring.world.network
  knobs.latency = (from, to, frame) =>
    from === late.id && to === reader.id && typeOf(frame) === 'ReadResult' ? 4500 : 10
  let isAnswered = false
  const get = ring
    .client(reader)
    .ask('k', { r: 3 })
    .finally(() => {
      isAnswered = true
    })
  await deleteForGood(ring, writer, 'k')
  expect(isAnswered).toBe(false)
  expect(textsOf((await ring.await(get)).container)).toEqual([])
  await ring.pass(10_000)
  expect(ring.tabs.map((tab) => replicaAt(tab, 'k'))).toEqual([[], [], [], []])
})

// Whoever was asked and had no part in it forgot that it had seen the deletion, whatever the others said.
test('a handle that was shown a deletion is not shown what was before, when not everybody agrees to forget it', async () => {
  const ring = await openRing(5, SOON, { quiet: false })
  const [, writer, full] = ring.homes('k')
  // The first one behind the homes keeps the hint.
  const [, stranger] = ring.others('k') as [Tab, Tab]
  // The home that the stranger takes for the nearest.
  ring.world.network.knobs.latency = (from, to) => (from === full.id || to === full.id ? 1 : 20)
  const [mine, theirs] = [storeAt(stranger).store, storeAt(writer).store]
  await answerOf(ring, theirs.put('k', 'there', { w: 3 }))
  for (let i = 0; i < 20; i++) await answerOf(ring, mine.get('k', { r: 3 }))
  if (full.storage) full.storage.failing = 'quota'
  await answerOf(ring, theirs.delete('k'))
  expect((await answerOf(ring, mine.get('k', { r: 3 }))).siblings).toEqual([])
  await passing(ring, 5000)
  expect(ring.homes('k').map((tab) => tab.disk.records.has(named('k')))).toEqual([true, true, true])
  expect((await answerOf(ring, mine.get('k', { r: 1 }))).siblings).toEqual([])
})

test('of moments too long ago, everything may have been forgotten', () => {
  const forgettings = new Forgettings()
  const begun = forgettings.now
  forgettings.note([named('k')])
  const later = forgettings.now
  expect([forgettings.since(begun, named('k')), forgettings.since(later, named('k'))]).toEqual([true, false])
  expect(forgettings.since(begun, named('other'))).toBe(false)
  forgettings.note(Array.from({ length: 20_001 }, (_, i) => named(`${i}`)))
  expect([forgettings.since(begun, named('other')), forgettings.since(later, named('other'))]).toEqual([true, true])
  expect(forgettings.since(forgettings.now, named('other'))).toBe(false)
})

// Each scrub found it anew, and all members were asked again, for ever (seed 3706).
test('a context that is long because its versions need it asks for no agreement', async () => {
  const ring = await openRing(13, { reapAfterMs: 2000, scrubIntervalMs: 500 })
  for (const tab of ring.tabs) await ring.client(tab).blind('k', tab.id, { w: 3 })
  await ring.pass(20_000)
  expect((await ring.client(ring.tab(0)).get('k', { r: 3 })).length).toBe(13)
  expect(ring.world.trace.sent.get('Reap') ?? 0).toBe(0)
})

describe('a key that lives and whose long context is shortened', () => {
  /** A ring with a key that the lives of one home have written; and a tab that is none of its homes. */
  async function written() {
    const ring = await openRing(5, { reapAfterMs: 3000 })
    const [writer] = ring.homes('k')
    const [stranger] = ring.others('k') as [Tab]
    let lives = 0
    const write = async (times: number) => {
      for (let i = 0; i < times; i++) {
        ring.crash(writer)
        await ring.reopen(writer)
        await ring.until('it is up', () => nodeOf(writer).peers.reachable().length === 4)
        await answerOf(ring, storeAt(writer).store.put('k', `life ${++lives}`, { w: 3 }))
      }
    }
    const shortened = async () => {
      const sizes = () => ring.homes('k').map((home) => containerAt(home, 'k').context.vector.size)
      expect(Math.min(...sizes())).toBeGreaterThan(12)
      await passing(ring, 15_000)
      expect(sizes()).toEqual([1, 1, 1])
    }
    const alone = async () => {
      ring.partition(
        [stranger],
        ring.tabs.filter((tab) => tab !== stranger),
      )
      await passing(ring, 10_000)
    }
    return { ring, stranger, write, shortened, alone }
  }

  // Every handle and every copy forgot it with its context: without the homes, the tab said that there was nothing.
  test('is still read without its homes, by the handle that has written it and after a reload', async () => {
    const { ring, stranger, write, shortened, alone } = await written()
    await write(14)
    const { store } = storeAt(stranger)
    await answerOf(ring, store.get('k'))
    await answerOf(ring, store.put('k', 'mine'))
    await shortened()
    await alone()
    const { value, quorum } = await answerOf(ring, store.get('k'))
    expect([value, quorum.met]).toEqual(['mine', false])
    ring.crash(stranger)
    await ring.reopen(stranger)
    const later = await answerOf(ring, storeAt(stranger).store.get('k'))
    expect([later.value, later.quorum.cached]).toEqual(['mine', true])
  })

  test('is still read without its homes when that has happened once more', async () => {
    const { ring, stranger, write, shortened, alone } = await written()
    const { store } = storeAt(stranger)
    for (let i = 0; i < 2; i++) {
      await write(14)
      await answerOf(ring, store.get('k'))
      await shortened()
    }
    await alone()
    expect((await answerOf(ring, store.get('k'))).value).toBe('life 28')
  })

  // What is kept must be what is left: nothing would tell any more that another version has been replaced.
  test('shows no version that was replaced before, neither offline nor beside the present one', async () => {
    const { ring, stranger, write, shortened, alone } = await written()
    await write(1)
    const { store } = storeAt(stranger)
    expect((await answerOf(ring, store.get('k'))).value).toBe('life 1')
    await passing(ring, 1000)
    await write(14)
    await shortened()
    await alone()
    expect((await answerOf(ring, store.get('k'))).siblings).toEqual([])
    ring.heal()
    await passing(ring, 5000)
    expect((await answerOf(ring, store.get('k'))).siblings).toEqual(['life 15'])
  })
})
