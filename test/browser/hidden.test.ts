/** Tabs that nobody looks at: hidden with slow timers, frozen by the browser, kept in its back/forward cache. */
import { expect, test } from 'vitest'
import { type RealTab, useRealWindow } from './support/real-tabs.js'

const window = useRealWindow()

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

test('one visible and three hidden tabs, their timers throttled, converge within ten seconds of a write', async () => {
  const tabs = await window.tabs('a', 'b', 'c', 'd')
  const [visible, ...hidden] = tabs as [RealTab, ...RealTab[]]
  await visible.look()
  for (const tab of hidden) {
    const seen = await tab.evaluate(async () => {
      let calls = 0
      const timer = setInterval(() => calls++, 50)
      await new Promise((resolve) => setTimeout(resolve, 3000))
      clearInterval(timer)
      return { state: document.visibilityState, calls }
    })
    expect(seen.state).toBe('hidden')
    // Sixty in a tab that is seen.
    expect(seen.calls).toBeLessThan(10)
  }
  expect(await visible.evaluate(() => document.visibilityState)).toBe('visible')
  for (const [i, writer] of [visible, hidden[2] as RealTab].entries()) {
    const key = `key${i}`
    const started = Date.now()
    await writer.evaluate((store, name) => store.put(name, 'value').then(() => {}), key)
    for (const tab of tabs)
      await tab.waitFor('the value', async (store, name) => (await store.get(name)).value === 'value', key)
    // On the disk of every home.
    await visible.waitFor(
      'all homes',
      async (store, name) => (await store.trace(name)).homes.every(({ holds }) => holds),
      key,
    )
    expect(Date.now() - started).toBeLessThan(10_000)
  }
})

test('a tab that joins while all others are hidden is soon one of them', async () => {
  const [a, b] = (await window.tabs('a', 'b')) as [RealTab, RealTab]
  const c = await window.tab('c')
  await c.waitFor('both', (store) => store.status.peers === 2, undefined, 10_000)
  expect(await a.evaluate(() => document.visibilityState)).toBe('hidden')
  expect(await b.evaluate(() => document.visibilityState)).toBe('hidden')
})

test('a tab frozen for a minute under writes acknowledges none, is not removed, and catches up', async () => {
  const tabs = await window.tabs('a', 'b', 'c', 'd')
  const [a, b, c, frozen] = tabs as [RealTab, RealTab, RealTab, RealTab]
  const node = await frozen.evaluate((store) => store.status.node)
  await a.evaluate((store) => store.put('before', 1).then(() => {}))
  await a.look()
  await frozen.freeze()
  // In a freeze nothing of the page runs: what it had confirmed by then, it had confirmed.
  await pause(200)
  const end = Date.now() + 60_000
  const written: string[] = []
  for (let i = 0; Date.now() < end; i++) {
    const writer = [a, b, c][i % 3] as RealTab
    const [key, again] = [`k${i}`, `again${i % 20}`]
    const receipts = await writer.evaluate(
      async (store, keys) => {
        const done = await Promise.all(keys.map((name) => store.put(name, name)))
        return done.map(({ acks, quorum }) => ({ acks, met: quorum.met }))
      },
      [key, again],
    )
    for (const { acks, met } of receipts) {
      expect(acks).not.toContain(node)
      expect(met).toBe(true)
    }
    written.push(key, again)
    if (i % 10 === 0) {
      for (const tab of [a, b, c]) {
        const state = await tab.evaluate((store, id) => store.members.find((member) => member.node === id)?.state, node)
        expect(state).toBe('unreachable')
      }
    }
    await pause(300)
  }
  await frozen.thaw()
  await frozen.waitFor('its peers', (store) => store.status.peers === 3)
  expect(await frozen.evaluate((store) => store.status.node)).toBe(node)
  await a.waitFor('the thawed tab', (store) => store.status.peers === 3)
  for (const tab of [a, b, c])
    await tab.waitFor('its hints to be delivered', (store) => store.status.hintsPending === 0 && store.status.synced)
  await frozen.waitFor('its data', (store) => store.status.partitionsFilling === 0)
  // What it is a home of is on its own disk now.
  const missing = await frozen.evaluate(async (store, keys) => {
    const lacking: string[] = []
    for (const key of new Set(keys)) {
      const { homes } = await store.trace(key)
      const own = homes.find((home) => home.node === store.status.node)
      if (own && !own.holds) lacking.push(key)
      const { value, conflict } = await store.get(key)
      if (value !== key || (conflict && key.startsWith('k'))) lacking.push(key)
    }
    return lacking
  }, written)
  expect(missing).toEqual([])
  expect(
    await frozen.evaluate((store) => store.members.filter(({ state }) => state !== 'up').map(({ name }) => name)),
  ).toEqual([])
}, 180_000)

// It kept what it had just read in, and who wanted to delete that (leave, say) waited until it was thawed.
test('a tab that is frozen while it reads what a closed one has left is not in the way of the deletion of that', async () => {
  const [a, b] = (await window.tabs('a', 'b')) as [RealTab, RealTab]
  const node = await b.evaluate((store) => store.status.node)
  window.room = 'another'
  const other = await window.tab('other')
  await b.page.close()
  await a.waitFor('its being alone', (store) => store.status.peers === 0)
  await a.evaluate((store) => store.get('absent').then(() => {}))
  await a.freeze()
  const isDeleted = await other.evaluate(async (_, closed) => {
    const all = await indexedDB.databases()
    const { name = '' } = all.find((database) => database.name?.endsWith(closed)) ?? {}
    return Promise.race([
      new Promise((resolve) => {
        indexedDB.deleteDatabase(name).onsuccess = () => resolve(name !== '')
      }),
      new Promise((resolve) => setTimeout(resolve, 5000, 'still waiting')),
    ])
  }, node)
  await a.thaw()
  expect(isDeleted).toBe(true)
})

test('a page that goes into the back/forward cache and comes back is the same node, and goes on', async () => {
  const [a, b] = (await window.tabs('a', 'b')) as [RealTab, RealTab]
  await b.look()
  const node = await b.evaluate((store) => {
    Object.assign(globalThis, { stillHere: true })
    addEventListener('pageshow', ({ persisted }) => Object.assign(globalThis, { persisted }))
    return store.status.node
  })
  // Another site, so that it is another page that is shown.
  await b.page.goto(window.url.replace('127.0.0.1', 'localhost'))
  await a.waitFor('the other to be away', (store) => store.status.peers === 0)
  await a.evaluate((store) => store.put('meanwhile', 'written').then(() => {}))
  await b.page.evaluate('void setTimeout(() => history.back(), 10)')
  await b.page.waitForFunction('globalThis.persisted === true')
  expect(await b.page.evaluate('globalThis.stillHere')).toBe(true)
  expect(await b.evaluate((store) => store.status.node)).toBe(node)
  await b.waitFor('the other', (store) => store.status.peers === 1)
  await b.waitFor('what was written', async (store) => (await store.get('meanwhile')).value === 'written')
  await b.evaluate((store) => store.put('back', 'again').then(() => {}))
  await a.waitFor('what it writes', async (store) => (await store.get('back')).value === 'again')
  // And once more, away and back.
  await b.page.goForward()
  await b.page.evaluate('void setTimeout(() => history.back(), 10)')
  await b.page.waitForFunction('globalThis.stillHere === true')
  await b.waitFor('the other', (store) => store.status.peers === 1)
  // Who went offline on purpose stays so.
  await b.evaluate((store) => store.disconnect())
  await b.page.goForward()
  await b.page.evaluate('void setTimeout(() => history.back(), 10)')
  await b.page.waitForFunction('globalThis.stillHere === true')
  await pause(2000)
  expect(await b.evaluate((store) => [store.status.online, store.status.peers])).toEqual([false, 0])
  await b.evaluate((store) => store.connect())
  await b.waitFor('the other', (store) => store.status.peers === 1)
})
