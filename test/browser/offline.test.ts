/** With no network and no peer, also after a cold start: what this tab holds or has seen is readable, every write is taken, and all merges later. */
import { expect, test } from 'vitest'
import type { Tab } from './support/tab.js'
import { useWorld } from './support/world.js'

const world = useWorld()

/** One home for each key, so that most keys live elsewhere. */
const ONE_HOME = { replication: { n: 1, r: 1, w: 1 } }
const KEYS = 60

/** Keys of which this tab is no home. */
function foreignKeys(tab: Tab, prefix: string, count: number): Promise<string[]> {
  return tab.evaluate(
    async (store, [name, wanted]) => {
      const keys: string[] = []
      for (let i = 0; keys.length < wanted; i++) {
        const { homes } = await store.trace(`${name}${i}`)
        if (homes.every(({ node }) => node !== store.status.node)) keys.push(`${name}${i}`)
      }
      return keys
    },
    [prefix, count] as const,
  )
}

/** A page is gone a moment before its locks are, and until then its disk counts as in use. */
function alone(tab: Tab): Promise<void> {
  return tab.waitFor('the others to be gone', async () => (await navigator.locks.query()).held?.length === 1)
}

/** Nobody can be reached any more, and the tab begins anew. */
async function coldStart(tab: Tab, others: Tab[]): Promise<void> {
  await world.killSignaling()
  await Promise.all(others.map((other) => other.close()))
  await tab.reload()
  expect((await tab.status()).peers).toBe(0)
}

test('keys that were read or written here are read from copies when no home answers, and marked as such', async () => {
  const [reader, a, b] = (await world.ring(3, { options: ONE_HOME })) as [Tab, Tab, Tab]
  for (const tab of [reader, a, b]) await tab.waitFor('all partitions', (store) => store.status.partitionsFilling === 0)
  const keys = await foreignKeys(reader, 'k', KEYS)
  await a.evaluate((store, all) => store.putMany(all.map((key, i) => [key, i] as const)).then(() => {}), keys)
  const [read, written, never] = [keys.slice(0, 20), keys.slice(20, 40), keys.slice(40)]
  const fresh = await reader.evaluate((store, all) => store.getMany(all), read)
  expect(fresh.map(({ value, quorum }) => [value, quorum.cached])).toEqual(read.map((_, i) => [i, false]))
  await reader.evaluate(async (store, all) => {
    await store.putMany(all.map((key) => [key, `mine ${key}`] as const))
    await store.flush()
  }, written)
  // A version that was replaced elsewhere after it was read: the copy is as old as the reading.
  await b.evaluate(async (store, key) => {
    await store.get(key)
    await store.put(key, 'newer')
  }, read[0] as string)
  await new Promise((resolve) => setTimeout(resolve, 500))
  await coldStart(reader, [a, b])
  const offline = (all: string[]) =>
    reader.evaluate(
      async (store, asked) =>
        (await store.getMany(asked)).map(({ value, quorum }) => [value, quorum.cached, quorum.met]),
      all,
    )
  expect(await offline(read)).toEqual(read.map((_, i) => [i, true, false]))
  expect(await offline(never)).toEqual(never.map(() => [undefined, false, false]))
  // Both were seen, the one after the other; what replaced it is what counts.
  expect(await offline(written)).toEqual(written.map((key) => [`mine ${key}`, true, false]))
  await expect(reader.get(read[0] as string, { quorum: 'strict' })).rejects.toThrow(/home nodes answered/)
  const scanned = await reader.evaluate(async (store) => {
    const found = store.scan({ prefix: 'k' })
    const all: [string, boolean][] = []
    for await (const { key, quorum } of found) all.push([key, quorum.cached])
    return { all, complete: found.complete }
  })
  expect(scanned).toEqual({ all: [...read, ...written].sort().map((key) => [key, true]), complete: false })
  // Writing goes on from what the copy shows, and the copy follows.
  await reader.put(read[1] as string, 'written offline')
  expect((await reader.get(read[1] as string)).siblings).toEqual(['written offline'])
})

test('copies are bounded in bytes, and the least recently used go first', async () => {
  const options = { ...ONE_HOME, tuning: { maxCopiesBytes: 20_000 } }
  const [reader, a] = (await world.ring(2, { options })) as [Tab, Tab]
  for (const tab of [reader, a]) await tab.waitFor('all partitions', (store) => store.status.partitionsFilling === 0)
  const keys = await foreignKeys(reader, 'k', KEYS)
  await a.evaluate(
    (store, all) => store.putMany(all.map((key) => [key, 'x'.repeat(1000)] as const)).then(() => {}),
    keys,
  )
  for (const key of keys) await reader.get(key)
  await new Promise((resolve) => setTimeout(resolve, 500))
  await coldStart(reader, [a])
  const kept = await reader.evaluate(
    async (store, all) => (await store.getMany(all)).map(({ quorum }) => quorum.cached),
    keys,
  )
  const first = kept.indexOf(true)
  expect(KEYS - first).toBeGreaterThan(12)
  expect(KEYS - first).toBeLessThan(20)
  expect(kept.slice(first)).not.toContain(false)
})

test('what was written offline in several tabs of several profiles, through a cold start, merges when they meet', async () => {
  const [a, b] = (await world.ring(2)) as [Tab, Tab]
  const a2 = await world.tab({ name: 'second of a', profile: a })
  await Promise.all([a, b, a2].map((tab) => tab.ready(2)))
  await a.put('shared', 'before')
  await a.evaluate((store) => store.flush())
  await world.killSignaling()
  for (const tab of [a, a2, b]) {
    await tab.evaluate((store) => store.disconnect())
    await tab.reload()
    await tab.put(`only-${tab.name}`, tab.name)
    await tab.put('shared', `by ${tab.name}`)
    expect((await tab.status()).synced).toBe(false)
  }
  for (const tab of [a, a2, b]) await tab.reload()
  await world.signaling.start()
  await Promise.all([a, b, a2].map((tab) => tab.ready(2, { timeoutMs: 60_000 })))
  for (const tab of [a, b, a2]) {
    await tab.waitFor('everything to be everywhere', (store) => store.status.synced, undefined, { timeoutMs: 40_000 })
  }
  for (const tab of [a, b, a2]) {
    for (const { name } of [a, b, a2]) expect((await tab.get(`only-${name}`)).value).toBe(name)
  }
  const [atA = [], ...atOthers] = await Promise.all([a, b, a2].map(async (tab) => (await tab.get('shared')).siblings))
  expect([...atA].sort()).toEqual([a, b, a2].map(({ name }) => `by ${name}`).sort())
  for (const siblings of atOthers) expect(siblings).toEqual(atA)
})

// A tab that has adopted one of them deletes its database; for half a second the others were not read either, and the application was told of an error.
test('where the disk of one closed tab is deleted, those of the others are read', async () => {
  const options = { ...ONE_HOME, signaling: null }
  const host = await world.tab({ name: 'host', options: ONE_HOME })
  const [kept, deleted] = [
    await world.tab({ name: 'kept', profile: host, options: ONE_HOME }),
    await world.tab({ name: 'deleted', profile: host, options }),
  ]
  for (const tab of [host, kept]) {
    await tab.ready(1)
    await tab.waitFor('all partitions', (store) => store.status.partitionsFilling === 0)
  }
  const keys = await foreignKeys(host, 'k', KEYS)
  await kept.evaluate((store, all) => store.putMany(all.map((key) => [key, key] as const)).then(() => {}), keys)
  const { node } = await deleted.status()
  await world.killSignaling()
  await Promise.all([kept.close(), deleted.close()])
  await alone(host)
  const read = await host.evaluate(
    async (store, { all, gone }) => {
      const errors: string[] = []
      store.addEventListener('error', ({ detail }) => errors.push(String(detail)))
      await store.get(all[0] as string)
      const { name = '' } = (await indexedDB.databases()).find((database) => database.name?.endsWith(`/${gone}`)) ?? {}
      await new Promise((resolve, reject) => {
        const request = indexedDB.deleteDatabase(name)
        request.onsuccess = resolve
        request.onerror = reject
      })
      const values: unknown[] = []
      for (const key of all.slice(1)) values.push((await store.get(key)).value)
      return { errors, values }
    },
    { all: keys, gone: node },
  )
  expect(read).toEqual({ errors: [], values: keys.slice(1) })
})

// It took itself for all there was: with r = 1 its own 'no' was a quorum, and a scan called itself complete.
test('a tab that never met anybody finds what a closed tab of its profile has left, with r = 1 too', async () => {
  const options = { ...ONE_HOME, signaling: null }
  const host = await world.tab({ name: 'host', options })
  const closed = await world.tab({ name: 'closed', profile: host, options })
  const keys = Array.from({ length: 20 }, (_, i) => `k${String(i).padStart(2, '0')}`)
  await closed.evaluate((store, all) => store.putMany(all.map((key) => [key, key] as const)).then(() => {}), keys)
  await closed.close()
  await alone(host)
  const found = await host.evaluate(async (store, all) => {
    const values: unknown[] = []
    for (const key of all) values.push((await store.get(key)).value)
    const scan = store.scan()
    const scanned: string[] = []
    for await (const { key } of scan) scanned.push(key)
    await store.put(all[0] as string, 'next')
    return { values, scanned, complete: scan.complete, siblings: (await store.get(all[0] as string)).siblings }
  }, keys)
  expect(found).toEqual({ values: keys, scanned: keys, complete: true, siblings: ['next'] })
})

// It was told at once that all had arrived: nobody else was known when it wrote.
test('what a tab wrote before it met anybody is at the others when flush() resolves', async () => {
  const first = await world.tab()
  const keys = Array.from({ length: 500 }, (_, i) => `k${i}`)
  await first.evaluate((store, all) => store.putMany(all.map((key) => [key, key] as const)).then(() => {}), keys)
  const [second] = (await Promise.all([world.tab(), world.tab()])) as [Tab, Tab]
  await first.ready(2)
  await first.evaluate((store) => store.flush())
  await first.close()
  const values = await second.evaluate(async (store, all) => {
    const entries = await store.getMany(all, { r: 1 })
    return entries.map(({ value }) => value)
  }, keys)
  expect(values).toEqual(keys)
})
