/** Closed tabs are adopted; what interrupts that. */
import { describe, expect, test } from 'vitest'
import { type StoreKey, storeKey } from '../../src/core/ids.js'
import { shapes } from '../../src/core/messages.js'
import { EMPTY_CONTEXT } from '../../src/core/versions/context.js'
import { handEverythingOver } from '../../src/store/leave.js'
import { type Ring, type Tab, containerAt, hintAt, nodeOf, openRing, textsOf } from '../paper/ring.js'
import type { WorldKnobs } from '../sim/world.js'

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

describe('a tab that leaves while it adopts', () => {
  /** A ring with a closed tab whose outbox has the only copies of these keys. */
  async function withOrphan(
    knobs: Partial<WorldKnobs> = {},
  ): Promise<{ ring: Ring; leaver: Tab; orphan: Tab; keys: string[] }> {
    const ring = await openRing(6, { batchKeys: 5 }, { quiet: false, knobs })
    const [leaver, orphan] = [ring.tab(0), ring.tab(5)]
    const keys = Array.from({ length: 40 }, (_, i) => `k${i}`).filter((key) => !ring.homes(key).includes(orphan))
    for (const other of ring.tabs) if (other !== orphan) ring.world.network.cut(orphan.id, other.id)
    await ring.pass(2500)
    for (const key of keys) await ring.client(orphan).put(key, key)
    ring.crash(orphan)
    ring.heal()
    await ring.pass(65_000)
    return { ring, leaver, orphan, keys }
  }

  /** Keys that no other disk has once that of the leaver is deleted. */
  function lostWith(leaver: Tab, ring: Ring, keys: string[]): string[] {
    const others = ring.tabs.filter((tab) => tab !== leaver)
    const isAt = (tab: Tab, key: string) =>
      textsOf(containerAt(tab, key)).includes(key) || hintAt(tab, key)?.texts.includes(key)
    return keys.filter((key) => !others.some((tab) => isAt(tab, key)))
  }

  const timeToLeave = async () => {
    const { ring, leaver } = await withOrphan()
    const began = ring.world.time.now
    await ring.await(handEverythingOver(nodeOf(leaver)))
    return ring.world.time.now - began
  }

  // It had looked for hints before the adoption's came, and its disk was deleted with them: 30 of 30 keys were on no disk any more.
  test('deletes nothing that it has just taken over', async () => {
    const end = await timeToLeave()
    for (const before of [250, 60, 40, 35, 30, 25, 20, 15, 10, 5]) {
      const { ring, leaver, orphan, keys } = await withOrphan()
      const node = nodeOf(leaver)
      const leaving = handEverythingOver(node)
      await ring.pass(end - before)
      const adoption = ring.world.adopt(leaver, node, orphan).catch((error) => error)
      await ring.await(leaving)
      // As `Store.leave` goes on: it stops, the adoption ends, its disk is deleted.
      await ring.await(node.stop())
      await ring.await(adoption)
      expect(lostWith(leaver, ring, keys), `begun ${before} ms before the end`).toEqual([])
    }
  })

  test.each([1, 10, 20, 30])('takes nothing more over (leaves %i ms after it began)', async (ms) => {
    const { ring, leaver, orphan, keys } = await withOrphan()
    const node = nodeOf(leaver)
    const adoption = ring.world.adopt(leaver, node, orphan).catch((error) => error)
    await ring.pass(ms)
    await ring.await(handEverythingOver(node))
    expect(await ring.await(adoption)).toMatchObject({ kind: 'closed' })
    expect(lostWith(leaver, ring, keys)).toEqual([])
  })

  test('waits for what it is just taking over', async () => {
    let isSlow = false
    const { ring, leaver, orphan, keys } = await withOrphan({
      latency: (_from, _to, frame) => (isSlow && frame[1] === shapes.CheckKeys.code ? 4000 : 10),
    })
    const node = nodeOf(leaver)
    isSlow = true
    const adoption = ring.world.adopt(leaver, node, orphan).catch((error) => error)
    await ring.pass(100)
    await ring.await(handEverythingOver(node))
    await ring.await(node.stop())
    await ring.await(adoption)
    expect(lostWith(leaver, ring, keys)).toEqual([])
  })

  test('adopts again when it stays after all', async () => {
    const { ring, leaver, orphan, keys } = await withOrphan()
    const node = nodeOf(leaver)
    const given = new AbortController()
    const leaving = handEverythingOver(node, { signal: given.signal }).catch((error) => error)
    await ring.pass(5)
    await expect(ring.await(ring.world.adopt(leaver, node, orphan))).rejects.toMatchObject({ kind: 'closed' })
    given.abort()
    await ring.await(leaving)
    await ring.await(ring.world.adopt(leaver, node, orphan))
    await ring.pass(5000)
    for (const key of keys) expect(await ring.client(leaver).get(key)).toEqual([key])
  })
})

test('an owner who is back in the middle, and meets nobody, denies nothing of what is gone', async () => {
  const ring = await openRing(5, { batchKeys: 5 }, { quiet: false })
  const [adopter, orphan] = [ring.tab(0), ring.tab(3)]
  const keys = Array.from({ length: 60 }, (_, i) => `k${i}`).filter((key) => ring.homes(key).includes(orphan))
  for (const key of keys) await ring.client(adopter).put(key, 'there', { w: 3 })
  await ring.pass(3000)
  ring.crash(orphan)
  void ring.world.adopt(adopter, nodeOf(adopter), orphan).catch(() => {})
  await ring.world.time.until('the first is gone', () => orphan.disk.records.size < keys.length, 60_000, 1)
  ring.crash(adopter)
  ring.partition([orphan], ring.tabs.slice(1, 3).concat(ring.tab(4)))
  await ring.reopen(orphan)
  expect(orphan.disk.records.size).toBeLessThan(keys.length)
  for (const key of keys) {
    const { met, container } = await ring.client(orphan).ask(key, { r: 1, strictQuorum: true })
    expect({ key, isDenied: met && container.siblings.length === 0 }).toEqual({ key, isDenied: false })
  }
})

// It counted as one that leaves from then on, and lost its place, with all that it had where nobody asks.
test('a closed tab for whose data there is no room stays a member, and is adopted later', async () => {
  const ring = await openRing(4, {}, { quiet: false })
  const [adopter, orphan] = [ring.tab(0), ring.tab(3)]
  await ring.client(orphan).put('k', 'value', { w: 3 })
  await ring.world.close(orphan)
  const node = nodeOf(adopter)
  node.replica.pressure.note({ usage: 96, quota: 100 })
  await expect(ring.await(ring.world.adopt(adopter, node, orphan))).rejects.toMatchObject({ kind: 'quota' })
  await ring.pass(5000)
  expect(ring.tabs.slice(0, 3).map((tab) => nodeOf(tab).membership.get(orphan.id)?.state)).toEqual(['up', 'up', 'up'])
  node.replica.pressure.note({ usage: 50, quota: 100 })
  await ring.adopt(adopter, orphan)
  expect(await ring.client(adopter).get('k', { r: 3 })).toEqual(['value'])
})

// Who lacked it was known of the homes before, and whether the adopter is one of them was asked afterwards: for its own former keys nobody was noted.
test('an adoption loses nothing where somebody joins while the homes are asked what they hold (n = 1)', async () => {
  let isSlow = false
  const latency = (_from: string, _to: string, frame: Uint8Array) =>
    isSlow && frame[1] === shapes.CheckKeys.code ? 1500 : 10
  const tuning = { partitions: 64, standInAfterMs: 1e9 }
  const ring = await openRing(4, tuning, { knobs: { replication: [1], latency } })
  const [adopter, , , orphan] = ring.tabs as [Tab, Tab, Tab, Tab]
  const homeOf = (key: StoreKey) => nodeOf(adopter).routing.homes(key)[0]
  const keys = Array.from({ length: 200 }, (_, i) => storeKey(1, '', `k${i}`))
  const lost = keys.filter((key) => homeOf(key) === orphan.id)
  const written = { value: Uint8Array.of(1), expiresAt: 0 }
  const options = { w: 1, strictQuorum: true, durability: 'strict' } as const
  for (const key of lost)
    await ring.await(nodeOf(orphan).coordinator.write(key, written, EMPTY_CONTEXT, options).outcome)
  ring.crash(orphan)
  await ring.pass(3000)
  isSlow = true
  const adoption = ring.world.adopt(adopter, nodeOf(adopter), orphan)
  await ring.pass(200)
  const own = lost.filter((key) => homeOf(key) === adopter.id)
  const joined = await ring.join()
  await ring.pass(300)
  expect(own.filter((key) => homeOf(key) === joined.id).length).toBeGreaterThan(1)
  await ring.await(adoption)
  isSlow = false
  await ring.pass(10_000)
  const isAtHome = (key: StoreKey) => ring.tabs.find(({ id }) => id === homeOf(key))?.disk.records.has(key)
  expect(lost.filter((key) => !isAtHome(key))).toEqual([])
})
