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
