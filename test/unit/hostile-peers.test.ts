/** What no honest peer sends: it costs the sender, and nobody's disk, memory or place in the ring. */
import { expect, test } from 'vitest'
import type { StoreKey } from '../../src/core/ids.js'
import { type Ring, type Tab, nodeOf, openRing } from '../paper/ring.js'

// It could not be placed: whoever held it failed at each change of the placement, and could not leave.
test('a hint for what is no key, on a disk from before, keeps nobody from delivering the others, or from leaving', async () => {
  const ring = await openRing(4)
  const [holder, home] = ring.tabs as [Tab, Tab]
  await ring.client(holder).put('k', 'there', { w: 3 })
  const container = anyContainer(ring)
  await ring.world.close(holder)
  holder.disk.hints.set('garbage' as StoreKey, { homes: [home.id], own: false, container })
  await ring.reopen(holder)
  await ring.until('one ring', () => ring.isWhole())
  await ring.pass(5000)
  expect(nodeOf(holder).replica.hints.pending).toBe(0)
  await ring.leave(holder)
  await ring.until('it has left', () => !nodeOf(home).membership.placed().includes(holder.id))
})

test('an orphan that holds a hint for what is no key is adopted all the same', async () => {
  const ring = await openRing(4)
  const [adopter, orphan] = [ring.tab(0), ring.tab(3)]
  await ring.client(adopter).put('k', 'there', { w: 3 })
  await ring.world.close(orphan)
  orphan.disk.hints.set('garbage' as StoreKey, { homes: [adopter.id], own: true, container: anyContainer(ring) })
  await ring.adopt(adopter, orphan)
  await ring.until('one ring', () => ring.isWhole())
})

/** Any container that is on a disk. */
function anyContainer({ tabs }: Ring): Uint8Array {
  for (const { disk } of tabs) for (const { container } of disk.records.values()) return container
  throw new Error('nothing was stored')
}
