/** Conflicts are told once per state, with a warning while there is room left. */
import { expect, test } from 'vitest'
import { type ActorId, storeKey } from '../../src/core/ids.js'
import { EMPTY_CONTAINER, mergeContainers, writtenContainer } from '../../src/core/versions/container.js'
import { EMPTY_CONTEXT } from '../../src/core/versions/context.js'
import { type Conflict, Conflicts } from '../../src/store/conflicts.js'

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
