/** Tabs that are opened and closed within a moment: nobody is to be worse off for it. */
import { expect, test } from 'vitest'
import { replicationOf } from '../../src/core/ring/partitions.js'
import { type Tab, nodeOf, openRing } from '../paper/ring.js'

// The others took their empty partitions for ones that the newcomers might have brought something for, and waited for them ten minutes long;
// those of an empty ring did so longest, as all of theirs are empty.
// And with a bucket of one copy each, every tab of these counted as their founder for ever: what others became the homes of, it had never compared.
test.each(
  [30, 0].flatMap((keys) =>
    [50, 100, 200, 400, 800].flatMap((ms) => [[3], [3, 1]].map((replication) => ({ keys, ms, replication }))),
  ),
)(
  'two that close $ms ms after they came to a ring with $keys keys leave it whole (n = $replication)',
  async ({ keys, ms, replication }) => {
    const ring = await openRing(3, { partitions: 64 }, { devices: ['one', 'one', 'two'], knobs: { replication } })
    const old = [...ring.tabs]
    for (let i = 0; i < keys; i++) await ring.client(ring.tab(i % 3)).put(`k${i}`, 'value', { w: 3 })
    const visitors = [0, 1].map(() => ring.world.addPlace({ device: 'three' }))
    for (const tab of visitors) {
      ring.world.begin(tab)
      await ring.pass(100)
    }
    await ring.pass(ms)
    ring.crash(...visitors)
    await ring.pass(20_000)
    // The one copy that a newcomer was to have may be with it.
    const filling = (tab: Tab) =>
      nodeOf(tab)
        .duties.filling()
        .filter((partition) => replicationOf(partition, 64) === 3)
    expect(old.map(filling)).toEqual([[], [], []])
    for (const key of ['k1', 'never written'])
      for (const tab of old)
        expect(await ring.client(tab).ask(key, { r: 2, strictQuorum: true })).toMatchObject({ met: true })
  },
)
