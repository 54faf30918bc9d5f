/** What closed tabs leave behind: those of the same profile that live on take it over, and nothing is stranded. */
import { expect, test } from 'vitest'
import type { Tab } from './support/tab.js'
import { useWorld } from './support/world.js'

declare global {
  interface Window {
    lookedFor?: boolean
  }
}

const world = useWorld()

/** Short, so that the tests need not wait for the minute that the product waits. */
const SOON = { tuning: { adoptAfterMs: 2000 } }
const ADOPTED_MS = 40_000

/** The databases of tabring in this tab's profile, the registry left out. */
function databases(tab: Tab): Promise<string[]> {
  return tab.evaluate(async () => {
    const all = await indexedDB.databases()
    return all.flatMap(({ name }) => (name?.startsWith('tabring/') ? [name] : [])).sort()
  })
}

/** Until no database but the tab's own is left. */
function adopted(tab: Tab): Promise<void> {
  return tab.waitFor(
    'the other slots to be adopted',
    async () => (await indexedDB.databases()).filter(({ name }) => name?.startsWith('tabring/')).length === 1,
    undefined,
    { timeoutMs: ADOPTED_MS },
  )
}

async function putMany(tab: Tab, prefix: string, count: number): Promise<void> {
  await tab.evaluate(
    async (store, [name, many]) => {
      await store.putMany(Array.from({ length: many }, (_, i) => [`${name}${i}`, i] as const))
    },
    [prefix, count] as const,
  )
}

async function countRight(tab: Tab, prefix: string, count: number): Promise<number> {
  return tab.evaluate(
    async (store, [name, many]) => {
      const entries = await store.getMany(Array.from({ length: many }, (_, i) => `${name}${i}`))
      return entries.filter(({ value, conflict }, i) => value === i && !conflict).length
    },
    [prefix, count] as const,
  )
}

test('two tabs closed for good are adopted: their data and hints reach the ring, their databases are gone', async () => {
  const host = await world.tab({ name: 'host', options: SOON })
  const [a, b] = await Promise.all([
    world.tab({ name: 'a', profile: host, options: SOON }),
    world.tab({ name: 'b', profile: host, options: SOON }),
  ])
  const [elsewhere, away] = await Promise.all([
    world.tab({ name: 'elsewhere', options: SOON }),
    world.tab({ name: 'away', options: SOON }),
  ])
  const all = [host, a, b, elsewhere, away] as Tab[]
  await Promise.all(all.map((tab) => tab.ready(4)))
  await putMany(host, 'before', 300)
  for (const tab of all) await tab.waitFor('all partitions', (store) => store.status.partitionsFilling === 0)
  // What these two write now, nobody hears of, and 'away' is not there to take its share.
  for (const tab of [a, b]) await tab.evaluate((store) => window.tabring.faults(store).cut())
  await putMany(a, 'of-a', 50)
  await putMany(b, 'of-b', 50)
  const lost = await Promise.all([a.status(), b.status()])
  expect(await databases(host)).toHaveLength(3)
  await a.close()
  await b.close()
  await adopted(host)
  await host.waitFor('all hints to be delivered', (store) => store.status.hintsPending === 0 && store.status.synced)
  for (const tab of [host, elsewhere, away]) {
    await tab.waitFor('the departure', (store) => store.status.members === 3)
    expect(await countRight(tab, 'before', 300)).toBe(300)
    expect(await countRight(tab, 'of-a', 50)).toBe(50)
    expect(await countRight(tab, 'of-b', 50)).toBe(50)
  }
  expect(await databases(host)).toEqual([expect.stringContaining((await host.status()).node)])
  const gone = (await host.members()).filter(({ state }) => state === 'left').map(({ node }) => node)
  expect(gone.sort()).toEqual(lost.map(({ node }) => node).sort())
})

test('offline and alone, one tab of a reopened browser ends with the data of all its former tabs', async () => {
  const options = { ...SOON, signaling: null, replication: { n: 1, r: 1, w: 1 } }
  const first = await world.tab({ name: 'first', options })
  const others = await Promise.all([1, 2].map((i) => world.tab({ name: `other ${i}`, profile: first, options })))
  for (const [i, tab] of [first, ...others].entries()) await putMany(tab as Tab, `t${i}-`, 20)
  for (const tab of others) await tab.close()
  await first.reload()
  await adopted(first)
  for (let i = 0; i < 3; i++) expect(await countRight(first, `t${i}-`, 20)).toBe(20)
  await first.waitFor('everything to be at home', (store) => store.status.synced && store.status.hintsPending === 0)
})

test('of a browser whose five tabs were closed one is reopened, and reads at once what lies on the others’ disks', async () => {
  const first = await world.tab({ name: 'first' })
  const others = await Promise.all([1, 2, 3, 4].map((i) => world.tab({ name: `other ${i}`, profile: first })))
  const all = [first, ...others]
  await Promise.all(all.map((tab) => tab.ready(4)))
  for (const tab of all) await tab.waitFor('all partitions', (store) => store.status.partitionsFilling === 0)
  await putMany(first, 'k', 200)
  for (const tab of others) await tab.evaluate((store) => window.tabring.faults(store).cut())
  await putMany(others[0] as Tab, 'alone', 10)
  const blank = await first.context.newPage()
  for (const tab of all) await tab.close()
  await first.open()
  await blank.close()
  expect((await first.status()).keysHeld).toBeLessThan(200)
  expect(await countRight(first, 'k', 200)).toBe(200)
  expect(await countRight(first, 'alone', 10)).toBe(10)
  const scanned = await first.evaluate(async (store) => {
    let count = 0
    for await (const _ of store.scan()) count++
    return count
  })
  expect(scanned).toBe(210)
  // The others come back to their own disks, of which nothing is missing.
  await Promise.all(others.map((tab) => tab.open()))
  await Promise.all(all.map((tab) => tab.ready(4)))
  expect(await databases(first)).toHaveLength(5)
  for (const tab of all) expect(await countRight(tab, 'k', 200)).toBe(200)
})

// The disk that is being taken over was looked at by nobody: its keys were gone for seconds, and came back one by one.
test('while a closed tab is being adopted, offline, all its keys stay readable', async () => {
  const options = { ...SOON, signaling: null }
  const host = await world.tab({ name: 'host', options })
  const owner = await world.tab({ name: 'owner', profile: host, options })
  await putMany(owner, 'k', 1500)
  await owner.close()
  await host.waitFor('the closed tab’s disk', async (store) => (await store.get('k0')).value === 0)
  const missing = await host.evaluate(async (store) => {
    let isOver = false
    store.addEventListener('handoff', ({ detail }) => {
      isOver ||= detail.kind === 'adoption' && detail.left === 0
    })
    const counts: number[] = []
    for (let from = 0; !isOver; from = (from + 100) % 1500) {
      const keys = Array.from({ length: 100 }, (_, i) => `k${from + i}`)
      counts.push((await store.getMany(keys)).filter(({ value }) => value === undefined).length)
    }
    return counts
  })
  expect(missing.length).toBeGreaterThan(5)
  expect(missing.filter((count) => count > 0)).toEqual([])
  expect(await countRight(host, 'k', 1500)).toBe(1500)
})

// From its lock to the answer of the registry, the disk was neither free nor taken over: who looked then did not see its keys for half a second.
test('keys stay readable while the registry takes its time to let a closed tab be adopted', async () => {
  const options = { ...SOON, signaling: null }
  const host = await world.tab({ name: 'host', options })
  const owner = await world.tab({ name: 'owner', profile: host, options })
  await putMany(owner, 'k', 100)
  await owner.close()
  await host.waitFor('the closed tab’s disk', async (store) => (await store.get('k0')).value === 0)
  const missing = await host.evaluate(async (store) => {
    // The look at the registry that comes after the lock.
    let [isLocked, isNext] = [false, false]
    const lock = LockManager.prototype.request as (...parameters: unknown[]) => Promise<unknown>
    const { open } = IDBFactory.prototype
    LockManager.prototype.request = function (this: LockManager, ...parameters: unknown[]) {
      const granted = parameters.pop() as (lock: unknown) => unknown
      return lock.call(this, ...parameters, (held: unknown) => {
        isLocked = isNext = true
        return granted(held)
      })
    } as LockManager['request']
    IDBFactory.prototype.open = function (...parameters) {
      const request = open.apply(this, parameters)
      if (parameters[0] !== 'tabring' || !isNext) return request
      isNext = false
      const later = (event: Event) => {
        event.stopImmediatePropagation()
        setTimeout(() => request.dispatchEvent(new Event('success')), 1500)
      }
      request.addEventListener('success', later, { once: true })
      return request
    }
    while (!isLocked) await new Promise((resolve) => setTimeout(resolve, 1))
    const counts: number[] = []
    // Other ones each time: what was read once is read from a copy.
    for (let from = 1; from < 100; from += 10) {
      const keys = Array.from({ length: 9 }, (_, i) => `k${from + i}`)
      counts.push((await store.getMany(keys)).filter(({ value }) => value === undefined).length)
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
    return counts
  })
  expect(missing.filter((count) => count > 0)).toEqual([])
})

// Looking there made an empty database and took that back; idb's promise of that transaction was rejected, and nobody had waited for it.
test('a closed tab’s database that is gone is no error for those that look for it', async () => {
  const options = { signaling: null }
  const host = await world.tab({ name: 'host', options })
  const owner = await world.tab({ name: 'owner', profile: host, options })
  await owner.put('k', 'v')
  await owner.close()
  await host.waitFor('the closed tab’s disk', async (store) => (await store.get('k')).value === 'v')
  const { node } = await host.status()
  const gone = (await databases(host)).find((name) => !name.endsWith(node)) as string
  await host.evaluate((_, name) => {
    indexedDB.deleteDatabase(name)
    const { open } = IDBFactory.prototype
    IDBFactory.prototype.open = function (...parameters) {
      if (parameters[0] === name) window.lookedFor = true
      return open.apply(this, parameters)
    }
  }, gone)
  await host.waitFor('another look', async (store) => (await store.get('other')) && window.lookedFor)
  expect((await host.get('other')).siblings).toEqual([])
  expect(await databases(host)).not.toContain(gone)
})

// The lock that nobody had heard of counted as a tab's: its slot was never looked at again.
test('an adopter whose registry fails as it takes a slot takes it the next time', async () => {
  const options = { ...SOON, signaling: null }
  const host = await world.tab({ name: 'host', options })
  const owner = await world.tab({ name: 'owner', profile: host, options })
  await owner.put('k', 'v')
  const failed = host.evaluate((store, own) => {
    const { get } = IDBObjectStore.prototype
    IDBObjectStore.prototype.get = function (key) {
      // Of its own slot it writes down the size now and then.
      if (this.name !== 'slots' || String(key) === own) return get.call(this, key)
      IDBObjectStore.prototype.get = get
      throw new DOMException('the registry fails', 'UnknownError')
    }
    return new Promise<string>((resolve) =>
      store.addEventListener('error', ({ detail }) => resolve(String(detail)), { once: true }),
    )
  }, `${world.room},0`)
  await owner.close()
  expect(await failed).toContain('the registry fails')
  await adopted(host)
  expect((await host.get('k')).siblings).toEqual(['v'])
})

// Nobody knew of its database any more, and its last write lay there for good.
test('a tab that closes after the registry was deleted is adopted', async () => {
  const options = { ...SOON, signaling: null }
  const host = await world.tab({ name: 'host', options })
  const owner = await world.tab({ name: 'owner', profile: host, options })
  await owner.put('k', 'v')
  await host.evaluate(
    () =>
      new Promise((resolve, reject) => {
        const request = indexedDB.deleteDatabase('tabring')
        request.onsuccess = resolve
        request.onerror = () => reject(request.error)
      }),
  )
  await owner.evaluate((store) => store.close())
  await adopted(host)
  expect((await host.get('k')).siblings).toEqual(['v'])
  // It is known itself as well.
  const { node, device } = await host.status()
  await host.evaluate((store) => store.close())
  await host.reload()
  expect(await host.status()).toMatchObject({ node, device })
})

// The turn that its node no longer gave came as an error of the disk, while that node still wrote down who the members are.
test('a store that is closed while it adopts tells of no error', async () => {
  const options = { ...SOON, signaling: null }
  const host = await world.tab({ name: 'host', options })
  const owner = await world.tab({ name: 'owner', profile: host, options })
  await putMany(owner, 'k', 1500)
  const errors = host.evaluate(async (store) => {
    const told: string[] = []
    store.addEventListener('error', ({ detail }) => told.push(String(detail)))
    await new Promise<void>((resolve) =>
      store.addEventListener('handoff', ({ detail }) => detail.kind === 'adoption' && resolve()),
    )
    const { node } = store.status
    const { transaction } = IDBDatabase.prototype
    IDBDatabase.prototype.transaction = function (...parameters) {
      const tx = transaction.apply(this, parameters)
      if (!this.name.endsWith(node) || tx.mode !== 'readwrite' || !tx.objectStoreNames.contains('meta')) return tx
      // That takes its time.
      const later = (event: Event) => {
        event.stopImmediatePropagation()
        setTimeout(() => tx.dispatchEvent(new Event('complete')), 1000)
      }
      tx.addEventListener('complete', later, { once: true })
      return tx
    }
    await store.close()
    return told
  })
  await owner.close()
  expect(await errors).toEqual([])
})

// Nobody answers for a frozen tab, say, that was just reading that disk: the store waited with its closing for as long as that one stands still.
test('a store reads and closes although somebody is in the way of the deletion of what it has adopted', async () => {
  const options = { ...SOON, signaling: null }
  const host = await world.tab({ name: 'host', options })
  const owner = await world.tab({ name: 'owner', profile: host, options })
  const other = await world.tab({ name: 'other', profile: host, options: { signaling: null, room: 'another' } })
  await putMany(owner, 'k', 10)
  const { node } = await owner.status()
  await owner.close()
  // It has no ear for what others want of the database.
  await other.evaluate(
    (_, closed) =>
      new Promise<void>((resolve) => {
        void indexedDB.databases().then((all) => {
          const { name = '' } = all.find((database) => database.name?.endsWith(closed)) ?? {}
          indexedDB.open(name).onsuccess = () => resolve()
        })
      }),
    node,
  )
  await host.waitFor(
    'the other slot to be adopted',
    (store, closed) => store.members.some((member) => member.node === closed && member.state === 'left'),
    node,
    { timeoutMs: ADOPTED_MS },
  )
  const end = await host.evaluate(async (store) => {
    await new Promise((resolve) => setTimeout(resolve, 1000))
    const inTime = <T>(work: Promise<T>) =>
      Promise.race([work, new Promise<string>((resolve) => setTimeout(resolve, 5000, 'still waiting'))])
    return [
      // Whoever opens a database waits behind its deletion.
      await inTime(store.getMany(['k1', 'nothing']).then((entries) => entries.map(({ value }) => value))),
      await inTime(store.close().then(() => 'closed')),
    ]
  })
  expect(end).toEqual([[1, undefined], 'closed'])
  // And the slot is free.
  const held = await other.evaluate(async () => (await navigator.locks.query()).held?.map(({ name }) => name))
  expect(held?.filter((name) => name?.includes('room-'))).toEqual([])
})

test('an adopter that is closed in the middle leaves the rest to the next, and the owner may come back', async () => {
  const host = await world.tab({ name: 'host', options: SOON })
  const owner = await world.tab({ name: 'owner', profile: host, options: SOON })
  await Promise.all([host.ready(1), owner.ready(1)])
  await owner.evaluate((store) => window.tabring.faults(store).cut())
  // Much, so that there is a middle.
  await owner.evaluate(async (store) => {
    const text = 'x'.repeat(2000)
    await store.putMany(Array.from({ length: 1500 }, (_, i) => [`much${i}`, `${i} ${text}`] as const))
  })
  const begun = host.evaluate(
    (store) =>
      new Promise<void>((resolve) =>
        store.addEventListener('handoff', ({ detail }) => detail.kind === 'adoption' && resolve()),
      ),
  )
  await owner.close()
  await begun
  await host.crash()
  // Whoever opens next has one of the two slots; the other one is adopted in the end.
  await host.open()
  await adopted(host)
  const right = await host.evaluate(async (store) => {
    const entries = await store.getMany(Array.from({ length: 1500 }, (_, i) => `much${i}`))
    return entries.filter(({ value, conflict }, i) => String(value).startsWith(`${i} `) && !conflict).length
  })
  expect(right).toBe(1500)
})
