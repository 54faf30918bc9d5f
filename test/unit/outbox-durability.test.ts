/** A tab that is no home of a key: what it was promised is flushed stays so when its outbox has done its work. */
import { expect, test } from 'vitest'
import { hintAt, openRing, replicaAt } from '../paper/ring.js'

// The outbox was the only flushed copy, and was given up for copies of which a power cut takes all.
test('a put outlives a power cut of all homes, once they have confirmed it', async () => {
  const ring = await openRing(4)
  const [writer] = ring.others('k')
  await ring.client(writer).put('k', 'value', { w: 3 })
  await ring.pass(1000)
  expect(hintAt(writer, 'k')).toBe(undefined)
  for (const home of ring.homes('k')) ring.world.cutPower(home)
  expect(ring.tabs.filter((tab) => replicaAt(tab, 'k').length > 0).length).toBeGreaterThan(0)
})
