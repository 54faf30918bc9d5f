/** Tabs with other room parameters keep apart, and each of them is told why. */
import { expect, test } from 'vitest'
import { openRing } from '../paper/ring.js'
import { passing, storeAt } from './support/stores.js'

// Both Hellos of a peer say so, that to greet and that to answer.
test('of a peer with other room parameters a tab is told once', async () => {
  const ring = await openRing(1)
  const { errors } = storeAt(ring.tab(0))
  await ring.world.start(ring.world.addPlace({ config: 'another room' }))
  await passing(ring, 10_000)
  expect(errors).toMatchObject([{ name: 'ConfigMismatchError', message: expect.stringContaining('another room') }])
})
