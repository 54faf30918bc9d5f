/** What bit rot, or a stranger with a connection of its own, does to a node's database costs the damaged rows, and those only until other homes are asked. */
import { expect, test } from 'vitest'
import type { Tab } from './support/tab.js'
import { useWorld } from './support/world.js'

const world = useWorld()

const KEYS = Array.from({ length: 30 }, (_, i) => `k${i}`)

async function fill(tab: Tab): Promise<void> {
  await tab.evaluate(async (store, keys) => {
    await store.putMany(keys.map((key) => [key, `${key} 1`] as const))
    await store.flush()
  }, KEYS)
}

const verify = (tab: Tab, repair: boolean) => tab.evaluate((store, asked) => store.verify({ repair: asked }), repair)

// A row that the tab had in memory was never fetched again: the hole in the disk could not be seen behind it.
test('rows that are deleted under an open tab come back from the others', async () => {
  const [writer, replica] = (await world.ring(3)) as [Tab, Tab, Tab]
  await fill(writer)
  for (const [tab, deleted] of [
    [writer, 'k7'],
    [replica, 'k7'],
    [writer, ''],
    [replica, ''],
  ] as const) {
    await tab.evaluate(
      (store, end) =>
        window.tabring.changeRows(store.status.node, 'records', (_, key) => (key.endsWith(end) ? null : undefined)),
      deleted,
    )
    expect(await verify(tab, true)).toMatchObject({ corrupt: [], ok: true })
    expect(await tab.evaluate((store) => window.tabring.countRows(store.status.node, 'records'))).toBe(30)
    expect(await verify(tab, false)).toMatchObject({ records: 30, wrongTrees: 0, ok: true })
  }
})

/** 'k1' to something that is no record at all, 'k2' to a record whose container is text. */
async function misshapeRecords(tab: Tab): Promise<void> {
  await tab.evaluate((store) =>
    window.tabring.changeRows(store.status.node, 'records', (row, key) => {
      if (key.endsWith('\0k1')) return { x: 1 }
      if (key.endsWith('\0k2')) return { ...row, c: 'text' }
      return undefined
    }),
  )
}

// They were a TypeError out of verify, scan and trace, or nothing at all out of a get.
test('records of another shape are damaged records: read from the others, and healed', async () => {
  const tabs = (await world.ring(3)) as [Tab, Tab, Tab]
  const [tab, writer] = tabs
  await fill(writer)
  // A scan is complete only where some home is.
  for (const one of tabs) await one.waitFor('its partitions', (store) => store.status.partitionsFilling === 0)
  // After a reload no record is in memory.
  await tab.reload()
  await tab.ready(2)
  await misshapeRecords(tab)
  expect(await verify(tab, false)).toMatchObject({ corrupt: ['k1', 'k2'], healed: 0, ok: false })
  const scanned = await tab.evaluate(async (store) => {
    const scan = store.scan()
    let count = 0
    for await (const { value } of scan) if (value) count++
    return [count, scan.complete]
  })
  expect(scanned).toEqual([30, true])
  for (const key of ['k1', 'k2']) expect((await tab.get(key)).value).toBe(`${key} 1`)
  expect(await verify(tab, true)).toMatchObject({
    wrongTrees: 0,
    peers: [{ differing: 0 }, { differing: 0 }],
    ok: true,
  })
  expect(await verify(tab, false)).toMatchObject({ records: 30, corrupt: [], wrongTrees: 0, ok: true })
})

test('alone, a record of another shape is never absent: reading it is a StorageError, also after a repair in vain', async () => {
  const tab = await world.tab({ options: { signaling: null } })
  await fill(tab)
  await tab.reload()
  await misshapeRecords(tab)
  const corrupt = (work: Promise<unknown>) => expect(work).rejects.toThrow(/StorageError/)
  for (let i = 0; i < 2; i++) {
    for (const key of ['k1', 'k2']) {
      await corrupt(tab.get(key))
      const { homes } = await tab.evaluate((store, asked) => store.trace(asked), key)
      expect(homes).toMatchObject([{ holds: false, failure: 'unreadable' }])
    }
    expect(await verify(tab, true)).toMatchObject({ corrupt: ['k1', 'k2'], healed: 0, ok: false })
    await tab.reload()
  }
  await tab.put('k1', 'new')
  expect((await tab.get('k1')).siblings).toEqual(['new'])
  expect(await verify(tab, true)).toMatchObject({ records: 30, corrupt: ['k2'] })
})

/** Closes the tab's store, has its rows changed, opens it again. @returns the first error that it tells of, if it does within a second. */
function reopenDamaged(tab: Tab, store: 'hints' | 'leaves' | 'journal'): Promise<string> {
  return tab.evaluate(async ({ status }, name) => {
    const { room, node } = status
    await window.store.close()
    const db = await window.tabring.openDatabaseOf(node)
    if (name === 'hints') await db.put(name, { q: 1 }, '3\0\0k3')
    else await db.put(name, { x: 1 }, 4000)
    db.close()
    await window.tabring.changeRows(node, name, () => (name === 'hints' ? { q: 1 } : { x: 1 }))
    window.store = await window.tabring.openStore({ room, signaling: null })
    if (window.store.status.node !== node) throw new Error('another node')
    return new Promise<string>((resolve) => {
      setTimeout(() => resolve('nothing'), 1000)
      window.store.addEventListener('error', ({ detail }) => resolve(String(detail)))
    })
  }, store)
}

const here = <T>(tab: Tab, work: string) => tab.page.evaluate<T>(`(async (store) => ${work})(window.store)`)

// It was a TypeError out of openStore, for every tab of the profile.
test('a hint of another shape is dropped when the store opens, which says so', async () => {
  const tab = await world.tab({ options: { signaling: null } })
  await fill(tab)
  expect(await reopenDamaged(tab, 'hints')).toMatch(/StorageError.*hint/)
  expect(await here(tab, "window.tabring.countRows(store.status.node, 'hints')")).toBe(0)
  expect(await here(tab, 'store.status.hintsPending')).toBe(0)
  expect(await here(tab, "store.get('k3').then(({ value }) => value)")).toBe('k3 1')
})

// openStore could not be called any more, though all that was lost can be counted anew.
test.each(['leaves', 'journal'] as const)('%s of another shape are made anew from the records', async (name) => {
  const tab = await world.tab({ options: { signaling: null } })
  await fill(tab)
  for (let i = 0; i < 2; i++) {
    expect(await reopenDamaged(tab, name)).toMatch(/StorageError.*Merkle/)
    expect(await here(tab, 'store.status.keysHeld')).toBe(30)
    expect(await here(tab, "store.get('k3').then(({ value }) => value)")).toBe('k3 1')
    expect(await here(tab, 'store.verify()')).toMatchObject({ records: 30, wrongTrees: 0, ok: true })
  }
})

// Each was a TypeError out of openStore, for every tab of the profile.
test.each(['hints', 'copies', 'records'] as const)(
  'a row of %s whose key is no text keeps no store from opening',
  async (name) => {
    const tab = await world.tab({ options: { signaling: null } })
    await fill(tab)
    const found = await tab.evaluate(async (store, rows) => {
      const { room, node } = store.status
      await store.close()
      const db = await window.tabring.openDatabaseOf(node)
      const container = new Uint8Array(3)
      await db.put(
        rows,
        { hints: { homes: [], own: true, container }, copies: container, records: { c: container } }[rows],
        7,
      )
      // The leaves are made anew from the records.
      await db.put('journal', { x: 1 }, 4000)
      db.close()
      const again = await window.tabring.openStore({ room, signaling: null })
      const { value } = await again.get('k3')
      const { hintsPending, keysHeld } = again.status
      return { node: again.status.node === node, value, hintsPending, keysHeld, ok: (await again.verify()).ok }
    }, name)
    expect(found).toEqual({ node: true, value: 'k3 1', hintsPending: 0, keysHeld: 30, ok: true })
  },
)
