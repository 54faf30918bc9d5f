/** A disk that fails under a request of another node: that node is told, at once (P41). */
import { expect, test } from 'vitest'
import type { Partition } from '../../src/core/ids.js'
import type { Message } from '../../src/core/messages.js'
import { named, nodeOf, openRing } from '../paper/ring.js'
import { answerOf, passing, storeAt } from './support/stores.js'

const partition = 0 as Partition

// Those of Merkle sync were silence, and each waited ten seconds for it.
test.each<Message>([
  { type: 'Read', key: named('k'), full: true },
  { type: 'Fetch', keys: [named('k')] },
  { type: 'Scan', from: named('a'), to: named('z'), limit: 10, reverse: false },
  { type: 'ListLeaves', leaves: [[partition, 0]] },
  { type: 'CheckKeys', keys: [named('k')] },
  { type: 'FetchPartitions', partitions: [partition], after: undefined },
  { type: 'Reap', entries: [[named('k'), new Uint8Array(8)]], commit: false, left: undefined },
])('$type is answered by Failed when the disk fails', async (message) => {
  const ring = await openRing(2, {}, { quiet: false })
  const [asker, asked] = [ring.tab(0), ring.tab(1)]
  await ring.client(asker).put('k', 'there', { w: 2 })
  if (!asked.storage) throw new Error('it is open')
  asked.storage.failingReads = 'unavailable'
  const start = ring.world.time.now
  const reply = await ring.await(nodeOf(asker).peers.request(asked.id, message, 10_000, 'background'))
  expect(reply).toEqual({ type: 'Failed', kind: 'unavailable' })
  expect(ring.world.time.now - start).toBeLessThan(500)
  expect(ring.world.errors.length).toBeGreaterThan(0)
})

// It was kept as a copy of what passes through here, and shown as if somebody had it.
test('a put that rejected, as nobody has taken it, is shown by no get', async () => {
  const ring = await openRing(5, {}, { quiet: false })
  const [stranger] = ring.others('k')
  ring.partition(
    [stranger],
    ring.tabs.filter((tab) => tab !== stranger),
  )
  await ring.pass(10_000)
  const { store } = storeAt(stranger)
  if (!stranger.storage) throw new Error('it is open')
  stranger.storage.failingOnce = 'unknown'
  await expect(answerOf(ring, store.put('k', 'nobody took it'))).rejects.toThrow('The database failed')
  await passing(ring, 2000)
  expect((await answerOf(ring, store.get('k'))).value).toBeUndefined()
})

// Nobody was told: the calls resolved by what others confirmed.
test('a tab whose own disk is full says so, once a minute, also where its puts resolve', async () => {
  const ring = await openRing(3, {}, { quiet: false })
  const tab = ring.tab(0)
  const { store, errors } = storeAt(tab)
  if (!tab.storage) throw new Error('it is open')
  tab.storage.failing = 'quota'
  for (let i = 0; i < 5; i++) {
    const { acks } = await answerOf(ring, store.put(`k${i}`, 'value'))
    expect([acks.length > 0, acks.includes(tab.id)]).toEqual([true, false])
  }
  expect(errors).toMatchObject([{ name: 'StorageError', reason: 'quota' }])
})
