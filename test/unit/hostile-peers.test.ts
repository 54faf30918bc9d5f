/** What no honest peer sends: it costs the sender, and nobody's disk, memory or place in the ring. */
import { expect, test } from 'vitest'
import type { Partition, StoreKey } from '../../src/core/ids.js'
import type { Message } from '../../src/core/messages.js'
import { type Ring, type Tab, named, nodeOf, openRing, replicaAt } from '../paper/ring.js'

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

// It was banned for ever, also after it was opened again, and its own list of members did not pass its own check.
test('one message cannot ban a member: it stays placed, also when it is opened again, and it can leave', async () => {
  const ring = await openRing(4)
  const [liar, victim, ...others] = ring.tabs as [Tab, Tab, ...Tab[]]
  const { self } = nodeOf(victim).membership
  const members = [{ ...self, incarnation: 2 ** 48, state: 'left' as const }]
  for (const { id } of [victim, ...others])
    nodeOf(liar).peers.notify(id, { type: 'Members', empty: undefined, members }, 'foreground')
  await ring.pass(5000)
  expect(ring.isWhole()).toBe(true)
  await ring.world.close(victim)
  await ring.reopen(victim)
  await ring.until('one ring', () => ring.isWhole())
  await ring.leave(victim)
  await ring.until('it has left', () => others.every((tab) => !nodeOf(tab).membership.placed().includes(victim.id)))
})

test('a newcomer that was told so believes the member itself', async () => {
  const ring = await openRing(3)
  const [liar, victim] = ring.tabs as [Tab, Tab]
  const newcomer = ring.world.addPlace()
  ring.partition([victim, ring.tab(2)], [newcomer])
  const { self } = nodeOf(victim).membership
  nodeOf(liar).peers.events.on('up', (node) => {
    const members = [{ ...self, incarnation: 2 ** 48, state: 'left' as const }]
    nodeOf(liar).peers.notify(node, { type: 'Members', empty: undefined, members }, 'foreground')
  })
  await ring.reopen(newcomer)
  await ring.pass(3000)
  ring.heal()
  await ring.until('one ring', () => ring.isWhole())
})

// It was remembered until the link went down, for any number that a frame can hold.
test('what a peer lacks of partitions that this node has no part in is not remembered', async () => {
  const ring = await openRing(2)
  const [tab, peer] = ring.tabs as [Tab, Tab]
  const { duties, transfers } = nodeOf(tab)
  const [own] = duties.held() as [Partition]
  const foreign = (50 * 16) as Partition
  const message: Message = { type: 'AskComplete', partitions: [own, foreign] }
  const reply = await ring.await(nodeOf(peer).peers.request(tab.id, message, 1000))
  expect(reply).toMatchObject({ type: 'Complete', partitions: [own] })
  expect([own, foreign].map((partition) => transfers.isMoving(peer.id, partition))).toEqual([true, false])
})

// It was asked for ever, and nobody else was compared with any more.
test('a comparison ends where a peer sends what it was not asked for', async () => {
  const { ring, tab, liar } = await differing()
  const entries: [StoreKey, Uint8Array][] = [[named('unasked'), anyContainer(ring)]]
  nodeOf(liar).peers.handle('Fetch', () => ({ type: 'Entries', entries, cursor: undefined }))
  expect(await compared(ring, tab, liar)).toMatchObject({ complete: true })
})

// It failed here, and with it all that was being fetched from others at the time.
test('a comparison goes on where a peer lists a key without its digest', async () => {
  const { ring, tab, liar } = await differing()
  const entries: [StoreKey, Uint8Array][] = [[named('k'), new Uint8Array(0)]]
  nodeOf(liar).peers.handle('ListLeaves', () => ({ type: 'KeyDigests', entries, whole: true }))
  await compared(ring, tab, liar)
  expect(replicaAt(tab, 'k')).toEqual(['new'])
})

/** Two homes of a key, of which one has an older version. */
async function differing(): Promise<{ ring: Ring; tab: Tab; liar: Tab }> {
  const ring = await openRing(2, { merkleSync: false, hintedHandoff: false })
  const [tab, liar] = ring.tabs as [Tab, Tab]
  const client = ring.client(liar)
  await client.put('k', 'old')
  ring.partition([tab], [liar])
  await client.put('k', 'new', { w: 1 })
  ring.heal()
  await ring.until('one ring', () => ring.isWhole())
  return { ring, tab, liar }
}

function compared(ring: Ring, tab: Tab, peer: Tab) {
  const { exchange, duties } = nodeOf(tab)
  return ring.await(exchange.with(peer.id, duties.held(), { kind: 'sync', settle: false, give: true }))
}

/** Any container that is on a disk. */
function anyContainer({ tabs }: Ring): Uint8Array {
  for (const { disk } of tabs) for (const { container } of disk.records.values()) return container
  throw new Error('nothing was stored')
}
