/** Hints on their way to where they belong. */
import { expect, test } from 'vitest'
import { type ActorId, storeKey } from '../../src/core/ids.js'
import { writtenContainer } from '../../src/core/versions/container.js'
import { EMPTY_CONTEXT } from '../../src/core/versions/context.js'
import { nodeOf, openRing } from '../paper/ring.js'

const KEY = storeKey(3, '', 'k')

function version(counter: number) {
  const dot = { actor: 'someone000.1' as ActorId, counter }
  return writtenContainer(EMPTY_CONTEXT, { dot, value: new Uint8Array([counter]), checksum: 0, expiresAt: 0 })
}

// A put that was written down between the reading of the row and its removal was confirmed, and then gone.
test('a hint that has become a record goes, and what was added to it meanwhile stays', async () => {
  const ring = await openRing(4)
  const [, away] = ring.homes('k')
  const [stranger] = ring.others('k')
  const { replica } = nodeOf(stranger)
  const hint = { asRecord: false, hintFor: [away.id], own: true, durability: 'strict', maxSiblings: 0 } as const
  await ring.await(replica.store([{ key: KEY, container: version(1) }], hint))
  await ring.await(replica.store([{ key: KEY, container: version(2) }], hint))
  await ring.await(replica.retargetHint(KEY, [], version(1)))
  expect(replica.hints.homesOf(KEY)).toEqual([away.id])
  const [container] = await ring.await(replica.read([KEY]))
  await ring.await(replica.retargetHint(KEY, [], container))
  expect(replica.hints.has(KEY)).toBe(false)
})

// All homes stood in the receipt: the outbox of a tab that is no home has a hint for each.
test('a receipt names the homes that need a hint, and none that the put itself is on its way to', async () => {
  const ring = await openRing(4)
  const [stranger] = ring.others('k')
  const [, , third] = ring.homes('k')
  expect((await ring.client(stranger).put('k', '1', { w: 2 })).hintedFor).toEqual([])
  ring.crash(third)
  await ring.until('its absence to be seen', () => !nodeOf(stranger).peers.isReachable(third.id))
  expect((await ring.client(stranger).put('k', '2', { w: 2 })).hintedFor).toEqual([third.id])
})
