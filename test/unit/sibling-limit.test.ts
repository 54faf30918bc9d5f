/** Where the limit of siblings is reached: what was refused is nowhere, and what is somewhere was not refused. */
import { expect, test } from 'vitest'
import type { NodeId } from '../../src/core/ids.js'
import { SiblingLimitError } from '../../src/store/errors.js'
import { Session } from '../../src/store/session.js'
import type { WatchTarget } from '../../src/store/watch.js'
import { type Ring, type Tab, containerAt, hintAt, named, nodeOf, openRing, replicaAt, textsOf } from '../paper/ring.js'
import type { SimulatedStorage } from '../sim/disk.js'
import { typeOf } from '../sim/trace.js'
import { answerOf, passing, storeAt } from './support/stores.js'

const LIMIT = 20

/** Blind puts of all tabs at once. @returns the texts that were taken and those that were refused */
async function bomb(ring: Ring, rounds: number): Promise<{ taken: string[]; refused: string[] }> {
  const [taken, refused] = [[] as string[], [] as string[]]
  const puts: Promise<void>[] = []
  for (let i = 0; i < rounds; i++)
    for (const tab of ring.tabs) {
      const text = `${tab.id} ${i}`
      const client = ring.client(tab)
      client.forget('k')
      puts.push(client.begin('k', text).then((outcome) => void (outcome.refused ? refused : taken).push(text)))
    }
  await ring.await(Promise.all(puts))
  return { taken, refused }
}

// Refused puts stayed in the outbox where several had met there, and were delivered as hints, which know no limit: 102 of 177.
test('puts that are refused at the limit do not come about later, however many are on their way', async () => {
  const ring = await openRing(7, { maxSiblings: LIMIT })
  const { taken, refused } = await bomb(ring, 20)
  await ring.pass(60_000)
  const found = await ring.client(ring.tab(3)).get('k', { r: 3 })
  expect(refused.length).toBeGreaterThan(0)
  expect(found.filter((text) => refused.includes(text))).toEqual([])
  expect(found.toSorted()).toEqual(taken.toSorted())
  // Each home takes as many before it hears of the others'.
  expect(found.length).toBeLessThanOrEqual(3 * LIMIT)
})

// Its removal from the outbox was not flushed, as the put had been: it was a hint again, which knows no limit.
test('nor after a power cut', async () => {
  const ring = await openRing(4, { maxSiblings: 1 })
  const [writer] = ring.others('k')
  await ring.client(ring.homes('k')[0]).put('k', 'there', { w: 3 })
  expect((await ring.client(writer).put('k', 'refused')).refused).toBe(true)
  ring.world.cutPower(writer)
  expect(hintAt(writer, 'k')).toBe(undefined)
})

// It was gone, and the receipt said that this tab has it (fuzz seed 100592).
test('a put of which nobody knows whether it is out of the outbox again is no acknowledged one', async () => {
  const ring = await openRing(4, { maxSiblings: 1 }, { quiet: false })
  const [writer] = ring.others('k')
  await ring.client(ring.homes('k')[0]).put('k', 'there', { w: 3 })
  ring.world.network.knobs.latency = (_, __, frame) => (typeOf(frame) === 'Stored' ? 300 : 10)
  const put = ring.client(writer).begin('k', 'refused', { w: 1 })
  await ring.pass(100)
  const { storage } = writer
  if (storage) storage.loseOutcome = true
  const { acks, met, refused, storageError } = await ring.await(put)
  expect([acks, met, refused, storageError]).toMatchObject([[], false, false, { kind: 'unknown' }])
})

test('what may still be refused is kept as no copy', async () => {
  const ring = await openRing(4, { maxSiblings: 1 })
  const [writer] = ring.others('k')
  await ring.client(ring.homes('k')[0]).put('k', 'there', { w: 3 })
  ring.world.network.knobs.latency = (_, __, frame) => (typeOf(frame) === 'Stored' ? 300 : 10)
  const put = ring.client(writer).begin('k', 'refused')
  await ring.pass(50)
  expect(await ring.client(writer).get('k')).toEqual(['refused', 'there'])
  expect((await ring.await(put)).refused).toBe(true)
  await ring.pass(1000)
  expect(textsOf(await ring.await(nodeOf(writer).copies.own(named('k'))))).not.toContain('refused')
})

test('nor what a get read of the own outbox while it was being put there', async () => {
  const ring = await openRing(5, { maxSiblings: 2, readRepair: false, hintedHandoff: false })
  const [slow, other, deaf] = ring.homes('k')
  const [writer] = ring.others('k') as [Tab]
  const { knobs } = ring.world.network
  // It leaves a row, which is read with whatever has been added to it.
  knobs.lose = (from, to, frame) => from === deaf.id && to === writer.id && typeOf(frame) === 'Stored'
  await ring.client(writer).put('k', 'there')
  await ring.client(other).blind('k', 'there as well', { w: 3 })
  await ring.pass(6000)
  knobs.lose = undefined
  const storage = writer.storage as SimulatedStorage
  const getHints = storage.getHints.bind(storage)
  storage.getHints = async (keys) => {
    await nodeOf(writer).pause(100)
    return getHints(keys)
  }
  knobs.latency = (_, __, frame) => (typeOf(frame) === 'ReadResult' ? 300 : 10)
  ring.world.network.freeze(slow.id)
  const client = ring.client(writer)
  const get = nodeOf(writer).coordinator.get(named('k'), { r: 2, strictQuorum: false })
  client.forget('k')
  const put = client.begin('k', 'refused')
  expect(textsOf((await ring.await(get)).container)).toContain('refused')
  ring.world.network.thaw(slow.id)
  expect((await ring.await(put)).refused).toBe(true)
  await ring.pass(1000)
  expect(textsOf(await ring.await(nodeOf(writer).copies.own(named('k'))))).not.toContain('refused')
})

test('what may still be refused is no reason for a read repair', async () => {
  const ring = await openRing(4, { maxSiblings: 1 })
  const [slow, other] = ring.homes('k')
  const [writer] = ring.others('k')
  await ring.client(other).put('k', 'there', { w: 3 })
  ring.world.network.freeze(slow.id)
  const put = ring.client(writer).begin('k', 'refused')
  await ring.pass(50)
  expect(await ring.client(writer).get('k')).toEqual(['refused', 'there'])
  ring.world.network.thaw(slow.id)
  expect((await ring.await(put)).refused).toBe(true)
  await ring.pass(5000)
  expect(ring.homes('k').map((home) => replicaAt(home, 'k'))).toEqual([['there'], ['there'], ['there']])
})

test('a put that is just being taken back is sent to nobody else', async () => {
  const ring = await openRing(5, { maxSiblings: 1 })
  const [standIn, writer] = ring.preferenceList('k').slice(3) as [Tab, Tab]
  await ring.client(ring.homes('k')[0]).put('k', 'there', { w: 3 })
  ring.world.network.knobs.latency = (_, to) => (to === standIn.id ? 3000 : 50)
  const put = ring.client(writer).begin('k', 'refused')
  await ring.until('it is in the outbox', () => hintAt(writer, 'k') !== undefined)
  const storage = writer.storage as SimulatedStorage
  const commit = storage.commit.bind(storage)
  storage.commit = async (changes, durability) => {
    await nodeOf(writer).pause(2000)
    return commit(changes, durability)
  }
  expect((await ring.await(put)).refused).toBe(true)
  await ring.pass(5000)
  expect(hintAt(standIn, 'k')).toBe(undefined)
})

test('a put that all homes refuse is nowhere, however long the own disk takes', async () => {
  const ring = await openRing(4, { maxSiblings: 1 })
  const [writer] = ring.others('k') as [Tab]
  await ring.client(ring.homes('k')[0]).put('k', 'there', { w: 3 })
  const storage = writer.storage as SimulatedStorage
  const commit = storage.commit.bind(storage)
  storage.commit = async (changes, durability) => {
    await nodeOf(writer).pause(6000)
    return commit(changes, durability)
  }
  expect((await ring.client(writer).put('k', 'refused')).refused).toBe(true)
  expect(hintAt(writer, 'k')).toBe(undefined)
})

test('a home whose disk failed once, and that has refused it since, has not taken it', async () => {
  const ring = await openRing(4, { maxSiblings: 1, hintedHandoff: false }, { quiet: false })
  const [slow, other, failing] = ring.homes('k')
  const [writer] = ring.others('k')
  await ring.client(other).put('k', 'there', { w: 3 })
  ring.world.network.knobs.latency = (from, _, frame) => (from === slow.id && typeOf(frame) === 'Stored' ? 600 : 10)
  if (failing.storage) failing.storage.failingOnce = 'unknown'
  expect((await ring.client(writer).put('k', 'refused')).refused).toBe(true)
})

// Each of them was one: the application saw a single version without a conflict, and was refused the next put.
test('what is deleted or has expired is no version that keeps others from being put', async () => {
  const ring = await openRing(3, { maxSiblings: LIMIT, scrubIntervalMs: 1e9 })
  // Of a handle of its own, which has read nothing.
  const blind = (i: number, expiresAt = 0) => ring.client(ring.tab(i % 3)).put('k', `${i}`, { w: 3, expiresAt })
  for (let i = 0; i < LIMIT; i++) {
    const visitor = ring.client(ring.tab(i % 3))
    await visitor.put('k', 'visit', { w: 3 })
    await visitor.delete('k')
  }
  for (let i = 0; i < LIMIT; i++)
    expect((await blind(i, ring.world.wallTime(ring.tab(0)) + 60_000)).refused).toBe(false)
  expect((await blind(0)).refused).toBe(true)
  await ring.pass(70_000)
  for (let i = 0; i < LIMIT; i++) expect((await blind(i)).refused).toBe(false)
  expect(containerAt(ring.tab(0), 'k').siblings.length).toBe(3 * LIMIT)
  expect((await blind(0)).refused).toBe(true)
})

test('of deleted versions, too, there are not more than each request can carry; a put that has seen them replaces them', async () => {
  const ring = await openRing(3, { maxSiblings: 2, scrubIntervalMs: 1e9, reapAfterMs: 1e9 })
  const visit = async (i: number) => {
    const visitor = ring.client(ring.tab(i % 3))
    const { refused } = await visitor.put('k', 'visit', { w: 3 })
    if (!refused) await visitor.delete('k')
    return refused
  }
  for (let i = 0; i < 20; i++) expect(await visit(i)).toBe(false)
  expect(await visit(20)).toBe(true)
  expect(containerAt(ring.tab(0), 'k').siblings.length).toBe(20)
  const client = ring.client(ring.tab(0))
  await client.get('k')
  await client.put('k', 'resolved', { w: 3 })
  expect(containerAt(ring.tab(1), 'k').siblings.length).toBe(1)
  expect(await visit(0)).toBe(false)
})

test('hints for homes that are away are refused at the limit as well', async () => {
  const ring = await openRing(7, { maxSiblings: LIMIT })
  const [, second, third] = ring.homes('k')
  ring.crash(second, third)
  await ring.pass(5000)
  const alive = ring.tabs.filter(({ node }) => node)
  const puts = Array.from({ length: 200 }, (_, i) => {
    const client = ring.client(alive[i % alive.length] as (typeof alive)[number])
    client.forget('k')
    return client.begin('k', `${i}`)
  })
  const outcomes = await ring.await(Promise.all(puts))
  const taken = outcomes.flatMap((outcome, i) => (outcome.refused ? [] : [`${i}`]))
  await ring.reopen(second, third)
  await ring.until('one ring', () => ring.isWhole())
  await ring.pass(60_000)
  expect((await ring.client(ring.tab(0)).get('k', { r: 3 })).toSorted()).toEqual(taken.toSorted())
  expect(taken.length).toBeLessThanOrEqual(LIMIT * alive.length)
})

test('a refusal takes nothing else out of the outbox', async () => {
  const ring = await openRing(7, { maxSiblings: LIMIT })
  const [stranger, other] = ring.others('k') as [Tab, Tab]
  for (let i = 0; i < LIMIT; i++) await ring.client(other).blind('k', `${i}`)
  // Only its own outbox has this one.
  ring.partition(
    [stranger],
    ring.tabs.filter((tab) => tab !== stranger),
  )
  await ring.pass(10_000)
  const client = ring.client(stranger)
  expect((await client.blind('k', 'alone')).acks).toEqual([stranger.id])
  const [next, blind] = await ring.await(Promise.all([client.begin('k', 'after it'), client.begin('other', '1')]))
  expect([next.refused, blind.refused]).toEqual([false, false])
  ring.heal()
  await ring.until('one ring', () => ring.isWhole())
  await client.blind('k', 'refused')
  await ring.pass(60_000)
  expect(await ring.client(other).get('k', { r: 3 })).toContain('after it')
})

// A peer that asked the writer meanwhile got the write, and kept it although it was refused then (seeds 107 and 172).
test('what another tab was shown while its put was under way is not refused afterwards', async () => {
  // No stand-in takes it, and no repair brings it to the homes before they refuse it.
  const ring = await openRing(5, { maxSiblings: LIMIT, readRepair: false, hintedHandoff: false })
  const [slow, other] = ring.homes('k')
  const [writer, reader] = ring.preferenceList('k').slice(3) as [Tab, Tab]
  for (let i = 0; i < LIMIT; i++) await ring.client(other).blind('k', `${i}`)
  await ring.pass(10_000)
  ring.world.network.freeze(slow.id)
  const client = ring.client(writer)
  client.forget('k')
  const put = client.begin('k', 'contested')
  await ring.pass(300)
  expect(hintAt(writer, 'k')?.texts).toEqual(['contested'])
  // The frozen home keeps it waiting, so that it asks the next in the list: the writer.
  expect(await ring.client(reader).get('k', { r: 3 })).toContain('contested')
  ring.world.network.thaw(slow.id)
  expect((await ring.await(put)).refused).toBe(false)
  await ring.pass(60_000)
  expect(await ring.client(other).get('k', { r: 3 })).toContain('contested')
})

// Its session went on showing it, and brought it back when the disk was lost (seed 6062).
test.each([20, 300])(
  'a refused put that the writer itself was shown after %d ms is not kept by its session',
  async (ms) => {
    const ring = await openRing(5, { maxSiblings: LIMIT, readRepair: false, hintedHandoff: false })
    const [slow, other] = ring.homes('k')
    const [writer] = ring.others('k') as [Tab]
    for (let i = 0; i < LIMIT; i++) await ring.client(other).blind('k', `${i}`, { w: 3 })
    ring.world.network.freeze(slow.id)
    const { events } = nodeOf(writer)
    const session = new Session()
    events.on('refused', ({ key, dot }) => session.refused(key, dot))
    const put = ring.client(writer).begin('k', 'contested')
    await ring.pass(ms)
    const get = async (r: number) => {
      const { container } = await nodeOf(writer).coordinator.get(named('k'), { r, strictQuorum: false })
      session.found(named('k'), container)
      return textsOf(container)
    }
    // One that is answered at once, and one that waits for what the put is waiting for.
    const [early, late] = [get(2), get(3)]
    expect(await ring.await(early)).toContain('contested')
    ring.world.network.thaw(slow.id)
    expect((await ring.await(put)).refused).toBe(true)
    await ring.await(late)
    const kept = session.entries().flatMap(({ container }) => textsOf(container))
    expect(kept).not.toContain('contested')
    expect(kept.length).toBe(LIMIT)
  },
)

// The row was chosen for delivery before the put, and read after it: with no limit for hints, a home took what it had refused (seed 4430).
test('a delivery of hints that is under way takes no put with it that is refused afterwards', async () => {
  const ring = await openRing(5, { maxSiblings: LIMIT, readRepair: false, hintedHandoff: false })
  const [slow, other, deaf] = ring.homes('k')
  const [writer] = ring.others('k') as [Tab]
  const { knobs } = ring.world.network
  knobs.lose = (from, to, frame) => from === deaf.id && to === writer.id && typeOf(frame) === 'Stored'
  await ring.client(writer).blind('k', 'early')
  for (let i = 1; i < LIMIT; i++) await ring.client(other).blind('k', `${i}`, { w: 3 })
  const storage = writer.storage as SimulatedStorage
  const getHints = storage.getHints.bind(storage)
  let read: (() => void) | undefined
  storage.getHints = (keys) =>
    new Promise((resolve) => {
      read = () => resolve(getHints(keys))
    })
  await ring.until('the delivery', () => read !== undefined, 60_000)
  knobs.lose = undefined
  // Meanwhile the home has confirmed it by another way.
  const early = await ring.await(nodeOf(deaf).replica.read([named('k')]))
  const confirmed = early.map((container) => ({ key: named('k'), container }))
  await ring.await(nodeOf(writer).replica.hintDelivered(confirmed, [deaf.id]))
  ring.world.network.freeze(slow.id)
  const client = ring.client(writer)
  client.forget('k')
  const put = client.begin('k', 'contested')
  // Time for the others to refuse it.
  await ring.pass(100)
  storage.getHints = getHints
  read?.()
  await ring.pass(60)
  ring.world.network.thaw(slow.id)
  const { refused } = await ring.await(put)
  await ring.pass(60_000)
  expect((await ring.client(other).get('k', { r: 3 })).includes('contested')).toBe(!refused)
  expect(refused).toBe(true)
})

// It kept its own hint as its replica, and the put was told that it is nowhere (seed 3268).
test('what its writer has become a home of is not refused afterwards', async () => {
  const ring = await openRing(5, { maxSiblings: LIMIT, hintedHandoff: false })
  const [slow, other, leaver] = ring.homes('k')
  const writer = ring.preferenceList('k')[3] as Tab
  for (let i = 0; i < LIMIT; i++) await ring.client(other).blind('k', `${i}`, { w: 3 })
  ring.world.network.freeze(slow.id)
  const client = ring.client(writer)
  client.forget('k')
  const put = client.begin('k', 'contested')
  const leaving = ring.leave(leaver)
  await ring.until('its turn as a home', () => writer.disk.records.has(named('k')))
  ring.world.network.thaw(slow.id)
  const { refused } = await ring.await(put)
  await leaving
  await ring.pass(60_000)
  expect((await ring.client(other).get('k', { r: 3 })).includes('contested')).toBe(!refused)
})

// It kept its own put in a hint for others alone, and no longer showed it once that was delivered (seed 500046).
test('a home that refuses its own put takes it all the same where others have', async () => {
  const ring = await openRing(3, { maxSiblings: 2, scrubIntervalMs: 1e9, syncIntervalMs: 1e9, readRepair: false })
  const [writer, ...others] = ring.homes('k')
  const client = ring.client(writer)
  const expiresAt = ring.world.wallTime(writer) + 60_000
  for (const text of ['a', 'b']) {
    client.forget('k')
    await client.put('k', text, { w: 3, expiresAt })
  }
  // Where these have expired already, there is room.
  for (const other of others) other.clockError = 120_000
  const { refused, acks } = await client.blind('k', 'contested')
  expect(refused).toBe(false)
  expect(acks.toSorted()).toEqual(others.map(({ id }) => id).toSorted())
  await ring.pass(1000)
  expect(replicaAt(writer, 'k')).toEqual(['a', 'b', 'contested'])
})

// Seed 937: there was room by then, and it came about although its writer had been told that it did not.
test('a frame that comes twice is refused the second time as well, also where there is room by then', async () => {
  const ring = await openRing(4, { maxSiblings: 1 })
  const [home] = ring.homes('k')
  const client = ring.client(home)
  await client.put('k', 'there', { w: 3 })
  const seen = new Set<Uint8Array>()
  const delay = (frame: Uint8Array) => {
    if (seen.has(frame)) return 1000
    seen.add(frame)
    return 10
  }
  Object.assign(ring.world.network.knobs, {
    duplicateRate: 1,
    latency: (_from: NodeId, _to: NodeId, frame: Uint8Array) => (typeOf(frame) === 'Store' ? delay(frame) : 10),
  })
  const [writer] = ring.others('k')
  expect((await ring.client(writer).blind('k', 'refused')).refused).toBe(true)
  await client.put('k', undefined, { w: 3 })
  await ring.pass(10_000)
  expect(await ring.client(writer).get('k', { r: 3 })).toEqual([])
})

// Its word counted as 'not here', and the put was told that it is nowhere (seeds 2102, 2473, 2563).
test('a disk that failed may have taken what all others refuse', async () => {
  const ring = await openRing(4, { maxSiblings: LIMIT }, { quiet: false })
  const [writer, other, away] = ring.homes('k')
  const [standIn] = ring.others('k')
  for (let i = 0; i < LIMIT; i++) await ring.client(other).blind('k', `${i}`, { w: 3 })
  ring.crash(away)
  await ring.until('it is missed', () => !nodeOf(writer).routing.isReachable(away.id))
  if (standIn.storage) standIn.storage.loseOutcome = true
  const { refused } = await ring.client(writer).blind('k', 'contested')
  expect(standIn.disk.hints.has(named('k'))).toBe(true)
  expect(refused).toBe(false)
})

// Together they were larger than a frame: no home that lacked one ever got it, hints behind it waited for ever, and a read threw.
test('large versions of both sides of a cut meet, also at a newcomer; and there is an end to them', async () => {
  const ring = await openRing(4, { batchBytes: 262_144 })
  const sides = [ring.tabs.slice(0, 2), ring.tabs.slice(2)] as [Tab[], Tab[]]
  const blind = async (tab: Tab, name: string, bytes: number) => {
    const client = ring.client(tab)
    client.forget('k')
    return (await ring.await(client.begin('k', name.padEnd(bytes, '.')))).refused
  }
  ring.partition(...sides)
  await ring.pass(5000)
  for (const [i, [tab]] of sides.entries())
    for (let j = 0; j < 7; j++) expect(await blind(tab as Tab, `${i} ${j} `, 1_000_000)).toBe(false)
  await ring.client(ring.tab(0)).put('behind it', 'value')
  ring.heal()
  await ring.until('one ring', () => ring.isWhole())
  await ring.pass(60_000)
  const newcomer = await ring.join()
  await ring.until('the newcomer', () => ring.isWhole())
  for (const tab of [...ring.tabs, newcomer]) {
    const found = await ring.client(tab).get('k', { r: 3 })
    expect(found.map((text) => text.slice(0, 4)).toSorted()).toEqual(
      [0, 1].flatMap((i) => Array.from({ length: 7 }, (_, j) => `${i} ${j} `)).toSorted(),
    )
    expect(nodeOf(tab).replica.hints.pending).toBe(0)
  }
  expect(await blind(newcomer, 'one more', 1_000_000)).toBe(true)
  const client = ring.client(newcomer)
  await client.get('k')
  await client.put('k', 'resolved', { w: 3 })
  expect(await ring.client(ring.tab(0)).get('k')).toEqual(['resolved'])
})

test('versions that have grown too large to travel are in no other key’s way, and whoever sees them resolves them', async () => {
  const ring = await openRing(4, { batchKeys: 4 })
  const sides = ring.tabs.map((tab) => [tab])
  for (const [i, side] of sides.entries()) ring.partition(side, ring.tabs.slice(i + 1))
  await ring.pass(5000)
  for (const [i, tab] of ring.tabs.entries())
    for (let j = 0; j < 7; j++) {
      const client = ring.client(tab)
      client.forget('k')
      await client.put('k', `${i} ${j}`.padEnd(1_000_000, '.'), { w: 1 })
      await client.put(`small ${i} ${j}`, 'value', { w: 1 })
    }
  ring.heal()
  const small = ring.tabs.flatMap((_, i) => Array.from({ length: 7 }, (_, j) => `small ${i} ${j}`))
  await ring.until('one ring', () => ring.isWhole(), 120_000)
  await ring.pass(60_000)
  for (const tab of ring.tabs)
    for (const key of small) expect(await ring.client(tab).get(key, { r: 3 })).toEqual(['value'])
  for (const tab of ring.tabs) {
    const client = ring.client(tab)
    await client.get('k')
    await client.put('k', `by ${tab.id}`, { w: 1 })
    await ring.pass(10_000)
  }
  for (const tab of ring.tabs) expect((await ring.client(tab).get('k', { r: 3 })).join()).toMatch(/^by .{10}$/)
})

// It had shown the put while that was under way, and nobody told it that it is nowhere: it stayed with that.
test.each<[what: string, target: WatchTarget]>([
  ['a key', 'k'],
  ['a prefix', { prefix: 'k' }],
])('a watch of %s does not stay with what was refused', async (_, target) => {
  const ring = await openRing(5, { maxSiblings: 2, readRepair: false, hintedHandoff: false })
  const [slow, other] = ring.homes('k')
  const [writer] = ring.others('k') as [Tab]
  for (const text of ['a', 'b']) await answerOf(ring, storeAt(other).store.put('k', text, { context: null, w: 3 }))
  const { store } = storeAt(writer)
  const seen: string[][] = []
  store.subscribe(target, ({ siblings }) => seen.push(siblings.toSorted()))
  await passing(ring, 1000)
  ring.world.network.freeze(slow.id)
  const refused = expect(store.put('k', 'refused', { context: null })).rejects.toThrow(SiblingLimitError)
  await passing(ring, 300)
  ring.world.network.thaw(slow.id)
  await answerOf(ring, refused)
  await passing(ring, 2000)
  expect(seen).toEqual([
    ['a', 'b'],
    ['a', 'b', 'refused'],
    ['a', 'b'],
  ])
})
