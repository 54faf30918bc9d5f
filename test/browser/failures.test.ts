/** Homes that vanish, and writes that reach those who were away: by hinted handoff alone, by Merkle sync alone, by transfer. */
import { describe, expect, test } from 'vitest'
import type { StoreOptions, Tab } from './support/tab.js'
import { useWorld } from './support/world.js'

const world = useWorld()

const SETTLED_MS = 40_000

/** A ring in which nobody waits for a transfer any more: what reaches a tab that was away came some other way. */
async function wholeRing(size: number, tuning: NonNullable<StoreOptions['tuning']> = {}): Promise<Tab[]> {
  const tabs = await world.ring(size, { options: { tuning } })
  for (const tab of tabs) {
    await tab.waitFor(
      'its partitions',
      (store, members) => store.status.members === members && store.status.partitionsFilling === 0,
      size,
    )
  }
  return tabs
}

function putMany(tab: Tab, prefix: string, count: number): Promise<void> {
  return tab.evaluate(
    async (store, [name, many]) => {
      await store.putMany(Array.from({ length: many }, (_, i) => [`${name}${i}`, i] as const))
    },
    [prefix, count] as const,
  )
}

/** How many of the keys `<prefix>0`, `<prefix>1`, … have their number as the only value. */
function countRight(tab: Tab, prefix: string, count: number): Promise<number> {
  return tab.evaluate(
    async (store, [name, many]) => {
      const entries = await store.getMany(Array.from({ length: many }, (_, i) => `${name}${i}`))
      return entries.filter((entry, i) => entry.value === i && !entry.conflict).length
    },
    [prefix, count] as const,
  )
}

/** As the tab's own disk has them, whatever others hold: read while all its links are cut. */
async function countHeldAlone(tab: Tab, prefix: string, count: number): Promise<number> {
  await tab.evaluate((store) => window.tabring.faults(store).cut())
  const right = await countRight(tab, prefix, count)
  await tab.evaluate((store) => window.tabring.faults(store).heal())
  return right
}

describe('five tabs', () => {
  test('lose the homes of a key one by one, and every acknowledged write stays readable', async () => {
    const tabs = await wholeRing(5)
    await tabs[0]?.put('victim', 'precious')
    await putMany(tabs[1] as Tab, 'other', 200)
    const trace = await (tabs[0] as Tab).evaluate((store) => store.trace('victim'))
    const nodes = await Promise.all(tabs.map(async (tab) => ({ tab, node: (await tab.status()).node })))
    const homes = trace.homes.map((home) => nodes.find(({ node }) => node === home.node)?.tab as Tab)
    const others = nodes.filter(({ tab }) => !homes.includes(tab)).map(({ tab }) => tab)
    const observer = others[0] as Tab
    for (const [i, home] of homes.entries()) {
      if (i % 2 === 0) await home.close()
      else await home.crash()
      await observer.waitFor(
        `the loss of ${i + 1} homes to be made good`,
        (store, left) => store.status.peers === left && store.status.partitionsFilling === 0,
        4 - (i + 1),
        { timeoutMs: SETTLED_MS },
      )
      for (const tab of others) {
        expect((await tab.get('victim')).value).toBe('precious')
        expect(await countRight(tab, 'other', 200)).toBe(200)
      }
      const receipt = await observer.put(`during-${i}`, i)
      expect(receipt.quorum.met).toBe(true)
    }
    for (let i = 0; i < homes.length; i++) expect((await observer.get(`during-${i}`)).value).toBe(i)
  })
})

describe('a tab that was away during 500 writes', () => {
  test('gets them by hinted handoff alone', async () => {
    const [a, , away] = (await wholeRing(3, { merkleSync: false, readRepair: false })) as [Tab, Tab, Tab]
    await away.evaluate((store) => window.tabring.faults(store).cut())
    await a.waitFor('the loss of the tab', (store) => store.status.peers === 1)
    await putMany(a, 'missed', 500)
    expect(await a.status()).toMatchObject({ hintsPending: 500, synced: false })
    await away.evaluate((store) => window.tabring.faults(store).heal())
    await a.waitFor('all hints to be delivered', (store) => store.status.hintsPending === 0 && store.status.synced)
    expect(await countHeldAlone(away, 'missed', 500)).toBe(500)
  })

  test('gets them by Merkle sync alone once those who held hints are gone', async () => {
    const [a, b, away] = (await wholeRing(3, { readRepair: false })) as [Tab, Tab, Tab]
    await away.evaluate((store) => window.tabring.faults(store).cut())
    for (const tab of [a, b]) await tab.waitFor('the loss of the tab', (store) => store.status.peers === 1)
    await putMany(a, 'missed', 500)
    await b.waitFor('all writes', (store) => store.status.keysHeld === 500)
    // With no stand-in, who coordinated the writes keeps the hints; the other home has the writes only.
    expect((await a.status()).hintsPending).toBe(500)
    expect((await b.status()).hintsPending).toBe(0)
    await a.crash()
    // Its disk too: nobody reopens or adopts it.
    await a.context.close()
    await away.evaluate((store) => window.tabring.faults(store).heal())
    await away.waitFor('all keys', (store) => store.status.keysHeld === 500, undefined, { timeoutMs: SETTLED_MS })
    expect(await countHeldAlone(away, 'missed', 500)).toBe(500)
  })
})

test('a tab joins a ring of four with 2,000 keys and takes over its share while writes go on, and nothing is lost', async () => {
  const tabs = await world.ring(4)
  const [a, b] = tabs as [Tab, Tab]
  await putMany(a, 'old', 2000)
  // Each key is written again and again until told to stop; the last acknowledged number is what must be read.
  const writing = b.evaluate(async (store) => {
    const acknowledged: number[] = []
    for (let round = 1; !(window as { stopWriting?: boolean }).stopWriting; round++) {
      await store.putMany(Array.from({ length: 50 }, (_, i) => [`busy${i}`, round] as const))
      acknowledged.fill(round, 0, 50)
      for (let i = 0; i < 50; i++) acknowledged[i] = round
    }
    return acknowledged
  })
  const newcomer = await world.tab({ name: 'newcomer' })
  await newcomer.ready(4)
  await newcomer.waitFor(
    'its share',
    (store) => store.status.members === 5 && store.status.partitionsHeld > 0 && store.status.partitionsFilling === 0,
    undefined,
    { timeoutMs: SETTLED_MS },
  )
  await b.evaluate(() => Object.assign(window, { stopWriting: true }))
  const acknowledged = await writing
  expect(acknowledged).toHaveLength(50)
  for (const tab of [...tabs, newcomer]) {
    expect(await countRight(tab, 'old', 2000)).toBe(2000)
    const busy = await tab.evaluate(async (store) =>
      (await store.getMany(Array.from({ length: 50 }, (_, i) => `busy${i}`))).map((entry) => entry.siblings),
    )
    expect(busy).toEqual(acknowledged.map((round) => [round]))
  }
  const { partitionsHeld } = await newcomer.status()
  expect(partitionsHeld).toBeGreaterThan(100)
  // Every home holds its keys, and those that lost a role let go of them in the end.
  const scan = await newcomer.evaluate(async (store) => {
    const found = store.scan({ prefix: 'old' })
    let keys = 0
    for await (const _ of found) keys++
    return { keys, complete: found.complete }
  })
  expect(scan).toEqual({ keys: 2000, complete: true })
})

test('a deleted key stays deleted after a cut-off tab with the old value returns', async () => {
  const [a, b, c] = (await world.ring(3)) as [Tab, Tab, Tab]
  await a.put('gone', 'old value')
  await c.waitFor('the value', async (store) => (await store.get('gone')).value === 'old value')
  await a.evaluate((store) => store.flush())
  await c.evaluate((store) => window.tabring.faults(store).cut())
  await a.waitFor('the loss of the tab', (store) => store.status.peers === 1)
  await b.get('gone')
  await b.delete('gone')
  expect((await c.get('gone')).value).toBe('old value')
  await c.evaluate((store) => window.tabring.faults(store).heal())
  await c.waitFor('the deletion', async (store) => (await store.get('gone')).siblings.length === 0)
  for (const tab of [a, b, c]) {
    const entry = await tab.get('gone')
    expect(entry).toMatchObject({ value: undefined, siblings: [], conflict: false })
    expect(
      await tab.evaluate(async (store) => {
        const keys: string[] = []
        for await (const found of store.scan()) keys.push(found.key)
        return keys
      }),
    ).toEqual([])
  }
})

test('the mesh goes on when the signaling server is killed, and new tabs join when it is back', async () => {
  const [a, b, c] = (await world.ring(3)) as [Tab, Tab, Tab]
  await world.killSignaling()
  await a.put('without', 'signaling')
  for (const tab of [b, c]) expect((await tab.get('without')).value).toBe('signaling')
  expect((await c.status()).peers).toBe(2)
  await world.signaling.start()
  const newcomer = await world.tab({ name: 'newcomer' })
  await newcomer.ready(3, { timeoutMs: 60_000 })
  expect((await newcomer.get('without')).value).toBe('signaling')
})
