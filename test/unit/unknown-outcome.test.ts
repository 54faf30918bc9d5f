/** A strict put that too few homes confirmed rejects, and is somewhere all the same. */
import { expect, test } from 'vitest'
import { newActor, orSet, orSetAdd, orSetValues } from '../../src/merge/index.js'
import { type Tab, openRing } from '../paper/ring.js'
import { answerOf, passing, storeAt } from './support/stores.js'

// The second update began where the first one had begun. So their additions had one name for two elements, and the merge takes both for removed.
test('an update builds on the one before it, whose outcome is unknown and which only a home has that is away now', async () => {
  const ring = await openRing(3, {}, { quiet: false })
  const [a, b, c] = ring.tabs as [Tab, Tab, Tab]
  const lists = storeAt(a, { buckets: { lists: { merge: orSet() } } }).store.bucket('lists')
  const actor = newActor()
  const add = (element: string) => (list: unknown) => orSetAdd(list as ReturnType<typeof orSetAdd>, actor, element)
  ring.partition([c], [a, b])
  if (a.storage) a.storage.failing = 'quota'
  await passing(ring, 5000)
  await expect(answerOf(ring, lists.update('todo', add('milk'), { quorum: 'strict' }))).rejects.toThrow(
    'outcome is unknown',
  )
  if (a.storage) a.storage.failing = undefined
  ring.partition([a], [b])
  await passing(ring, 5000)
  await answerOf(ring, lists.update('todo', add('bread')))
  ring.heal()
  await passing(ring, 20_000)
  const { value } = await answerOf(ring, lists.get('todo'))
  expect(orSetValues(value)).toEqual(['bread', 'milk'])
})
