/** A watch whose key was read at a stand-in: what a home has that the stand-in lacks is a change as well, though nobody tells of it. */
import { expect, test } from 'vitest'
import { type Tab, nodeOf, openRing } from '../paper/ring.js'
import { answerOf, passing, storeAt } from './support/stores.js'

test('what only the home has comes once that answers again', async () => {
  const ring = await openRing(3, {}, { knobs: { replication: [3, 1] } })
  const options = { buckets: { single: { n: 1 } } }
  const [homeId] = nodeOf(ring.tab(0)).routing.homes('1/single\0one' as never)
  const home = ring.tabs.find(({ id }) => id === homeId) as Tab
  const [writer, watcher] = ring.tabs.filter((tab) => tab !== home) as [Tab, Tab]
  await answerOf(ring, storeAt(home, options).store.bucket('single').put('one', 'at home'))
  // The home has it, and the writer does not hear of that.
  ring.world.network.block(home.id, writer.id)
  await answerOf(ring, storeAt(writer, options).store.bucket('single').put('one', 'at both'))
  ring.world.freeze(home)
  const seen: string[] = []
  storeAt(watcher, options)
    .store.bucket('single')
    .subscribe('one', ({ siblings }) => {
      seen.push(siblings.sort().join())
    })
  await passing(ring, 1000)
  ring.world.thaw(home)
  await passing(ring, 60_000)
  expect(seen).toEqual(['at both', 'at both,at home'])
})
