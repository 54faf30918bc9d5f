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

// Nobody confirmed it, so the update after it began where it had begun: the one fault on top of the other lost both additions.
test('an update builds on the one before it, which this tab could not store and of which no home was heard', async () => {
  const ring = await openRing(3, {}, { quiet: false })
  const [a, b, c] = ring.tabs as [Tab, Tab, Tab]
  const { knobs } = ring.world.network
  const lists = storeAt(a, { buckets: { lists: { merge: orSet() } } }).store.bucket('lists')
  const actor = newActor()
  const add = (element: string) => (list: unknown) => orSetAdd(list as ReturnType<typeof orSetAdd>, actor, element)
  await passing(ring, 5000)
  if (a.storage) a.storage.failing = 'quota'
  // The homes take it, and their answers get lost.
  const deaf = (list: unknown) => {
    knobs.lose = (_, to) => to === a.id
    return add('milk')(list)
  }
  await expect(answerOf(ring, lists.update('todo', deaf))).rejects.toThrow('Another tab may have it')
  if (a.storage) a.storage.failing = undefined
  knobs.lose = undefined
  ring.partition([a], [b, c])
  await passing(ring, 5000)
  await answerOf(ring, lists.update('todo', add('bread')))
  ring.heal()
  await passing(ring, 20_000)
  const { value } = await answerOf(ring, lists.get('todo'))
  expect(orSetValues(value)).toEqual(['bread', 'milk'])
})
