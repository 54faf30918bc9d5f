/** Hints on their way to where they belong; and hints that are in memory and not, or not the same, on the disk: what is on the disk counts. */
import { expect, test } from 'vitest'
import type { ActorId, NodeId } from '../../src/core/ids.js'
import { writtenContainer } from '../../src/core/versions/container.js'
import { EMPTY_CONTEXT } from '../../src/core/versions/context.js'
import { type Ring, type Tab, hintAt, holdCommits, named, nodeOf, openRing, replicaAt } from '../paper/ring.js'
import { typeOf } from '../sim/trace.js'

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
  await ring.until('nothing waits', () => nodeOf(writer).coordinator.synced)
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
  await ring.await(replica.store([{ key: named('k'), container: version(1) }], hint))
  await ring.await(replica.store([{ key: named('k'), container: version(2) }], hint))
  await ring.await(replica.retargetHint(named('k'), [], version(1)))
  expect(replica.hints.homesOf(named('k'))).toEqual([away.id])
  const [container] = await ring.await(replica.read([named('k')]))
  await ring.await(replica.retargetHint(named('k'), [], container))
  expect(replica.hints.has(named('k'))).toBe(false)
})

test('what is added to a hint while it is on its way goes as well', async () => {
  const ring = await openRing(4, TUNING)
  const [away] = ring.homes('k')
  const [writer] = ring.others('k')
  const client = ring.client(writer)
  const { knobs } = ring.world.network
  ring.partition([away], [writer])
  await ring.pass(3000)
  await client.put('k', 'late')
  await ring.until('it waits for one home', () => hintAt(writer, 'k')?.homes.length === 1)
  let isOnItsWay = false
  // Of two, only the hint itself arrives.
  knobs.lose = (from, to, frame) => {
    if (from !== writer.id || to !== away.id || typeOf(frame) !== 'Store') return false
    if (isOnItsWay) return true
    isOnItsWay = true
    return false
  }
  knobs.latency = (_, to, frame) => (to === writer.id && typeOf(frame) === 'Stored' ? 200 : 10)
  ring.heal()
  await ring.until('it is on its way', () => isOnItsWay)
  await client.put('k', 'later', { w: 2 })
  await ring.until('it has arrived', () => replicaAt(away, 'k').includes('late'))
  await ring.pass(1000)
  knobs.lose = undefined
  await ring.pass(10_000)
  expect([replicaAt(away, 'k'), hintAt(writer, 'k')]).toEqual([['later'], undefined])
})

test('a home that is back when another one does not answer takes a put as its own, and no hint for that one', async () => {
  const ring = await openRing(4, { ...TUNING, patienceMinMs: 1000 })
  const [writer, silent, away] = ring.homes('k')
  const { knobs } = ring.world.network
  ring.partition([writer], [away])
  await ring.pass(3000)
  knobs.lose = (_, to, frame) => ![writer.id, away.id].includes(to as NodeId) && typeOf(frame) === 'Store'
  const put = ring.client(writer).begin('k', 'there')
  ring.heal()
  expect(await ring.await(put)).toMatchObject({ met: true, sloppy: false })
  expect([replicaAt(away, 'k'), hintAt(away, 'k')]).toEqual([['there'], undefined])
  knobs.lose = undefined
  await ring.pass(10_000)
  expect(replicaAt(silent, 'k')).toEqual(['there'])
})

test('a put that a change of the placement overtakes leaves a hint for the present homes', async () => {
  const ring = await openRing(4, { ...TUNING, replaceAfterMs: 3500 }, { noticeMs: Number.POSITIVE_INFINITY })
  const [writer, silent] = ring.homes('k')
  const [standIn] = ring.others('k')
  const { membership, replica } = nodeOf(writer)
  ring.world.network.knobs.lose = (_, to, frame) => to === standIn.id && typeOf(frame) === 'Store'
  ring.crash(silent)
  await ring.client(writer).put('k', 'there', { w: 1 })
  await ring.until('another is home', () => !membership.placed().includes(silent.id))
  expect(replica.hints.pending).toBe(0)
  await ring.until('a hint', () => replica.hints.pending > 0)
  expect(replica.hints.homesOf(named('k'))).toEqual([standIn.id])
  ring.world.network.knobs.lose = undefined
  await ring.pass(5000)
  expect([replica.hints.pending, replicaAt(standIn, 'k')]).toEqual([0, ['there']])
})

test('hints that come to the disk after a change of the placement go to the present homes as well', async () => {
  const ring = await openRing(5, { ...TUNING, replaceAfterMs: 3500 })
  const [silent] = ring.homes('k')
  const [writer] = ring.others('k')
  const { membership, replica } = nodeOf(writer)
  ring.crash(silent)
  const arrive = holdCommits(writer)
  const put = ring.client(writer).begin('k', 'there', { w: 1 })
  await ring.until('another is home', () => !membership.placed().includes(silent.id))
  arrive()
  expect(await ring.await(put)).toMatchObject({ met: true })
  await ring.pass(5000)
  expect(replica.hints.pending).toBe(0)
  expect(ring.homes('k', writer).map((home) => replicaAt(home, 'k'))).toEqual([['there'], ['there'], ['there']])
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

// Each round sent them again, and `flush` waited until there was room.
test.each(['again after a restart', 'notes it later'])(
  'a full disk that can note of no hint that it has arrived sends each once, and %s',
  async (then) => {
    const ring = await openRing(3, TUNING, { quiet: false })
    const [writer, away] = await withHints(ring)
    if (!writer.storage) throw new Error('it is open')
    writer.storage.failing = 'quota'
    let sent = 0
    ring.world.network.knobs.lose = (from, to, frame) => {
      if (from === writer.id && to === away.id && typeOf(frame) === 'Store') sent++
      return false
    }
    ring.heal()
    await ring.until('they have arrived', () => KEYS.every((key) => replicaAt(away, key)[0] === 'late'))
    await ring.pass(60_000)
    expect([sent, nodeOf(writer).replica.hints.pending, writer.disk.hints.size]).toEqual([3, 0, 12])
    expect(nodeOf(writer).coordinator.synced).toBe(true)
    if (then === 'notes it later') writer.storage.failing = undefined
    else {
      ring.crash(writer)
      await ring.pass(3000)
      await ring.reopen(writer)
    }
    await ring.until('the rows are gone', () => writer.disk.hints.size === 0)
    expect(sent).toBe(then === 'notes it later' ? 3 : 6)
  },
)
