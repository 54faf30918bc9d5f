/** Closed tabs are adopted; what interrupts that. */
import { expect, test } from 'vitest'
import { nodeOf, openRing } from '../paper/ring.js'

// It waited for a turn that a stopped node never gets: the store never closed, and the closed tab's disk stayed locked.
test('an adoption ends with its adopter', async () => {
  const ring = await openRing(5, { batchKeys: 2 })
  for (let i = 0; i < 200; i++) await ring.client(ring.tab(i % 5)).put(`k${i}`, 'value', { w: 3 })
  const [adopter, orphan] = [ring.tab(0), ring.tab(3)]
  ring.crash(orphan)
  let ended: unknown
  const node = nodeOf(adopter)
  void ring.world.adopt(adopter, node, orphan).then(
    () => {
      ended = 'done'
    },
    (error) => {
      ended = error
    },
  )
  await ring.pass(50)
  void node.stop()
  await ring.pass(1000)
  expect(ended).toMatchObject({ name: 'StorageFailure', kind: 'closed' })
})
