/** A node whose disk is deleted under it denies nothing, whenever that happens. */
import { expect, test } from 'vitest'
import { named, nodeOf, openRing } from '../paper/ring.js'

const DISK_MS = 20

// Nobody listened before the node ran: it went on with what it had loaded, and denied what was not there any more.
test.each([
  { when: 'while it is loaded', afterMs: 0.5 * DISK_MS },
  { when: 'once it was loaded, before the new life is written down', afterMs: 1.5 * DISK_MS },
])('a disk that is deleted as its node starts, $when, is told of, and its replicas come back', async ({ afterMs }) => {
  const ring = await openRing(4, {}, { quiet: false, knobs: { diskMinMs: DISK_MS, diskMaxMs: DISK_MS } })
  const keys = Array.from({ length: 40 }, (_, i) => `k${i}`)
  for (const key of keys) await ring.client(ring.tab(0)).put(key, 'value', { w: 3 })
  const victim = ring.tab(3)
  ring.crash(victim)
  ring.world.begin(victim)
  await ring.pass(afterMs)
  expect(victim.node).toBeUndefined()
  ring.world.changeDisk(victim, 'has its disk deleted under it', () => victim.storage?.empty())
  await ring.until('it to start', () => victim.node !== undefined)
  await ring.until('peers', () => nodeOf(victim).peers.reachable().length === 3)
  for (const key of keys) expect(await ring.client(victim).get(key, { r: 1 })).toEqual(['value'])
  for (const tab of ring.world.alive()) expect(await ring.client(tab).get('k7', { r: 1 })).toEqual(['value'])
  await ring.until('its replicas', () => ring.isWhole())
  for (const key of keys) expect(victim.disk.records.has(named(key))).toBe(ring.homes(key).includes(victim))
  expect(ring.world.errors).toEqual([expect.objectContaining({ kind: 'lost' })])
})
