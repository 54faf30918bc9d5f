/** What the tombstone of expired values replaces. */
import { expect, test } from 'vitest'
import type { ActorId } from '../../src/core/ids.js'
import { expiredContext } from '../../src/core/sync/scrub.js'
import { type Container, type Sibling, mergeContainers, writtenContainer } from '../../src/core/versions/container.js'
import { EMPTY_CONTEXT, covers } from '../../src/core/versions/context.js'

const [A, B] = ['node_a____.AAAAAAAA', 'node_b____.BBBBBBBB'] as [ActorId, ActorId]
const [former, latest, beside] = [
  { actor: A, counter: 1 },
  { actor: A, counter: 2 },
  { actor: B, counter: 1 },
]

function sibling(dot: Sibling['dot'], expiresAt: number): Sibling {
  return { dot, value: new Uint8Array(1), checksum: 0, expiresAt }
}

/** `latest`, which has replaced `former`. */
function replaced(expiresAt: number): Container {
  const first = writtenContainer(EMPTY_CONTEXT, sibling(former, 0))
  return writtenContainer(first.context, sibling(latest, expiresAt))
}

const covered = (container: Container) =>
  [former, latest, beside].map((dot) => covers(expiredContext(container, 1000), dot))

// What it had replaced came back from a tab that had never seen the expired version.
test('of a version that stands alone, also what that had replaced', () => {
  expect(covered(replaced(1000))).toEqual([true, true, false])
})

test('of a version beside others, only itself: who knows which of them has replaced what', () => {
  const other = writtenContainer(EMPTY_CONTEXT, sibling(beside, 0))
  expect(covered(mergeContainers(replaced(1000), other))).toEqual([false, true, false])
})

test('nothing, where nothing has expired or nothing is shown', () => {
  expect(covered(replaced(1001))).toEqual([false, false, false])
  expect(covered({ siblings: [], context: replaced(1000).context })).toEqual([false, false, false])
})
