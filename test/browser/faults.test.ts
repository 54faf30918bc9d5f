/** The faults of `tabring/testing`, and how a ring of real tabs takes them. */
import { expect, test } from 'vitest'
import type { Tab } from './support/tab.js'
import { useWorld } from './support/world.js'

const world = useWorld()

// Both ends lose frames: one round trip in five fails, and everybody is asked up to four times.
test('on slow and lossy links puts and gets still meet their quorums, and everything converges', async () => {
  const [a, b, c] = (await world.ring(3)) as [Tab, Tab, Tab]
  for (const tab of [a, b, c]) {
    await tab.evaluate((store) => {
      window.tabring.faults(store).delay(20)
      window.tabring.faults(store).drop(0.05)
    })
  }
  for (let i = 0; i < 20; i++) {
    const writer = [a, b, c][i % 3] as Tab
    const reader = [a, b, c][(i + 1) % 3] as Tab
    const receipt = await writer.put(`k${i}`, i)
    expect(receipt.quorum).toMatchObject({ met: true, sloppy: false })
    const entry = await reader.get(`k${i}`)
    expect(entry).toMatchObject({ value: i, quorum: { met: true } })
  }
  for (const tab of [a, b, c]) {
    await tab.evaluate((store) => {
      window.tabring.faults(store).delay(0)
      window.tabring.faults(store).drop(0)
    })
  }
  for (const tab of [a, b, c]) {
    await tab.waitFor(
      'all keys and nothing pending',
      (store) => store.status.keysHeld === 20 && store.status.synced,
      undefined,
      { timeoutMs: 40_000 },
    )
  }
})

test('a frozen tab acknowledges nothing and stops nobody; thawed, it catches up and executes nothing twice', async () => {
  const [a, b, c] = (await world.ring(3)) as [Tab, Tab, Tab]
  await a.put('k', 'before')
  await c.evaluate((store) => window.tabring.faults(store).freeze())
  const frozen = (await c.status()).node
  for (let i = 0; i < 30; i++) expect((await a.put('k', i)).acks).not.toContain(frozen)
  await b.waitFor('the silence to be noticed', (store) => store.status.peers === 1)
  expect((await b.get('k')).value).toBe(29)
  await c.evaluate((store) => window.tabring.faults(store).thaw())
  await c.waitFor('the last value', async (store) => (await store.get('k', { r: 1 })).value === 29)
  for (const tab of [a, b, c]) {
    await tab.waitFor('two peers and no hints', (store) => store.status.peers === 2 && store.status.hintsPending === 0)
    expect((await tab.get('k')).siblings).toEqual([29])
  }
})

test('cutting single nodes leaves the others linked', async () => {
  const [a, b, c] = (await world.ring(3)) as [Tab, Tab, Tab]
  const nodes = await Promise.all([a, b, c].map(async (tab) => (await tab.status()).node))
  await a.evaluate((store, node) => window.tabring.faults(store).cut([node]), nodes[1] as string)
  await a.waitFor('one peer', (store) => store.status.peers === 1)
  await b.waitFor('one peer', (store) => store.status.peers === 1)
  expect((await a.members()).find(({ node }) => node === nodes[1])).toMatchObject({
    state: 'unreachable',
    connected: false,
  })
  // Both sides of the cut reach the third, so reads there see both.
  await a.put('from a', 1)
  await b.put('from b', 2)
  expect((await b.get('from a')).value).toBe(1)
  expect((await a.get('from b')).value).toBe(2)
  await a.evaluate((store) => window.tabring.faults(store).heal())
  for (const tab of [a, b, c]) await tab.waitFor('two peers', (store) => store.status.peers === 2)
})
