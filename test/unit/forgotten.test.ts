/** A value whose deletion was forgotten everywhere must not lie anywhere still, nor be on its way: it would be new again. */
import { expect, test } from 'vitest'
import { StorageFailure } from '../../src/core/environment.js'
import { shapes } from '../../src/core/messages.js'
import { type Ring, type Tab, hintAt, named, nodeOf, openRing, replicaAt } from '../paper/ring.js'

const MOVES: number[] = [shapes.Store.code, shapes.Entries.code]

/** It is deleted with all that was there, and everybody forgets that. */
async function deleteEverywhere(ring: Ring, by: Tab): Promise<void> {
  const client = ring.client(by)
  await client.get('k', { r: 3 })
  await client.delete('k')
  await ring.until('forgotten', () => ring.tabs.every(({ disk }) => !disk.records.has(named('k'))), 200_000)
}

/** The next commit of these happens, and the connection to the disk is lost with it; later it works again (Database.run gives up after three attempts). */
function loseOutcomeOf({ storage }: Tab, what: 'hints' | 'copies'): void {
  if (!storage) throw new Error('it is open')
  const commit = storage.commit.bind(storage)
  storage.commit = async (batch, durability) => {
    const groups = await commit(batch, durability)
    if (!batch[what]?.length) return groups
    storage.commit = commit
    throw new StorageFailure('unknown', 'the connection was lost')
  }
}

// Counted as delivered in memory, it was no reason not to forget, and a restart delivered it.
test('a delivered hint that a full disk kept does not come back after its tombstone was forgotten', async () => {
  const ring = await openRing(5, { reapAfterMs: 4000 }, { quiet: false })
  const [home] = ring.homes('k') as [Tab, Tab, Tab]
  const [writer] = ring.others('k') as [Tab]
  ring.crash(home)
  await ring.pass(3000)
  await ring.client(writer).put('k', 'old', { w: 2 })
  await ring.pass(6000)
  expect(hintAt(writer, 'k')).toMatchObject({ texts: ['old'] })
  // The writer's disk is full for a moment, just when the home is back.
  if (!writer.storage) throw new Error('it is open')
  writer.storage.failing = 'quota'
  await ring.reopen(home)
  await ring.until('delivered', () => nodeOf(writer).replica.hints.pending === 0)
  expect(replicaAt(home, 'k')).toEqual(['old'])
  writer.storage.failing = undefined
  await ring.pass(20_000)
  // Room again, everything quiet. The key is deleted, and everybody forgets it.
  await deleteEverywhere(ring, ring.homes('k')[1] as Tab)
  await ring.pass(20_000)
  expect(await ring.client(home).get('k', { r: 3 })).toEqual([])
  // The writer is loaded anew.
  ring.crash(writer)
  await ring.pass(2000)
  await ring.reopen(writer)
  await ring.pass(20_000)
  expect(await ring.client(home).get('k', { r: 3 })).toEqual([])
})

// It was on the disk and in no index.
test.each(['before', 'after'])(
  'a hint of which nobody knows whether it is on the disk brings nothing back (%s it was looked for)',
  async (when) => {
    const scrubIntervalMs = when === 'after' ? 30_000 : 200_000
    const ring = await openRing(6, { reapAfterMs: 4000, scrubIntervalMs }, { quiet: false })
    const [home, second] = ring.homes('k') as [Tab, Tab, Tab]
    const [standIn] = ring.others('k') as [Tab]
    ring.crash(home)
    await ring.pass(1500)
    loseOutcomeOf(standIn, 'hints')
    await ring.client(second).put('k', 'old', { w: 2 })
    await ring.pass(1000)
    expect(hintAt(standIn, 'k')).toMatchObject({ texts: ['old'] })
    expect(nodeOf(standIn).replica.hints.has(named('k'))).toBe(false)
    await ring.reopen(home)
    await ring.pass(60_000)
    await deleteEverywhere(ring, second)
    await ring.pass(20_000)
    ring.crash(standIn)
    await ring.pass(1000)
    await ring.reopen(standIn)
    await ring.pass(20_000)
    expect(await ring.client(home).get('k', { r: 3 })).toEqual([])
  },
)

// It was on the disk and in no index, and a restart showed it.
test('a copy of which nobody knows whether it is on the disk brings nothing back', async () => {
  const ring = await openRing(5, { reapAfterMs: 4000 }, { quiet: false })
  const homes = ring.homes('k') as [Tab, Tab, Tab]
  const [reader] = ring.others('k') as [Tab]
  await ring.client(homes[0]).put('k', 'old', { w: 3 })
  loseOutcomeOf(reader, 'copies')
  await ring.client(reader).get('k', { r: 3 })
  await ring.pass(1000)
  expect([...reader.disk.copies.keys()].length).toBe(1)
  await deleteEverywhere(ring, homes[0])
  await ring.pass(10_000)
  ring.crash(reader)
  await ring.reopen(reader)
  // For a moment the reader reaches one home only.
  ring.partition(
    [reader],
    ring.tabs.filter((tab) => tab !== reader && tab !== homes[0]),
  )
  await ring.pass(5000)
  const shown = await ring.client(reader).get('k', { r: 2 })
  ring.heal()
  await ring.pass(60_000)
  expect([shown, homes.map((home) => replicaAt(home, 'k'))]).toEqual([[], [[], [], []]])
})

// Their record was never written, and after a reload the tab forgot deletions without asking them.
test.each(['quota', 'unknown'] as const)(
  'a member that joined in a moment when the disk said "%s" is known after a reload',
  async (failure) => {
    const ring = await openRing(1, { reapAfterMs: 10_000 }, { quiet: false })
    const tab = ring.tab(0)
    const client = ring.client(tab)
    await client.put('k', 'old', { w: 1 })
    await ring.pass(5000)
    if (!tab.storage) throw new Error('it is open')
    tab.storage.failing = failure
    const other = await ring.join()
    await ring.until('it has it', () => replicaAt(other, 'k').length === 1)
    await ring.pass(1000)
    tab.storage.failing = undefined
    // Hours of peace: nothing about the members changes.
    await ring.pass(600_000)
    ring.crash(other)
    await ring.pass(5000)
    await client.get('k', { r: 1 })
    await client.delete('k')
    await ring.pass(5000)
    ring.crash(tab)
    await ring.reopen(tab)
    await ring.pass(1000)
    await ring.pass(60_000)
    await ring.reopen(other)
    await ring.pass(30_000)
    expect([replicaAt(tab, 'k'), replicaAt(other, 'k')]).toEqual([[], []])
  },
)

// Its age had begun with the deletion, not when the last one that had the old version was back.
test.each([0, 5, 10, 15, 20, 25])(
  'what sync still has under way does not come back after its deletion was forgotten (%i s)',
  async (wait) => {
    let slow: [Tab, Tab] | undefined
    let sentAt = 0
    const ring = await openRing(
      3,
      {},
      {
        quiet: false,
        knobs: {
          latency: (from, to, frame) => {
            if (from !== slow?.[0].id || to !== slow[1].id || !MOVES.includes(frame[1] as number)) return 20
            sentAt ||= ring.world.time.now
            return 9000
          },
        },
      },
    )
    const [first, sleeper, other] = ring.homes('k') as [Tab, Tab, Tab]
    ring.crash(other)
    await ring.pass(3000)
    const client = ring.client(first)
    await client.put('k', 'old', { w: 2 })
    ring.crash(sleeper)
    await ring.pass(3000)
    await client.delete('k')
    await ring.pass(70_000 + 1000 * wait)
    expect([replicaAt(sleeper, 'k'), replicaAt(other, 'k'), hintAt(first, 'k')?.texts]).toEqual([['old'], [], []])
    // The two are back, and do not reach the third one at first. What the one brings the other takes nine seconds: the link is busy with much else.
    slow = [sleeper, other]
    ring.partition([first], [sleeper, other])
    await ring.reopen(sleeper, other)
    for (let i = 0; i < 10_000 && sentAt === 0; i++) await ring.pass(10)
    expect(sentAt).toBeGreaterThan(0)
    ring.heal()
    await ring.until('forgotten', () => ring.tabs.every(({ disk }) => !disk.records.has(named('k'))), 200_000)
    await ring.pass(30_000)
    expect(await ring.client(first).get('k', { r: 3 })).toEqual([])
  },
)

// What it could not note of one hint kept it from agreeing to anything, as long as little room was left.
test('a disk that was full once keeps nobody from forgetting what it has no hint of', async () => {
  const ring = await openRing(5, { reapAfterMs: 4000 }, { quiet: false })
  const [home] = ring.homes('k') as [Tab, Tab, Tab]
  const [writer] = ring.others('k') as [Tab]
  ring.crash(home)
  await ring.pass(3000)
  await ring.client(writer).put('k', 'old', { w: 2 })
  await ring.pass(6000)
  if (!writer.storage) throw new Error('it is open')
  writer.storage.failing = 'quota'
  await ring.reopen(home)
  await ring.until('delivered', () => nodeOf(writer).replica.hints.pending === 0)
  expect(hintAt(writer, 'k')).toMatchObject({ texts: ['old'] })
  writer.storage.failing = undefined
  nodeOf(writer).replica.pressure.note({ usage: 92, quota: 100 })
  const client = ring.client(home)
  await client.put('other', 'value', { w: 3 })
  await client.delete('other')
  await ring.until('forgotten', () => ring.tabs.every(({ disk }) => !disk.records.has(named('other'))), 100_000)
  await ring.until('noted', () => hintAt(writer, 'k') === undefined, 100_000)
})
