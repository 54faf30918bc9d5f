/** Watching a key from a tab that is none of its homes, over cuts. */
import { expect, test } from 'vitest'
import type { Tab } from './support/tab.js'
import { useWorld } from './support/world.js'

const world = useWorld()

/** A ring of five, a key, one of its homes, and a tab that is not. */
async function ringWithStranger(): Promise<{ key: string; home: Tab; stranger: Tab }> {
  const tabs = await world.ring(5)
  const nodes = new Map(await Promise.all(tabs.map(async (tab) => [(await tab.status()).node, tab] as const)))
  const stranger = tabs[0] as Tab
  const found = await stranger.evaluate(async (store) => {
    for (let i = 0; ; i++) {
      const homes = (await store.trace(`key ${i}`)).homes.map((home) => home.node)
      if (!homes.includes(store.status.node)) return { key: `key ${i}`, home: homes[0] as string }
    }
  })
  return { key: found.key, home: nodes.get(found.home) as Tab, stranger }
}

/** Collects what a watch yields, as texts, in `window.seen[name]`. */
function startWatching(tab: Tab, name: string, target: string | { prefix: string }): Promise<void> {
  return tab.evaluate(
    (store, [list, watched]) => {
      const seen: string[] = []
      const page = window as unknown as { seen?: Record<string, string[]> }
      page.seen = { ...page.seen, [list]: seen }
      store.subscribe(watched, (entry) => seen.push(`${entry.key}=${entry.siblings.join('|')}`))
    },
    [name, target] as const,
  )
}

const lastSeen = (tab: Tab, name: string, text: string) =>
  tab.waitFor(
    `'${text}' in ${name}`,
    (_, [list, wanted]) => (window as unknown as { seen: Record<string, string[]> }).seen[list]?.at(-1) === wanted,
    [name, text] as const,
  )

test('a cut-off tab that is no home of the key sees its own writes in its watches', async () => {
  const { key, stranger } = await ringWithStranger()
  await startWatching(stranger, 'key', key)
  await startWatching(stranger, 'prefix', { prefix: 'key' })
  await lastSeen(stranger, 'key', `${key}=`)
  await stranger.evaluate((store) => window.tabring.faults(store).cut())
  await stranger.put(key, 'written alone')
  await lastSeen(stranger, 'key', `${key}=written alone`)
  await lastSeen(stranger, 'prefix', `${key}=written alone`)
})

test('after a cut a prefix watch tells of what was deleted behind it', async () => {
  const { key, home, stranger } = await ringWithStranger()
  await home.put(key, 'there')
  await startWatching(stranger, 'prefix', { prefix: 'key' })
  await lastSeen(stranger, 'prefix', `${key}=there`)
  await stranger.evaluate((store) => window.tabring.faults(store).cut())
  await home.get(key)
  await home.delete(key)
  await stranger.evaluate((store) => window.tabring.faults(store).heal())
  await lastSeen(stranger, 'prefix', `${key}=`)
  expect((await stranger.get(key)).siblings).toEqual([])
})

test('a watch that waits ends at once when it is told to return', async () => {
  const [tab] = (await world.ring(2)) as [Tab]
  const ended = await tab.evaluate(async (store) => {
    const results: unknown[] = []
    for (const target of ['k', { prefix: 'k' }]) {
      const entries = store.watch(target)
      if (typeof target === 'string') await entries.next()
      const [waiting, waitingToo] = [entries.next(), entries.next()]
      await new Promise((resolve) => setTimeout(resolve, 200))
      results.push(await entries.return(), await waiting, await waitingToo, await entries.next())
    }
    // One that was never read, and one that is left by a `break`.
    results.push(await store.watch('k').return())
    for await (const _ of store.watch('k')) break
    const thrown = store.watch('k')
    await thrown.next()
    const pending = thrown.next()
    results.push(await thrown.throw(new RangeError('enough')).catch((error: Error) => error.message), await pending)
    return results
  })
  const done = { done: true, value: undefined }
  expect(ended).toEqual([...Array(9).fill(done), 'enough', done])
})

test('a watch tells that a version has expired', async () => {
  const tab = await world.tab({ options: { signaling: null, buckets: { short: { ttl: 1000 } } } })
  const seen = await tab.evaluate(async (store) => {
    const bucket = store.bucket('short')
    await bucket.put('one', 1)
    const follow = async (target: string | { prefix: string }) => {
      const values: unknown[] = []
      for await (const { value } of bucket.watch(target)) {
        values.push(value)
        if (value === undefined) return values
      }
      return values
    }
    return Promise.all([follow('one'), follow({ prefix: '' })])
  })
  expect(seen).toEqual([
    [1, undefined],
    [1, undefined],
  ])
})
