/** A tab that others have replaced while it was closed: what it has may be old, and its 'not found' is no vote. */
import { expect, test } from 'vitest'
import { handEverythingOver } from '../../src/store/leave.js'
import { type Ring, type Tab, named, nodeOf, openRing } from '../paper/ring.js'

const MANY = Array.from({ length: 60 }, (_, i) => `k${i}`)
const isHome = (tab: Tab, key: string) => nodeOf(tab).routing.homes(named(key)).includes(tab.id)

async function writeAll(ring: Ring, value: string, by: Tab[]): Promise<void> {
  for (const [i, key] of MANY.entries()) {
    const client = ring.client(by[i % by.length] as Tab)
    await client.get(key)
    await client.put(key, value, { w: 3 })
  }
}

/** Of the keys whose home it is, those that a get at the tab denies or shows as they were, as if that were certain. */
async function staleAt(ring: Ring, tab: Tab, r: number): Promise<string[]> {
  const stale: string[] = []
  for (const key of MANY.filter((key) => isHome(tab, key))) {
    const asked = nodeOf(tab).coordinator.get(named(key), { r, strictQuorum: false })
    const { container, met, sloppy } = await ring.await(asked)
    const values = container.siblings.map(({ value }) => value && new TextDecoder().decode(value))
    if (met && !sloppy && !values.includes('new')) stale.push(key)
  }
  return stale
}

// Its restart raised its incarnation above their record of it, before that record came to it.
test('two tabs that slept while they were closed trust nothing that they have, once they are back', async () => {
  const ring = await openRing(5, { replaceAfterMs: 30_000, merkleSync: false })
  const sleepers = [ring.tab(0), ring.tab(1)]
  await writeAll(ring, 'old', ring.tabs)
  await ring.pass(5000)
  ring.crash(...sleepers)
  await ring.pass(60_000)
  await writeAll(ring, 'new', ring.tabs.slice(2))
  await ring.pass(5000)
  await Promise.all(sleepers.map((tab) => ring.reopen(tab)))
  const [tab] = sleepers as [Tab]
  await ring.until('they are up', () => sleepers.every((one) => nodeOf(one).peers.reachable().length === 4))
  expect(MANY.filter((key) => sleepers.every((one) => isHome(one, key))).length).toBeGreaterThan(5)
  expect(nodeOf(tab).duties.filling().length).toBeGreaterThan(0)
  expect(await staleAt(ring, tab, 2)).toEqual([])
  // And once it has looked at everything, a restart trusts it again.
  await ring.until('all is fetched', () => nodeOf(tab).duties.filling().length === 0)
  await ring.pass(1000)
  await ring.world.close(tab)
  await ring.reopen(tab)
  await ring.until('it is up', () => nodeOf(tab).peers.reachable().length === 4)
  expect(nodeOf(tab).duties.filling()).toEqual([])
})

// What it had heard from the one was held against the others, and it had filled from the one, who had not heard of its own replacement yet.
test.each([false, true])(
  'it hears that from each who knows it, not from the first alone (Merkle sync: %s)',
  async (merkleSync) => {
    const ring = await openRing(5, { replaceAfterMs: 30_000, merkleSync })
    const [first, second, ...rest] = ring.tabs as [Tab, Tab, ...Tab[]]
    await writeAll(ring, 'old', ring.tabs)
    await ring.pass(5000)
    ring.crash(first)
    await ring.pass(60_000)
    ring.crash(second)
    await ring.pass(60_000)
    await writeAll(ring, 'new', rest)
    await ring.pass(5000)
    // The two are back, and alone with each other for a while.
    ring.partition([first, second], rest)
    await Promise.all([first, second].map((tab) => ring.reopen(tab)))
    await ring.pass(6000)
    ring.heal()
    await ring.until('they are up', () => [first, second].every((one) => nodeOf(one).peers.reachable().length === 4))
    expect([await staleAt(ring, first, 1), await staleAt(ring, first, 2)]).toEqual([[], []])
  },
)

// Its bookkeeping from before the leave said that all was whole, and was read after that it had been leaving.
test('a tab that crashed while it left trusts nothing that it has, once it is back', async () => {
  const ring = await openRing(5)
  const leaver = ring.tab(0)
  const others = ring.tabs.slice(1)
  await writeAll(ring, 'old', ring.tabs)
  await ring.pass(5000)
  void handEverythingOver(nodeOf(leaver)).catch(() => {})
  await ring.pass(60)
  ring.partition([leaver], others)
  await ring.pass(15_000)
  await writeAll(ring, 'new', others)
  ring.crash(leaver)
  await ring.pass(2000)
  await ring.reopen(leaver)
  ring.heal()
  await ring.until('it is up', () => nodeOf(leaver).peers.reachable().length === 4)
  expect(nodeOf(leaver).duties.filling().length).toBeGreaterThan(0)
  expect(await staleAt(ring, leaver, 1)).toEqual([])
})

// It was told once, and wrote down 200 ms later what it had to distrust; or never, where its disk was full.
test.each(['closed', 'cut off'].flatMap((how) => [0, 1, 3, 10, 30, 100].map((ms) => [how, ms] as const)))(
  'a tab that was replaced while %s, and crashes %i ms after it has heard so, denies nothing when it is back',
  async (how, ms) => {
    const ring = await openRing(3, { replaceAfterMs: 30_000 }, { noticeMs: 100, quiet: false })
    const [tab, ...rest] = ring.tabs as [Tab, Tab, Tab]
    await ring.pass(5000)
    if (how === 'closed') ring.crash(tab)
    else ring.partition([tab], rest)
    await ring.pass(60_000)
    await writeAll(ring, 'new', rest)
    await ring.pass(5000)
    if (how === 'closed') ring.world.begin(tab)
    else ring.heal()
    for (let i = 0; i < 5000 && !(tab.node && nodeOf(tab).duties.filling().length > 0); i++) await ring.pass(1)
    await ring.pass(ms)
    ring.crash(tab)
    await ring.reopen(tab)
    await ring.until('it is up', () => nodeOf(tab).peers.reachable().length === 2)
    expect(await staleAt(ring, tab, 1)).toEqual([])
  },
)

test('a tab with a full disk that was replaced while it was closed denies nothing, also after another reload', async () => {
  const ring = await openRing(3, { replaceAfterMs: 30_000 }, { quiet: false })
  const [tab, ...rest] = ring.tabs as [Tab, Tab, Tab]
  await ring.pass(5000)
  ring.crash(tab)
  await ring.pass(60_000)
  await writeAll(ring, 'new', rest)
  await ring.pass(5000)
  for (const ms of [20_000, 120_000]) {
    ring.world.begin(tab)
    if (tab.storage) tab.storage.failing = 'quota'
    await ring.until('it is up', () => tab.node !== undefined && nodeOf(tab).peers.reachable().length === 2)
    await ring.pass(ms)
    expect(await staleAt(ring, tab, 1)).toEqual([])
    ring.crash(tab)
    await ring.pass(5000)
  }
})

// With each hop, the last that anybody had heard of it was as much younger as it had travelled: it took twice as long.
test('who is gone is replaced in time, also where what others have heard takes long to travel', async () => {
  const slow = { minLatencyMs: 400, maxLatencyMs: 500 }
  const ring = await openRing(7, { replaceAfterMs: 120_000 }, { knobs: slow })
  const [gone, ...others] = ring.tabs as [Tab, ...Tab[]]
  ring.crash(gone)
  const isAsleepAt = (tab: Tab) => nodeOf(tab).membership.get(gone.id)?.state === 'asleep'
  await ring.until('it sleeps', () => others.every(isAsleepAt), 130_000)
})
