/** Conflicts are told once per state, with a warning while there is room left. */
import { expect, test } from 'vitest'
import { type ActorId, storeKey } from '../../src/core/ids.js'
import { EMPTY_CONTAINER, mergeContainers, writtenContainer } from '../../src/core/versions/container.js'
import { EMPTY_CONTEXT } from '../../src/core/versions/context.js'
import { type Conflict, Conflicts } from '../../src/store/conflicts.js'
import { openRing } from '../paper/ring.js'
import { answerOf, passing, storeAt } from './support/stores.js'

test('from so many versions on, a conflict is a warning', () => {
  const told: Conflict[] = []
  const conflicts = new Conflicts(
    () => 0,
    4,
    (conflict) => told.push(conflict),
  )
  const key = storeKey(3, 'carts', '42')
  let container = EMPTY_CONTAINER
  for (let i = 1; i <= 5; i++) {
    const dot = { actor: `node______.actor___${i}` as ActorId, counter: 1 }
    const sibling = { dot, value: new Uint8Array([i]), checksum: 0, expiresAt: 0 }
    container = mergeContainers(container, writtenContainer(EMPTY_CONTEXT, sibling))
    conflicts.look(key, container)
    conflicts.look(key, container)
  }
  expect(told.map(({ siblings, many }) => [siblings, many])).toEqual([
    [2, false],
    [3, false],
    [4, true],
    [5, true],
  ])
})

// Only gets and what came to this node's own disk told of them.
test('a scan that meets a conflict tells of it, once', async () => {
  // Who stands in for a home hears of it from the other ones.
  const ring = await openRing(4, { standInAfterMs: 600_000 })
  const [reader] = ring.others('k')
  const [first, second] = ring.homes('k')
  ring.partition(
    [first],
    ring.tabs.filter((tab) => tab !== first),
  )
  await ring.pass(3000)
  for (const tab of [first, second]) await answerOf(ring, storeAt(tab).store.put('k', tab.id, { w: 1 }))
  const { store } = storeAt(reader)
  const told: Conflict[] = []
  store.addEventListener('conflict', ({ detail }) => told.push(detail))
  ring.heal()
  await passing(ring, 5000)
  expect(told).toEqual([])
  for (let i = 0; i < 2; i++) {
    const scan = store.scan()
    const all = (async () => {
      for await (const { siblings } of scan) expect(siblings.length).toBe(2)
    })()
    await answerOf(ring, all)
  }
  expect(told).toEqual([{ bucket: '', key: 'k', siblings: 2, many: false }])
})
