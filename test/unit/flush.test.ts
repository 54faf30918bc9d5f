/** When all that was written here is where it belongs, those who wait for that are told. */
import { expect, test } from 'vitest'
import { type Ring, type Tab, holdCommits, named, nodeOf, openRing } from '../paper/ring.js'
import type { SimulatedStorage } from '../sim/disk.js'
import { typeOf } from '../sim/trace.js'
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

// It had no hint, and whoever asked the tab that was loaded anew was told that all was where it belongs.
test('a put that a crash cut off after its receipt is waited for', async () => {
  const ring = await openRing(3)
  const [a, b, c] = ring.homes('k') as [Tab, Tab, Tab]
  let loses = true
  ring.world.network.knobs.lose = (_from, to, frame) => loses && to === c.id && typeOf(frame) === 'Store'
  expect(await answerOf(ring, storeAt(a).store.put('k', 'value'))).toMatchObject({ quorum: { met: true } })
  ring.crash(a)
  ring.partition([c], [a, b])
  loses = false
  await ring.reopen(a)
  const { store } = storeAt(a)
  let flushed = false
  void store.flush().then(() => {
    flushed = true
  })
  await passing(ring, 20_000)
  expect([store.status.synced, flushed, c.disk.records.has(named('k'))]).toEqual([false, false, false])
  ring.heal()
  await passing(ring, 20_000)
  expect([store.status.synced, flushed, c.disk.records.has(named('k'))]).toEqual([true, true, true])
  // Once is enough.
  await passing(ring, 2000)
  ring.crash(a)
  ring.partition([a], [c])
  await ring.reopen(a)
  expect(storeAt(a).store.status.synced).toBe(true)
})

test.each([
  ['crashes half a second after', (ring: Ring, tab: Tab) => passing(ring, 500).then(() => ring.crash(tab))],
  ['closes right after', (ring: Ring, tab: Tab) => ring.world.close(tab)],
] as const)('a tab that %s its last put has nothing to wait for when it is opened again, alone', async (_, end) => {
  const ring = await openRing(3)
  // By then it has noted who the others are.
  await passing(ring, 3000)
  const [a, ...others] = ring.homes('k') as [Tab, Tab, Tab]
  const { store } = storeAt(a)
  await answerOf(ring, store.put('k', 'value', { w: 3 }))
  await end(ring, a)
  ring.partition([a], others)
  await ring.reopen(a)
  expect(storeAt(a).store.status.synced).toBe(true)
})

/** Cut off until it has replaced all others. */
async function aloneForLong(ring: Ring, tab: Tab): Promise<void> {
  ring.partition(
    [tab],
    ring.tabs.filter((other) => other !== tab),
  )
  await ring.until('it takes itself for the ring', () => nodeOf(tab).membership.placed().length === 1)
}

// Its homes were others by then, and it was told that all had arrived in the moment in which it met them.
test.each([
  ['that is one of their homes', (ring: Ring) => ring.homes('k')[0]],
  ['that is no home of theirs any more', (ring: Ring) => ring.others('k')[0]],
])(
  'what was written in a tab that was alone for long, %s, is waited for once it meets the others',
  async (_, which) => {
    const ring = await openRing(5, { replaceAfterMs: 20_000 })
    const tab = which(ring) as Tab
    await aloneForLong(ring, tab)
    const { store } = storeAt(tab)
    await answerOf(ring, store.put('k', 'value'))
    await answerOf(ring, store.flush())
    ring.heal()
    await ring.until('it knows better', () => nodeOf(tab).membership.placed().length > 1)
    expect(store.status.synced).toBe(false)
    await answerOf(ring, store.flush())
    expect(ring.homes('k').map((home) => home.disk.records.has(named('k')))).toEqual([true, true, true])
  },
)

// It stood in for the one that it did not reach, so that nothing was left to be handed over, and it was no home itself.
test('so it is where it stands in for one of the homes', async () => {
  const ring = await openRing(5, { replaceAfterMs: 20_000 })
  const [away] = ring.homes('k')
  const [tab] = ring.others('k') as [Tab]
  await aloneForLong(ring, tab)
  const { store } = storeAt(tab)
  await answerOf(ring, store.put('k', 'value'))
  ring.heal()
  ring.partition([tab], [away])
  const { duties } = nodeOf(tab)
  await ring.until('it stands in', () => duties.onDuty().some((partition) => !duties.isHome(partition)))
  let flushed = false
  void store.flush().then(() => {
    flushed = true
  })
  await passing(ring, 20_000)
  expect([store.status.synced, flushed]).toEqual([false, false])
  ring.heal()
  await passing(ring, 20_000)
  expect([store.status.synced, flushed]).toEqual([true, true])
  expect(ring.homes('k').map((home) => home.disk.records.has(named('k')))).toEqual([true, true, true])
})

test('nor is that forgotten where it is loaded anew meanwhile', async () => {
  const ring = await openRing(5, { replaceAfterMs: 20_000 })
  const [tab, ...others] = ring.others('k') as [Tab, Tab]
  await aloneForLong(ring, tab)
  await answerOf(ring, storeAt(tab).store.put('k', 'value'))
  ring.heal()
  await ring.until('it knows better', () => nodeOf(tab).membership.placed().length > 1)
  await passing(ring, 100)
  ring.crash(tab)
  await ring.reopen(tab)
  const { store } = storeAt(tab)
  expect([others.length, store.status.synced]).toEqual([1, false])
  await answerOf(ring, store.flush())
  expect(ring.homes('k').map((home) => home.disk.records.has(named('k')))).toEqual([true, true, true])
})

// Its own copy reached the disk a moment after everything there had been looked at, and was nobody else's business.
test.each([
  ['that is one of the homes', (ring: Ring) => ring.homes('k')[0]],
  ['that is no home any more', (ring: Ring) => ring.others('k')[0]],
])('a put under way in a tab %s, as it meets the others, is waited for', async (_, which) => {
  const ring = await openRing(5, { replaceAfterMs: 20_000 })
  const tab = which(ring) as Tab
  await aloneForLong(ring, tab)
  const { store } = storeAt(tab)
  const arrive = holdCommits(tab)
  const put = store.put('k', 'value')
  ring.heal()
  await ring.until('it meets them', () => nodeOf(tab).membership.placed().length > 1)
  arrive()
  await answerOf(ring, put)
  await answerOf(ring, store.flush())
  expect(ring.homes('k').map((home) => home.disk.records.has(named('k')))).toEqual([true, true, true])
})

// It took half a minute: what such a tab is no home of went with the scrub's next round.
test('a tab that wrote before it met anybody is synced some seconds after it has', async () => {
  const ring = await openRing(5)
  const client = ring.client(ring.tab(0))
  for (let i = 0; i < 30; i++) await client.put(`there ${i}`, 'value', { w: 1 })
  await ring.pass(20_000)
  const tab = ring.world.addPlace({})
  await ring.world.start(tab)
  const { store } = storeAt(tab as Tab)
  const keys = Array.from({ length: 20 }, (_, i) => `k${i}`)
  const puts = Promise.all(keys.map((key) => store.put(key, 'value')))
  expect(nodeOf(tab as Tab).membership.placed()).toHaveLength(1)
  await answerOf(ring, puts)
  let flushed = false
  void store.flush().then(() => {
    flushed = true
  })
  await passing(ring, 15_000)
  expect(flushed).toBe(true)
  for (const key of keys)
    expect(ring.homes(key).map((home) => home.disk.records.has(named(key)))).toEqual([true, true, true])
})

// Each other home was compared anew in its turn only, a minute or more later.
test('a home is looked at again soon that could not be compared because the own disk failed', async () => {
  const ring = await openRing(3, { syncIntervalMs: 600_000 }, { quiet: false })
  const [a, b, c] = ring.homes('k') as [Tab, Tab, Tab]
  ring.world.network.knobs.lose = (_from, to, frame) => to === c.id && typeOf(frame) === 'Store'
  await answerOf(ring, storeAt(a).store.put('k', 'value'))
  ring.crash(a)
  ring.partition([c], [a, b])
  await ring.reopen(a)
  const storage = a.storage as SimulatedStorage
  storage.failingReads = 'unknown'
  ring.heal()
  await ring.until('it could not compare', () => ring.world.errors.length > 0)
  storage.failingReads = undefined
  ring.world.network.knobs.lose = undefined
  const { store } = storeAt(a)
  expect(store.status.synced).toBe(false)
  let flushed = false
  void store.flush().then(() => {
    flushed = true
  })
  await passing(ring, 20_000)
  expect([store.status.synced, flushed, c.disk.records.has(named('k'))]).toEqual([true, true, true])
})
