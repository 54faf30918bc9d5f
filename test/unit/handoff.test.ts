/** Hints that are in memory and not, or not the same, on the disk: what is on the disk counts. */
import { expect, test } from 'vitest'
import { type Ring, type Tab, named, nodeOf, openRing, replicaAt } from '../paper/ring.js'

const KEYS = Array.from({ length: 12 }, (_, i) => `k${i}`)
const TUNING = { merkleSync: false, readRepair: false, scrubIntervalMs: 1e9, batchKeys: 4 }

/** The last tab is away while the first one writes, and each key gets a hint for it. */
async function withHints(ring: Ring): Promise<[writer: Tab, away: Tab]> {
  const [writer, other, away] = ring.tabs as [Tab, Tab, Tab]
  ring.partition([writer, other], [away])
  await ring.pass(3000)
  for (const key of KEYS) await ring.client(writer).put(key, 'late', { w: 2 })
  await ring.pass(5000)
  expect(writer.disk.hints.size).toBe(KEYS.length)
  return [writer, away]
}

// They filled every batch: nothing behind them was ever sent, and `flush` waited for them for ever.
test('hints that are gone from the disk are not waited for, and those behind them reach their home', async () => {
  const ring = await openRing(3, TUNING)
  const [writer, away] = await withHints(ring)
  const gone = KEYS.slice(0, 8)
  for (const key of gone) writer.disk.hints.delete(named(key))
  ring.heal()
  await ring.until('the others are there', () => KEYS.slice(8).every((key) => replicaAt(away, key)[0] === 'late'))
  await ring.until('nothing waits', () => nodeOf(writer).synced)
  expect(nodeOf(writer).replica.hints.pending).toBe(0)
})

// The row was dropped as it had been read, with what had been written to it since.
test('a write to a damaged hint is not dropped with it', async () => {
  const ring = await openRing(3, TUNING, { quiet: false })
  const [writer, away] = await withHints(ring)
  const row = writer.disk.hints.get(named('k0'))
  if (row) writer.disk.hints.set(named('k0'), { ...row, container: row.container.map((byte) => byte ^ 1) })
  const { storage } = nodeOf(writer).replica
  const getHints = storage.getHints.bind(storage)
  // It lands just between the look at the row and what is made of it.
  storage.getHints = async (keys) => {
    const rows = await getHints(keys)
    const homes = [away.id]
    if (row && keys.includes(named('k0'))) writer.disk.hints.set(named('k0'), { ...row, homes })
    return rows
  }
  nodeOf(writer).handoff.deliverTo(away.id)
  ring.heal()
  await ring.until('it is there', () => replicaAt(away, 'k0')[0] === 'late')
})
