/**
 * What a browser profile keeps while its tabs and its browser come and go: nothing that was acknowledged is lost when they
 * are killed, unless Chromium itself reports that it deleted the whole disk, and every tab finds its own node again.
 */
import { expect, test } from 'vitest'
import { canKill, useProfiles } from './support/profile.js'
import type { Tab } from './support/tab.js'
import { useWorld } from './support/world.js'

const world = useWorld()
const newProfile = useProfiles(world)

const ROUNDS = 20

test.skipIf(!canKill)(
  'twenty times, the whole browser is killed after an acknowledged put, and nothing acknowledged is lost unless Chromium reports a total loss',
  async () => {
    const profile = await newProfile()
    /** The last acknowledged value of each key. */
    const acknowledged = new Map<string, number>()
    let node: string | undefined
    let next = 0
    let intact = 0
    const reopened = async (round: number) => {
      const loss = await profile.totalLoss()
      const tab = await profile.tab(`round ${round}`, { signaling: null })
      const after = `after kill ${round - 1}`
      if (loss) {
        // Not ours to prevent, and no excuse for anything but the loss of all: the next rounds start from nothing.
        console.warn(`${after}, the browser deleted all databases: ${loss}`)
        acknowledged.clear()
        node = undefined
      } else intact++
      const status = await tab.status()
      node ??= status.node
      expect(status.node, after).toBe(node)
      expect(await wrongOf(tab, [...acknowledged]), after).toEqual([])
      const report = await tab.evaluate((store) => store.verify())
      expect(report, after).toMatchObject({ corrupt: [], wrongTrees: 0, ok: true })
      return tab
    }
    for (let round = 1; round <= ROUNDS; round++) {
      if (round > 1) await profile.open()
      const tab = await reopened(round)
      const before = acknowledged.size
      let begun: () => void = () => {}
      const first = new Promise<void>((resolve) => {
        begun = resolve
      })
      await tab.page.exposeFunction('acknowledge', (key: string, number: number) => {
        acknowledged.set(key, number)
        next = number + 1
        begun()
      })
      const writing = putForever(tab, next).catch(String)
      expect(await Promise.race([first, writing])).toBeUndefined()
      await new Promise((resolve) => setTimeout(resolve, 200 + 400 * Math.random()))
      await profile.kill()
      expect(await writing).toMatch(/closed/)
      expect(acknowledged.size).toBeGreaterThan(before)
    }
    await profile.open()
    await reopened(ROUNDS + 1)
    // It deletes after few kills in a hundred; were it many, this test would show nothing.
    expect(intact).toBeGreaterThan(ROUNDS * 0.7)
  },
  240_000,
)

const BATCH = 2000

test('a renderer that crashes in mid-batch leaves whole writes only', async () => {
  const profile = await newProfile()
  const tab = await profile.tab('crashing', { signaling: null })
  const acknowledged = new Map<string, number>()
  let manyAcknowledged: () => void = () => {}
  const many = new Promise<void>((resolve) => {
    manyAcknowledged = resolve
  })
  await tab.page.exposeFunction('acknowledge', (key: string, number: number) => {
    acknowledged.set(key, number)
    if (acknowledged.size === BATCH / 10) manyAcknowledged()
    // The crash may be slow to come, and must not find the batch written.
    return acknowledged.size < BATCH / 2 || new Promise(() => {})
  })
  const writing = tab
    .evaluate(async (store, count) => {
      const bucket = store.bucket<{ number: number; filler: string }>('batch')
      const { put } = bucket
      // Each pair of a putMany goes through here.
      bucket.put = async (key, value, options) => {
        const receipt = await put.call(bucket, key, value, options)
        await window.acknowledge(key, value.number)
        return receipt
      }
      await bucket.putMany(
        Array.from({ length: count }, (_, i) => [`key${i}`, { number: i, filler: String(i).repeat(50) }] as const),
      )
    }, BATCH)
    .catch(String)
  expect(await Promise.race([many, writing])).toBeUndefined()
  await tab.crash()
  expect(await writing).toMatch(/crashed/)
  expect(acknowledged.size).toBeLessThan(BATCH)

  await tab.open()
  expect(await wrongOf(tab, [...acknowledged], 'batch')).toEqual([])
  const found = await tab.evaluate(async (store) => {
    const pairs: [string, number][] = []
    for await (const { key } of store.bucket('batch').scan()) pairs.push([key, Number(key.slice('key'.length))])
    return pairs
  })
  // Those that nobody was told of are there as they were written, or not at all.
  expect(await wrongOf(tab, found, 'batch')).toEqual([])
  const verify = () => tab.evaluate((store) => store.verify())
  const soundDisk = { corrupt: [], wrongTrees: 0, ok: true }
  expect(await verify()).toMatchObject({ ...soundDisk, records: found.length })
  const all = await putMany(tab, 'key', BATCH, 'batch')
  expect(await wrongOf(tab, all, 'batch')).toEqual([])
  expect(await verify()).toMatchObject({ ...soundDisk, records: BATCH })
})

test('a tab that is reloaded while it takes over its share keeps its node and ends with all of it', async () => {
  const ring = await world.ring(3)
  const all = await putMany(ring[0] as Tab, 'key', 2000)
  await (ring[0] as Tab).evaluate((store) => store.flush())
  const newcomer = await world.tab({ name: 'newcomer' })
  const { node } = await newcomer.status()
  await newcomer.evaluate(async (store) => {
    addEventListener('pagehide', () => sessionStorage.setItem('left to fetch', String(store.status.partitionsFilling)))
    while (store.status.keysHeld === 0) await new Promise((resolve) => setTimeout(resolve, 1))
    // Or the rest could be here before the reload is.
    window.tabring.faults(store).freeze()
  })
  await newcomer.reload()
  const left = await newcomer.page.evaluate(() => sessionStorage.getItem('left to fetch'))
  expect(Number(left)).toBeGreaterThan(0)
  expect((await newcomer.status()).node).toBe(node)

  await newcomer.ready(3)
  await newcomer.waitFor('its share', (store) => store.status.members === 4 && store.status.partitionsFilling === 0)
  expect(await wrongOf(newcomer, all)).toEqual([])
  for (const tab of ring) {
    await tab.ready(3)
    expect(await tab.status()).toMatchObject({ members: 4, peers: 3 })
    const members = await tab.members()
    expect(members.filter((member) => member.name === 'newcomer').map((member) => member.node)).toEqual([node])
  }
  // Its own disk has what the other homes of its partitions have.
  const report = await newcomer.evaluate((store) => store.verify())
  expect(report).toMatchObject({ corrupt: [], wrongTrees: 0, ok: true })
  expect(report.peers).toHaveLength(3)
})

// Duplicating a tab by the browser's menu copies its session storage in the same way.
test('a duplicated tab and a window.open copy get a node of their own', async () => {
  const profile = await newProfile()
  const original = await profile.tab('A')
  await original.put('key', 'value')
  const copy = await profile.copyOf(original, 'copy of A')
  const [a, b] = [await original.status(), await copy.status()]
  expect(b.node).not.toBe(a.node)
  expect(b.device).toBe(a.device)
  const areRing = async () => {
    for (const tab of [original, copy])
      await tab.waitFor('the other', ({ status }) => status.peers === 1 && status.members === 2)
  }
  await areRing()
  expect((await copy.get('key')).value).toBe('value')
  for (const reloaded of [[original], [copy], [original, copy]]) {
    await Promise.all(reloaded.map((tab) => tab.reload()))
    expect([(await original.status()).node, (await copy.status()).node]).toEqual([a.node, b.node])
    await areRing()
  }
  // The note that the copy was born with is of a free slot now, but its own has replaced it.
  await original.close()
  await copy.reload()
  expect((await copy.status()).node).toBe(b.node)
  await original.open()
  expect((await original.status()).node).toBe(a.node)
  await areRing()
})

test('all tabs closed and one reopened: everything is readable, and hints are delivered', async () => {
  const [profile, away] = await Promise.all([newProfile(), world.tab({ name: 'X' })])
  const tabs = await Promise.all(['A', 'B', 'C'].map((name) => profile.tab(name)))
  await Promise.all([...tabs, away].map((tab) => tab.ready(3)))
  const nodes = await Promise.all(tabs.map(async (tab) => (await tab.status()).node))
  const early = await putMany(tabs[0] as Tab, 'early', 300)
  await away.close()
  for (const tab of tabs) await tab.waitFor('the loss of X', (store) => store.status.peers === 2)
  const missed = await putMany(tabs[1] as Tab, 'missed', 300)
  // Two of the three homes of each key are on this device, and the third tab stands in for X. Hints are in several slots;
  // what those of the reopened one do not cover, Merkle sync finds.
  for (const tab of tabs) {
    await tab.waitFor('everything', (store) => store.status.keysHeld === 600 && store.status.partitionsFilling === 0)
  }

  await profile.close()
  await profile.open()
  const only = await profile.tab('reopened')
  expect(await wrongOf(only, [...early, ...missed])).toEqual([])
  const { node, hintsPending } = await only.status()
  expect(nodes).toContain(node)
  expect(hintsPending).toBeGreaterThan(0)
  await only.evaluate((store) => {
    window.handedOver = 0
    store.addEventListener('handoff', ({ detail }) => {
      if (detail.kind === 'hints') window.handedOver += detail.keys
    })
  })

  await away.open()
  await only.waitFor('its hints to be delivered', (store) => store.status.hintsPending === 0)
  expect(await only.evaluate(() => window.handedOver)).toBe(hintsPending)
  await away.waitFor('what it missed', (store) => store.status.keysHeld === 600, undefined, { timeoutMs: 40_000 })
  await away.evaluate((store) => window.tabring.faults(store).cut())
  expect(await wrongOf(away, [...early, ...missed])).toEqual([])
})

/** Puts numbers one after another and tells the test of each acknowledgement. Every fourth is a new value of one of five old keys. */
function putForever(tab: Tab, start: number): Promise<never> {
  return tab.evaluate(async (store, from) => {
    for (let number = from; ; number++) {
      const key = number % 4 === 0 ? `busy${number % 5}` : `key${number}`
      await store.put(key, { number, filler: String(number).repeat(50) })
      window.acknowledge(key, number)
    }
  }, start)
}

/** Keys whose value is older than the acknowledged one, or damaged, or one of several. A newer one is fine: it was on its way. */
function wrongOf(tab: Tab, acknowledged: [string, number][], bucketName?: string): Promise<string[]> {
  return tab.evaluate(
    async (store, [pairs, name]) => {
      const bucket = name === undefined ? store : store.bucket(name)
      const entries = (await bucket.getMany(pairs.map(([key]) => key))) as {
        key: string
        value?: { number: number; filler: string }
        conflict: boolean
      }[]
      return entries.flatMap(({ key, value, conflict }, i) => {
        const least = pairs[i]?.[1] ?? 0
        const right =
          value &&
          !conflict &&
          value.filler === String(value.number).repeat(50) &&
          (key.startsWith('busy') ? value.number >= least : value.number === least)
        return right ? [] : [`${key}: acknowledged ${least}, read ${JSON.stringify(value)}`]
      })
    },
    [acknowledged, bucketName] as const,
  )
}

/** Puts numbers under `<prefix>0`, `<prefix>1`, … @returns which, once all are acknowledged */
async function putMany(tab: Tab, prefix: string, count: number, bucketName?: string): Promise<[string, number][]> {
  const pairs = Array.from({ length: count }, (_, i): [string, number] => [`${prefix}${i}`, i])
  await tab.evaluate(
    async (store, [given, name]) => {
      const bucket = name === undefined ? store : store.bucket(name)
      await bucket.putMany(given.map(([key, number]) => [key, { number, filler: String(number).repeat(50) }] as const))
    },
    [pairs, bucketName] as const,
  )
  return pairs
}

declare global {
  interface Window {
    acknowledge(key: string, number: number): void
    handedOver: number
  }
}

// As React's strict mode does with every effect. The opening that was given up took the tab's slot all the same, the next one made a new node,
// and what that wrote stood beside what the tab had written before.
test('after an opening that is given up, at once or in the middle, the next one has the node of the tab, and replaces what that wrote', async () => {
  const tab = await world.tab({ options: { signaling: null } })
  const found = await tab.evaluate(async () => {
    const nodes = new Set<string>()
    const siblings: unknown[] = []
    for (let i = 0; i < 20; i++) {
      const end = new AbortController()
      const givenUp = window.tabring.openStore({ room: 'strict', signaling: null, signal: end.signal })
      const ended = givenUp.then((store) => void store.close(), String)
      if (i > 0) await new Promise((resolve) => setTimeout(resolve, i))
      end.abort('unmounted')
      const store = await window.tabring.openStore({ room: 'strict', signaling: null })
      if (i === 0) siblings.push(await ended)
      nodes.add(store.status.node)
      await store.put('k', i)
      siblings.push(...(await store.get('k')).siblings)
      await store.close()
    }
    return { nodes: nodes.size, siblings }
  })
  expect(found).toEqual({ nodes: 1, siblings: ['unmounted', ...Array.from({ length: 20 }, (_, i) => i)] })
})

// An effect of React cleans up without waiting for anything. The slot was still taken then, so the next store was another node, without the data.
test('a store that is opened while the former one of the page closes waits for that, and is the same node', async () => {
  const tab = await world.tab({ options: { signaling: null } })
  const found = await tab.evaluate(async () => {
    const nodes = new Set<string>()
    const siblings: unknown[] = []
    const closing: Promise<void>[] = []
    for (let i = 0; i < 10; i++) {
      const store = await window.tabring.openStore({ room: 'effect', signaling: null })
      nodes.add(store.status.node)
      await store.put('k', i)
      siblings.push(...(await store.get('k')).siblings)
      closing.push(store.close())
    }
    await Promise.all(closing)
    return { nodes: nodes.size, siblings }
  })
  expect(found).toEqual({ nodes: 1, siblings: Array.from({ length: 10 }, (_, i) => i) })
})
