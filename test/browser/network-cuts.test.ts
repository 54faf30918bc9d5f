/** Real network cuts of different lengths: every packet lost, with the browser's own time-outs, not only cuts inside the store. */
import { expect, test } from 'vitest'
import type { Tab } from './support/tab.js'
import { useWorld } from './support/world.js'

const world = useWorld()

test.each([3, 8, 45])('after a cut of %d seconds both sides converge', async (seconds) => {
  const [a, b, c] = (await world.ring(3)) as [Tab, Tab, Tab]
  await a.put('shared', 'before')
  expect((await c.get('shared')).value).toBe('before')
  await c.cutNetwork()
  // Written on both sides of the cut, at once: whether anybody has noticed it yet or not.
  const began = Date.now()
  const receipts = await Promise.all([
    a.put('shared', 'from A'),
    c.put('shared', 'from C'),
    b.put('only-b', 1),
    c.put('only-c', 2),
  ])
  for (const receipt of receipts) expect(receipt.acks.length).toBeGreaterThan(0)
  expect((await a.get('only-b')).value).toBe(1)
  expect((await c.get('only-c')).value).toBe(2)
  await new Promise((resolve) => setTimeout(resolve, seconds * 1000 - (Date.now() - began)))
  await c.healNetwork()
  for (const tab of [a, b, c]) {
    await tab.waitFor('two peers', (store) => store.status.peers === 2, undefined, { timeoutMs: 40_000 })
    await tab.waitFor('both versions', async (store) => (await store.get('shared')).siblings.length === 2)
    expect((await tab.get('only-b')).value).toBe(1)
    expect((await tab.get('only-c')).value).toBe(2)
  }
  const [atA = [], ...atOthers] = await Promise.all([a, b, c].map(async (tab) => (await tab.get('shared')).siblings))
  expect([...atA].sort()).toEqual(['from A', 'from C'])
  for (const siblings of atOthers) expect(siblings).toEqual(atA)
  for (const tab of [a, b, c])
    await tab.waitFor('no hints to be left', (store) => store.status.hintsPending === 0 && store.status.synced)
})
