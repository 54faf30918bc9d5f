/** What a ring of tabs is for: whatever is put in one tab is there in the others, and contradictions are kept, shown and resolved. */
import { describe, expect, test } from 'vitest'
import type { Tab } from './support/tab.js'
import { useWorld } from './support/world.js'

const world = useWorld({ firefox: true })

/** Firefox takes seconds where Chromium takes tens of milliseconds to connect. */
const CONNECTED_MS = 30_000

// In a split A and B are those that are cut off and write, and C looks on.
describe.each([
  ['chromium', 'chromium', 'chromium'],
  ['chromium', 'chromium', 'firefox'],
  ['chromium', 'firefox', 'chromium'],
] as const)('A in %s, B in %s and C in %s', (...engines) => {
  async function open(): Promise<[Tab, Tab, Tab]> {
    const tabs = await Promise.all(engines.map((browser, i) => world.tab({ name: 'ABC'[i] as string, browser })))
    await Promise.all(tabs.map((tab) => tab.ready(2, { timeoutMs: CONNECTED_MS })))
    return tabs as [Tab, Tab, Tab]
  }

  test('form a ring through the signaling server, and what one puts the others get', async () => {
    const [a, b, c] = await open()
    for (const tab of [a, b, c]) expect(await tab.status()).toMatchObject({ peers: 2, members: 3, online: true })
    const receipt = await a.put('cart/42', { items: ['tea'] })
    expect(receipt.quorum).toMatchObject({ met: true, sloppy: false, needed: 2 })
    expect(receipt.acks.length).toBeGreaterThanOrEqual(2)
    expect(receipt.hintedFor).toEqual([])
    for (const tab of [b, c]) {
      const entry = await tab.get('cart/42')
      expect(entry).toMatchObject({ value: { items: ['tea'] }, conflict: false, quorum: { met: true } })
    }
  })

  test('keep both of two concurrent puts, show them everywhere, and a merged put ends the conflict', async () => {
    const [a, b, c] = await open()
    await a.put('title', 'first')
    for (const tab of [b, c]) expect((await tab.get('title')).value).toBe('first')
    for (const tab of [a, b]) await tab.evaluate((store) => window.tabring.faults(store).cut())
    const receipts = [await a.put('title', 'from A'), await b.put('title', 'from B')]
    for (const receipt of receipts) expect(receipt.quorum).toMatchObject({ met: false, answers: 1 })
    for (const tab of [a, b]) await tab.evaluate((store) => window.tabring.faults(store).heal())
    for (const tab of [a, b, c])
      await tab.waitFor('both siblings', async (store) => (await store.get('title')).siblings.length === 2)
    const [atA = [], ...atOthers] = await Promise.all([a, b, c].map(async (tab) => (await tab.get('title')).siblings))
    expect([...atA].sort()).toEqual(['from A', 'from B'])
    for (const siblings of atOthers) expect(siblings).toEqual(atA)
    const { context } = await c.get('title')
    await c.put('title', 'merged', { context })
    for (const tab of [a, b, c]) {
      await tab.waitFor('the merged value', async (store) => (await store.get('title')).value === 'merged')
      expect((await tab.get('title')).siblings).toEqual(['merged'])
    }
  })
})
