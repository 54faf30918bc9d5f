/** A node whose database is deleted under it goes on: as the same node with a new epoch, and its replicas come back from the others. */
import { expect, test } from 'vitest'
import type { Tab } from './support/tab.js'
import { useWorld } from './support/world.js'

const world = useWorld()

/** Every database of the profile, the registry included, as a user does who clears the site's data. */
function deleteAll(tab: Tab): Promise<void> {
  return tab.evaluate(async () => {
    const all = await indexedDB.databases()
    await Promise.all(
      all.map(
        ({ name }) =>
          new Promise<void>((resolve, reject) => {
            const request = indexedDB.deleteDatabase(name ?? '')
            request.onsuccess = () => resolve()
            request.onerror = () => reject(request.error)
          }),
      ),
    )
  })
}

test('deleteDatabase under a running node: a new epoch, healed by its replicas, no version written twice', async () => {
  const [a, b, c] = (await world.ring(3)) as [Tab, Tab, Tab]
  await a.evaluate(async (store) => {
    await store.putMany(Array.from({ length: 200 }, (_, i) => [`k${i}`, i] as const))
    await store.flush()
  })
  const before = await a.status()
  await a.evaluate((store) => {
    window.lost = new Promise((resolve) => store.addEventListener('error', ({ detail }) => resolve(String(detail))))
  })
  await deleteAll(a)
  expect(await a.evaluate(() => window.lost)).toContain('deleted from outside')
  // At once, nothing is 'absent' that the others have; and it takes writes.
  expect((await a.get('k7')).value).toBe(7)
  const receipts = await a.evaluate(async (store) => {
    const own = await store.put('k8', 'after')
    const other = await store.put('new', 'also after')
    return [own.quorum.met, other.quorum.met]
  })
  expect(receipts).toEqual([true, true])
  await a.waitFor('its replicas', (store) => store.status.keysHeld === 201 && store.status.partitionsFilling === 0)
  expect((await a.status()).node).toBe(before.node)
  const writersOf = (key: string) =>
    b.evaluate(
      async (store, asked) => [
        ...new Set((await store.trace(asked)).homes.flatMap(({ versions }) => versions.map(({ actor }) => actor))),
      ],
      key,
    )
  const [epoch, former] = [await writersOf('k8'), await writersOf('k9')]
  expect([epoch.length, former.length]).toEqual([1, 1])
  expect(epoch).not.toEqual(former)
  for (const actor of [...epoch, ...former]) expect(actor).toContain(before.node)
  for (const tab of [a, b, c]) {
    expect((await tab.get('k8')).siblings).toEqual(['after'])
    expect((await tab.get('new')).siblings).toEqual(['also after'])
  }
  // On its own disk, and for the next time the tab is opened.
  await a.evaluate((store) => window.tabring.faults(store).cut())
  const right = () =>
    a.evaluate(async (store) => {
      const entries = await store.getMany(Array.from({ length: 200 }, (_, i) => `k${i}`))
      return entries.filter(({ value }, i) => value === (i === 8 ? 'after' : i)).length
    })
  expect(await right()).toBe(200)
  await a.reload()
  expect((await a.status()).node).toBe(before.node)
  expect(await right()).toBe(200)
  expect(await a.evaluate((store) => store.verify())).toMatchObject({ ok: true })
})

// Nobody listened yet: the application heard nothing, the registry did not know the node any more, and it denied what it had.
test('a disk that is deleted, with all site data, while its store opens: the store opens, tells of it, and is the same node later', async () => {
  const tab = await world.tab({ options: { signaling: null } })
  await tab.put('k', 'v')
  const { node } = await tab.status()
  const [opened, told, later] = await tab.evaluate(async (store, room) => {
    await store.close()
    const { transaction } = IDBDatabase.prototype
    IDBDatabase.prototype.transaction = function (...parameters) {
      const tx = transaction.apply(this, parameters)
      if (!tx.objectStoreNames.contains('copies')) return tx
      IDBDatabase.prototype.transaction = transaction
      // What is there is still loaded, and then the connection is gone.
      this.close()
      for (const name of [this.name, 'tabring']) indexedDB.deleteDatabase(name)
      return tx
    }
    const first = await window.tabring.openStore({ room, signaling: null })
    const error = await new Promise<unknown>((resolve) =>
      first.addEventListener('error', ({ detail }) => resolve(detail)),
    )
    await first.put('k', 'w')
    await first.close()
    const second = await window.tabring.openStore({ room, signaling: null })
    const entry = await second.get('k')
    const found = { node: second.status.node, siblings: entry.siblings }
    await second.close()
    return [first.status.node, String(error), found] as const
  }, world.room)
  expect(told).toContain('deleted from outside')
  expect(opened).toBe(node)
  expect(later).toEqual({ node, siblings: ['w'] })
})

test('what no other node has yet is not lost with the disk, as long as it is in memory', async () => {
  const [a, b] = (await world.ring(2)) as [Tab, Tab]
  await a.evaluate((store) => window.tabring.faults(store).cut())
  await b.waitFor('the cut', (store) => store.status.peers === 0)
  for (let i = 0; i < 20; i++) await a.put(`alone${i}`, i)
  await a.evaluate((store) => {
    window.lost = new Promise((resolve) => store.addEventListener('error', ({ detail }) => resolve(String(detail))))
  })
  await deleteAll(a)
  expect(await a.evaluate(() => window.lost)).toContain('deleted from outside')
  await a.waitFor('its own writes', (store) => store.status.keysHeld === 20)
  expect((await a.status()).synced).toBe(false)
  await a.evaluate((store) => window.tabring.faults(store).heal())
  await a.evaluate((store) => store.flush())
  for (let i = 0; i < 20; i++) expect((await b.get(`alone${i}`)).siblings).toEqual([i])
  await a.reload()
  for (let i = 0; i < 20; i++) expect((await a.get(`alone${i}`)).siblings).toEqual([i])
})

test('a closed tab whose database is deleted is recognised when it is opened: the same node, a new epoch, healed', async () => {
  const [a, b] = (await world.ring(2)) as [Tab, Tab]
  const blank = await a.context.newPage()
  await blank.goto(world.url)
  await a.evaluate(async (store) => {
    await store.putMany(Array.from({ length: 100 }, (_, i) => [`k${i}`, i] as const))
    await store.flush()
  })
  const { node } = await a.status()
  const first = await b.evaluate(async (store) => (await store.trace('k1')).homes[0]?.versions[0]?.actor)
  await a.close()
  // Only the node's own: the registry still knows whose it was.
  await blank.evaluate(async (name) => {
    const mine = (await indexedDB.databases()).find((database) => database.name?.includes(name))
    await new Promise((resolve, reject) => {
      const request = indexedDB.deleteDatabase(mine?.name ?? '')
      request.onsuccess = resolve
      request.onerror = () => reject(request.error)
    })
  }, node)
  await a.open()
  expect((await a.status()).node).toBe(node)
  await a.ready(1)
  // It has nothing of its own that would say 'absent'.
  expect((await a.get('k1')).value).toBe(1)
  await a.put('k1', 'after')
  const second = await b.evaluate(async (store) => (await store.trace('k1')).homes[0]?.versions[0]?.actor)
  expect(second).toContain(node)
  expect(second).not.toBe(first)
  await a.waitFor('its replicas', (store) => store.status.keysHeld === 100 && store.status.partitionsFilling === 0)
  expect((await a.get('k1')).siblings).toEqual(['after'])
  expect((await b.get('k1')).siblings).toEqual(['after'])
  await blank.close()
})
