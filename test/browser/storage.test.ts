/** IndexedDB in a real browser keeps the promises of `Storage`, and survives what browsers do to databases. */
import { expect, test } from 'vitest'
import { storageCases } from '../conformance/storage.js'
import { launchFirefox } from './support/browser.js'
import type { Tab } from './support/tab.js'
import { useWorld } from './support/world.js'

declare global {
  interface Window {
    /** The first error that a store told of. */
    lost: Promise<string>
    told: string[]
  }
}

const world = useWorld({ firefox: true })

test.each(
  storageCases.flatMap(({ name }) => [
    { browser: 'chromium' as const, name },
    { browser: 'firefox' as const, name },
  ]),
)('$browser: $name', async ({ browser, name }) => {
  const tab = await world.tab({ browser, options: { signaling: null } })
  await tab.evaluate((_, wanted) => window.tabring.runStorageCase(wanted), name)
})

test('a connection that was closed under it is opened again', async () => {
  const tab = await world.tab({ options: { signaling: null } })
  expect(await tab.evaluate(() => window.tabring.reopensLostConnection())).toEqual(['before', 'after'])
})

test('reads whose transaction the browser ends are repeated, and no rejection is left unhandled', async () => {
  const tab = await world.tab({ options: { signaling: null } })
  const found = await tab.evaluate(() => window.tabring.readsThroughAborts())
  expect(found.filter((_, i) => i % 2 === 0)).toEqual([1, 'v', [undefined], [undefined], 1, ['k'], ['k']])
  expect(found.filter((_, i) => i % 2 === 1)).toEqual(Array(7).fill(true))
})

// What had been asked for before was written all the same, and the leaves in memory did not know of it.
test('a batch whose last write throws leaves nothing behind', async () => {
  const tab = await world.tab({ options: { signaling: null } })
  const left = await tab.evaluate(() => window.tabring.throwsInTheMidst())
  expect(left).toEqual({ end: 'unknown', found: undefined, isTrue: true })
})

// The old ones were gone, none took their place, and at the next opening the node held nothing.
test('leaves that cannot be made anew now are made anew at the next opening', async () => {
  const tab = await world.tab({ options: { signaling: null } })
  world.expectNoise(/leaves were damaged/)
  expect(await tab.evaluate(() => window.tabring.throwsWhileMakingLeavesAnew())).toEqual(['unknown', 1])
})

test('damaged Merkle leaves are made anew from the records', async () => {
  const tab = await world.tab({ options: { signaling: null } })
  const [before, damaged, recounted, reopened] = await tab.evaluate(() => window.tabring.recountsDamagedLeaves())
  expect(damaged).not.toEqual(before)
  expect([recounted, reopened]).toEqual([before, before])
})

test('a write in one transaction with a recount finds a record that the leaves do not know of', async () => {
  const tab = await world.tab({ options: { signaling: null } })
  expect(await tab.evaluate(() => window.tabring.recountsBesideWrite())).toBe('value')
})

// The rows to read at once were computed from the mean size, and IndexedDB takes no number below zero.
test('a partition whose bytes are miscounted below zero is scanned', async () => {
  const tab = await world.tab({ options: { signaling: null } })
  expect(await tab.evaluate(() => window.tabring.scansBelowNoBytes())).toEqual(['w'])
})

/** A page in a profile of its own, limited before it has opened any database: Chromium does not look at the limit again for long. */
async function limitedPage() {
  const context = await (await world.browser('chromium')).newContext()
  const page = await context.newPage()
  const cdp = await context.newCDPSession(page)
  const { origin } = new URL(world.url)
  await cdp.send('Storage.overrideQuotaForOrigin', { origin, quotaSize: 2_000_000 })
  await page.goto(world.url)
  await page.evaluate(() => window.tabring.beginQuotaTest())
  return { context, page, cdp, origin }
}

/** With ten megabytes of disk. */
function launchSmallFirefox() {
  return launchFirefox({ firefoxUserPrefs: { 'dom.quotaManager.temporaryStorage.fixedLimit': 10_000 } })
}

// All batches of one turn share a transaction, and failed together: a leave, because its deletions met a replica that did not fit.
test('a batch that does not fit takes none with it that does', async () => {
  const { context, page } = await limitedPage()
  expect(await page.evaluate(() => window.tabring.fullBetweenSmall())).toEqual({
    ends: ['written', 'quota', 'written', 'written'],
    found: ['y', undefined, 'z', undefined],
    isTrue: true,
  })
  await context.close()
})

// While 5,000 keys came to a newcomer, one transaction held up to 1,700 of them, and its page stood still for half a second.
test('batches of one turn share transactions that are short tasks of the page, in call order', async () => {
  const { page } = await world.tab({ options: { signaling: null } })
  await page.evaluate(() => window.tabring.beginQuotaTest())
  const { perTransaction, found } = await page.evaluate(() => window.tabring.manyBatches())
  expect(found).toEqual([undefined, ...Array.from({ length: 49 }, (_, batch) => String(batch))])
  expect(perTransaction.length).toBeLessThanOrEqual(5)
  expect(Math.max(...perTransaction)).toBeLessThanOrEqual(128)
  expect(await page.evaluate(() => window.tabring.leavesAreTrue())).toBe(true)
})

// Firefox keeps a transaction that is told to commit, without the request that did not fit, and tells of that as of a lost connection.
test('a batch that does not fit takes none with it that does, and leaves nothing behind, in Firefox', async () => {
  const firefox = await launchSmallFirefox()
  const page = await firefox.newPage()
  await page.goto(world.url)
  await page.evaluate(() => window.tabring.beginQuotaTest())
  expect(await page.evaluate(() => window.tabring.writeALot())).toBe('quota')
  expect(await page.evaluate(() => window.tabring.fullBetweenSmall())).toEqual({
    ends: ['written', 'quota', 'written', 'written'],
    found: ['y', undefined, 'z', undefined],
    isTrue: true,
  })
  await firefox.close()
})

// It did not open as long as there was no room to mend what was damaged.
test.each(['leaves', 'hints'] as const)(
  'a full disk with damaged %s opens in Firefox, and is mended once there is room',
  async (what) => {
    const firefox = await launchSmallFirefox()
    const page = await firefox.newPage()
    await page.goto(world.url)
    await page.evaluate(() => window.tabring.beginQuotaTest())
    const told = await page.evaluate((damaged) => window.tabring.mendsOnFullDisk(damaged), what)
    expect(told).toEqual(['damaged', 301, 'damaged', 1, true])
    await firefox.close()
  },
)

test('a full disk is a StorageFailure of kind quota, nothing of the batch is kept, and later commits work', async () => {
  const { context, page, cdp, origin } = await limitedPage()
  expect(await page.evaluate(() => window.tabring.writeALot())).toBe('quota')
  await cdp.send('Storage.overrideQuotaForOrigin', { origin })
  expect(await page.evaluate(() => window.tabring.writeALot())).toBe('written')
  expect(await page.evaluate(() => window.tabring.leavesAreTrue())).toBe(true)
  await context.close()
})

test('deleting the database from outside is let through, told before anything is answered, and an empty one is made', async () => {
  const tab = await world.tab({ options: { signaling: null } })
  expect(await tab.evaluate(() => window.tabring.deletedFromOutside())).toEqual({
    told: ['emptied', 'answered'],
    found: ['v', undefined, 'new', '1 record'],
  })
})

// The next connection found a database that was there, told nobody, and the one that nobody closed was in the way of every deletion.
test('a database made anew whose first reading fails is told of by the next, and is in the way of no deletion', async () => {
  const tab = await world.tab({ options: { signaling: null } })
  const { told, reads, isDeleted } = await tab.evaluate(() => window.tabring.deletedAndUnreadable())
  // Whether the read or the reopening is first to look is up to the browser.
  expect(reads.at(-1)).toBe('read')
  expect({ told, isDeleted }).toEqual({ told: ['emptied'], isDeleted: true })
})

test('a newer version of the page takes the database over, and this one steps aside', async () => {
  const tab = await world.tab({ options: { signaling: null } })
  expect(await tab.evaluate(() => window.tabring.upgradedFromOutside())).toEqual({
    told: true,
    after: 'closed',
    opening: 'blocked',
  })
})

// It came back as a home that has no disk.
test('a store whose disk a newer version of the page has taken over does not come back to the ring', async () => {
  const [a, b] = (await world.ring(2)) as [Tab, Tab]
  const told = await a.evaluate(async (store) => {
    const error = new Promise((resolve) => store.addEventListener('error', ({ detail }) => resolve(detail)))
    const { name } = (await indexedDB.databases()).find((each) => each.name?.includes(store.status.node)) ?? {}
    indexedDB.open(name as string, 99)
    return Object.assign({}, await error)
  })
  expect(told).toMatchObject({ reason: 'blocked' })
  expect(await a.evaluate((store) => store.status.online)).toBe(false)
  await expect(a.evaluate((store) => store.connect())).rejects.toThrow('a newer version of this page')
  await b.waitFor('the other one to be away', (store) => store.status.peers === 0)
})

test('a database of the first version is migrated', async () => {
  const tab = await world.tab({ options: { signaling: null } })
  expect(await tab.evaluate(() => window.tabring.migratesFirstVersion())).toEqual({
    records: 1,
    copies: ['name'],
    version: 2,
  })
})

// Once, a storage made an empty database in place of the lost one, answered 'absent', and kept telling peers the old Merkle leaves.
test('site data cleared under an open store are told of, and it goes on with an empty disk', async () => {
  const tab = await world.tab({ options: { signaling: null } })
  await tab.put('k', 'v')
  await tab.evaluate((store) => {
    window.lost = new Promise((resolve) => store.addEventListener('error', ({ detail }) => resolve(String(detail))))
  })
  const cdp = await tab.context.newCDPSession(tab.page)
  await cdp.send('Storage.clearDataForOrigin', { origin: new URL(world.url).origin, storageTypes: 'indexeddb' })
  expect(await tab.evaluate(() => window.lost)).toContain('deleted from outside')
  // What is still in memory is kept once more.
  await tab.waitFor('its own write', (store) => store.status.keysHeld === 1)
  expect((await tab.get('k')).siblings).toEqual(['v'])
  await tab.put('k', 'w')
  expect((await tab.get('k')).siblings).toEqual(['w'])
  expect((await tab.get('other')).siblings).toEqual([])
  expect(await tab.evaluate((store) => store.verify())).toMatchObject({ records: 1, wrongTrees: 0, ok: true })
})

// Chromium ends some transactions by an error of another name then: they were not repeated on the new connection, and their puts rejected.
test('puts go on while site data are cleared', async () => {
  const tab = await world.tab({ options: { signaling: null } })
  const cdp = await tab.context.newCDPSession(tab.page)
  const putting = tab.evaluate(async (store) => {
    const failures: string[] = []
    for (let i = 0, end = Date.now() + 4000; Date.now() < end; i++)
      await Promise.all(
        Array.from({ length: 10 }, (_, j) => store.put(`k${j}`, i).catch((error) => failures.push(String(error)))),
      )
    return failures
  })
  const { origin } = new URL(world.url)
  for (let i = 0; i < 8; i++) {
    await new Promise((resolve) => setTimeout(resolve, 300))
    await cdp.send('Storage.clearDataForOrigin', { origin, storageTypes: 'indexeddb' })
  }
  expect(await putting).toEqual([])
  expect(await tab.evaluate((store) => store.verify())).toMatchObject({ records: 10, wrongTrees: 0, ok: true })
})

// Chromium at times tells a transaction nothing of its end when it closes its connection by force: put, flush and close waited for ever.
test.each(['puts', 'reads'])(
  'a transaction of which nothing is heard any more is over with its connection (%s)',
  async (what) => {
    const tab = await world.tab({ options: { signaling: null } })
    await tab.put('k', 'before')
    await tab.reload()
    const siblings = await tab.evaluate(async (store, kind) => {
      const { transaction } = IDBDatabase.prototype
      let silent: IDBDatabase | undefined
      const silence = (target: EventTarget, ...types: string[]) => {
        for (const type of types) target.addEventListener(type, (event) => event.stopImmediatePropagation())
      }
      IDBDatabase.prototype.transaction = function (...parameters) {
        const tx = transaction.apply(this, parameters)
        if ((kind === 'puts') !== (tx.mode === 'readwrite')) return tx
        IDBDatabase.prototype.transaction = transaction
        silent = this
        silence(tx, 'complete', 'abort', 'error')
        if (kind === 'puts') return tx
        const { objectStore } = tx
        tx.objectStore = (name) => {
          const rows = objectStore.call(tx, name)
          const { get } = rows
          rows.get = (key) => {
            const request = get.call(rows, key)
            silence(request, 'success', 'error')
            return request
          }
          return rows
        }
        return tx
      }
      const work = kind === 'puts' ? store.put('k', 'after').then(() => store.get('k')) : store.get('k')
      while (!silent) await new Promise((resolve) => setTimeout(resolve, 10))
      await new Promise((resolve) => setTimeout(resolve, 300))
      silent.dispatchEvent(new Event('close'))
      return Promise.race([
        work.then(({ siblings }) => siblings),
        new Promise((resolve) => setTimeout(resolve, 10_000, 'nothing is heard')),
      ])
    }, what)
    expect(siblings).toEqual([what === 'puts' ? 'after' : 'before'])
  },
)

// Then the leaves in memory missed the change, and the next commit made that permanent: its record was read with the change already in it.
test('a commit that completed although its connection was lost is in the Merkle leaves once', async () => {
  const tab = await world.tab({ options: { signaling: null } })
  for (const key of ['a', 'b', 'c']) await tab.put(key, 'before')
  // After a reload no record is in memory.
  await tab.reload()
  await tab.evaluate(async (store) => {
    const { context } = await store.get('b')
    const { transaction } = IDBDatabase.prototype
    IDBDatabase.prototype.transaction = function (...parameters) {
      const tx = transaction.apply(this, parameters)
      if (tx.mode !== 'readwrite' || !tx.objectStoreNames.contains('records')) return tx
      IDBDatabase.prototype.transaction = transaction
      tx.addEventListener('complete', (event) => {
        event.stopImmediatePropagation()
        this.close()
        tx.dispatchEvent(new Event('abort'))
      })
      return tx
    }
    await store.put('b', 'after', { context })
  })
  expect((await tab.get('b')).siblings).toEqual(['after'])
  expect(await tab.evaluate((store) => store.verify())).toMatchObject({ records: 3, wrongTrees: 0, ok: true })
  await tab.put('b', 'later')
  await tab.reload()
  expect(await tab.evaluate((store) => store.verify())).toMatchObject({ records: 3, wrongTrees: 0, ok: true })
})

test('tabs of one profile are different nodes; reloading keeps the node, closing leaves it to the next tab', async () => {
  const a = await world.tab({ options: { signaling: null } })
  const b = await world.tab({ options: { signaling: null }, profile: a })
  const nodeOf = async (tab: typeof a) => (await tab.status()).node
  const [first, second] = [await nodeOf(a), await nodeOf(b)]
  expect(second).not.toBe(first)
  await a.put('k', 'much more than nothing')
  await Promise.all([a.reload(), b.reload()])
  expect([await nodeOf(a), await nodeOf(b)]).toEqual([first, second])
  await b.close()
  const c = await world.tab({ options: { signaling: null }, profile: a })
  expect(await nodeOf(c)).toBe(second)
})

// The slot with the data stayed locked for the page's life: a second attempt became a new node, with nothing.
test('a store that cannot be opened as the registry fails leaves its slot to the next attempt', async () => {
  const tab = await world.tab({ options: { signaling: null } })
  await tab.put('k', 'v')
  const { node } = await tab.status()
  const attempts = await tab.evaluate(async (store, room) => {
    await store.close()
    const open = () => window.tabring.openStore({ room, signaling: null })
    const { get, put } = IDBObjectStore.prototype
    const failing = (method: 'get' | 'put') => {
      IDBObjectStore.prototype[method] = function (this: IDBObjectStore, ...parameters: never[]) {
        if (this.name !== 'slots') return (method === 'get' ? get : put).apply(this, parameters as never)
        Object.assign(IDBObjectStore.prototype, { get, put })
        throw new DOMException('the registry fails', 'UnknownError')
      } as never
      return open().then(String, (error) => error.name)
    }
    const known = await failing('get')
    const again = await open()
    const found = [again.status.node, (await again.get('k')).value]
    // While this one is open, another store has to make a slot.
    const made = await failing('put')
    const { held = [] } = await navigator.locks.query()
    await again.close()
    return { known, found, made, locks: held.length }
  }, world.room)
  expect(attempts).toEqual({ known: 'StorageError', found: [node, 'v'], made: 'StorageError', locks: 1 })
})

// It rejected with the browser's own DOMException.
test('a store that leaves as the registry fails says so, and holds no lock any more', async () => {
  const tab = await world.tab({ options: { signaling: null } })
  const locks = await tab.evaluate(async (store) => {
    const { delete: remove } = IDBObjectStore.prototype
    IDBObjectStore.prototype.delete = function (...parameters) {
      if (this.name !== 'slots') return remove.apply(this, parameters)
      throw new DOMException('the registry fails', 'UnknownError')
    }
    const told = await store.leave().catch(String)
    const { held = [] } = await navigator.locks.query()
    return `${told}; locks: ${held.length}`
  })
  expect(locks).toMatch(/^StorageError: .*the registry fails.*; locks: 0$/)
})

// They shared one note of their slots: each took the other's at every reload, and what it wrote then stood beside what it had written before.
test('a page and a frame in it keep their nodes when they are loaded anew', async () => {
  const tab = await world.tab({ options: { signaling: null } })
  const nodes = async () => {
    const ofFrame = await tab.evaluate(async (_, room) => {
      const frame = document.body.appendChild(document.createElement('iframe')).contentWindow as Window
      const script = frame.document.createElement('script')
      Object.assign(script, { type: 'module', src: document.querySelector('script')?.src })
      const loaded = new Promise((resolve) => script.addEventListener('load', resolve))
      frame.document.head.append(script)
      await loaded
      return (await frame.tabring.openStore({ room, signaling: null })).status.node
    }, world.room)
    return [(await tab.status()).node, ofFrame]
  }
  const before = await nodes()
  await tab.reload()
  expect(await nodes()).toEqual(before)
})

// Firefox refuses it in a page that another site embeds. An event of a bare DOMException came at every look, for as long as the page lived.
test('where the browser does not say who holds locks, no slot is looked into or taken over, and no error told', async () => {
  const tab = await world.tab({ options: { signaling: null, tuning: { adoptAfterMs: 100 } } })
  const other = await world.tab({ options: { signaling: null }, profile: tab })
  const { node } = await other.status()
  await tab.evaluate((store) => {
    window.told = []
    store.addEventListener('error', ({ detail }) => window.told.push(`error: ${detail}`))
    navigator.locks.query = () => {
      window.told.push('looked')
      return Promise.reject(new DOMException('query() is not allowed in this context', 'SecurityError'))
    }
  })
  await other.close()
  await tab.waitFor('several looks', () => window.told.length > 5)
  expect((await tab.get('absent')).value).toBeUndefined()
  expect(new Set(await tab.evaluate(() => window.told))).toEqual(new Set(['looked']))
  await other.open()
  expect((await other.status()).node).toBe(node)
})

test('a copied tab, and a second store in one page, are nodes of their own', async () => {
  const tab = await world.tab({ options: { signaling: null } })
  const open = (room: string) => window.tabring.openStore({ room, signaling: null }).then((store) => store.status.node)
  // What is opened so has a copy of its opener's sessionStorage, the note of its slot among it.
  const [copy] = await Promise.all([
    tab.context.waitForEvent('page'),
    tab.page.evaluate(() => void window.open(location.href)),
  ])
  await copy.waitForFunction(() => window.tabring)
  expect(await copy.evaluate(() => sessionStorage.length)).toBe(1)
  const nodes = [
    (await tab.status()).node,
    await copy.evaluate(open, world.room),
    await tab.page.evaluate(open, world.room),
  ]
  expect(new Set(nodes).size).toBe(3)
})
