/** Tabs that are opened and closed within a moment: nobody is to be worse off for it. */
import { expect, test } from 'vitest'
import { nodeOf, openRing } from '../paper/ring.js'

// The others took their empty partitions for ones that the newcomers might have brought something for, and waited for them ten minutes long;
// those of an empty ring did so longest, as all of theirs are empty.
test.each([30, 0].flatMap((keys) => [50, 100, 200, 400, 800].map((ms) => ({ keys, ms }))))(
  'two that close $ms ms after they came to a ring with $keys keys leave it whole',
  async ({ keys, ms }) => {
    const ring = await openRing(3, { partitions: 64 }, { devices: ['one', 'one', 'two'] })
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
    expect(old.map((tab) => nodeOf(tab).duties.filling().length)).toEqual([0, 0, 0])
    for (const key of ['k1', 'never written'])
      for (const tab of old)
        expect(await ring.client(tab).ask(key, { r: 2, strictQuorum: true })).toMatchObject({ met: true })
  },
)
