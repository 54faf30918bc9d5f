/** When all that was written here is where it belongs, those who wait for that are told. */
import { expect, test } from 'vitest'
import { type Tab, named, openRing } from '../paper/ring.js'
import { answerOf, passing, storeAt } from './support/stores.js'

// The hint was gone, `synced` was true, and nobody looked: it waited until something else happened.
test('nobody is waited for who is asleep', async () => {
  const ring = await openRing(2, { replaceAfterMs: 20_000 })
  const [a, b] = [ring.tab(0), ring.tab(1)]
  const { store } = storeAt(a)
  ring.crash(b)
  await ring.pass(5000)
  await answerOf(ring, store.put('k', 1))
  let flushed = false
  void store.flush().then(() => {
    flushed = true
  })
  await passing(ring, 5000)
  expect([store.status.synced, flushed]).toEqual([false, false])
  await passing(ring, 60_000)
  expect([store.status.synced, flushed]).toEqual([true, true])
})

// A stand-in had the only hint, and nobody here knew whether it had been delivered.
test('a home is waited for that froze under the put, whoever else keeps a hint for it', async () => {
  const ring = await openRing(5)
  const [a, , c] = ring.homes('k')
  const { store } = storeAt(a)
  ring.world.freeze(c)
  await answerOf(ring, store.put('k', 'value', { w: 3 }))
  let flushed = false
  void store.flush().then(() => {
    flushed = true
  })
  await passing(ring, 20_000)
  expect([store.status.synced, flushed, c.disk.records.has(named('k'))]).toEqual([false, false, false])
  ring.world.thaw(c)
  await passing(ring, 20_000)
  expect([store.status.synced, flushed, c.disk.records.has(named('k'))]).toEqual([true, true, true])
})

// With the hints of the disk, what they waited for was forgotten: it was told that all had arrived when the one copy was in memory.
test('what was written before the disk is lost, and is still in memory, is waited for', async () => {
  const ring = await openRing(3, {}, { quiet: false })
  const [a, ...others] = ring.tabs as [Tab, Tab, Tab]
  const { store } = storeAt(a)
  ring.partition([a], others)
  await passing(ring, 5000)
  await answerOf(ring, store.put('k', 'value'))
  let flushed = false
  void store.flush().then(() => {
    flushed = true
  })
  a.storage?.empty()
  await passing(ring, 5000)
  expect([store.status.synced, flushed]).toEqual([false, false])
  ring.heal()
  await passing(ring, 20_000)
  expect([store.status.synced, flushed, others.map((tab) => tab.disk.records.has(named('k')))]).toEqual([
    true,
    true,
    [true, true],
  ])
})

// Its hint was refused, and so there was none that could have told: it was told that all had arrived.
test.each([false, true])(
  'a home is waited for of which the full disk noted no hint (there is room again: %s)',
  async (hasRoom) => {
    const ring = await openRing(3, {}, { quiet: false })
    const [a, , c] = ring.homes('k')
    const { store } = storeAt(a)
    ring.world.freeze(c)
    await answerOf(ring, store.put('k', 'value'))
    if (!a.storage) throw new Error('it is open')
    a.storage.failing = 'quota'
    let flushed = false
    void store.flush().then(() => {
      flushed = true
    })
    const isThere = () => c.disk.records.has(named('k'))
    await passing(ring, 20_000)
    expect([store.status.synced, flushed, isThere()]).toEqual([false, false, false])
    if (hasRoom) a.storage.failing = undefined
    await passing(ring, 10_000)
    expect([store.status.synced, flushed, isThere()]).toEqual([false, false, false])
    ring.world.thaw(c)
    await passing(ring, 30_000)
    expect([store.status.synced, flushed, isThere()]).toEqual([true, true, true])
  },
)

// The full disk, which is the first to answer a read, had nothing of it: flush() never resolved, though all others had it.
test('a home is waited for no longer than until it has what was written, though the disk of who wrote it is full', async () => {
  const ring = await openRing(3, {}, { quiet: false })
  const [a, b, c] = ring.homes('k')
  const { store } = storeAt(a)
  ring.world.freeze(c)
  if (!a.storage) throw new Error('it is open')
  a.storage.failing = 'quota'
  await answerOf(ring, store.put('k', 'value'))
  let flushed = false
  void store.flush().then(() => {
    flushed = true
  })
  const areThere = () => [a, b, c].map((tab) => tab.disk.records.has(named('k')))
  await passing(ring, 5000)
  expect([flushed, areThere()]).toEqual([false, [false, true, false]])
  ring.world.thaw(c)
  await passing(ring, 30_000)
  expect([flushed, areThere()]).toEqual([true, [false, true, true]])
})

// Each of them was read as if an application waited for it, and sent, every two seconds.
test('a home whose disk is full as well is asked to take one put each time, and no application has read anything', async () => {
  const ring = await openRing(3, {}, { quiet: false })
  const [a, , c] = ring.homes('k')
  const { store } = storeAt(a)
  if (!a.storage || !c.storage) throw new Error('they are open')
  a.storage.failing = c.storage.failing = 'quota'
  const keys = Array.from({ length: 20 }, (_, i) => `k${i}`)
  for (const key of keys) await answerOf(ring, store.put(key, 'value'))
  await passing(ring, 5000)
  const sent = await ring.messages(() => passing(ring, 20_000))
  const stores = sent.filter(({ type, from, to }) => type === 'Store' && from === a.id && to === c.id)
  expect(stores.length).toBeGreaterThan(0)
  expect(stores.length).toBeLessThanOrEqual(20)
  expect(store.metrics().counters.gets ?? 0).toBe(0)
  a.storage.failing = c.storage.failing = undefined
  await answerOf(ring, store.flush())
  expect(keys.filter((key) => !c.disk.records.has(named(key)))).toEqual([])
})
