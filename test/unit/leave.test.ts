/** Leaving takes a while: what is told of it meanwhile, and what has to wait. */
import { describe, expect, test } from 'vitest'
import { type StoreKey, storeKey } from '../../src/core/ids.js'
import { partitions } from '../../src/core/messages.js'
import { restored } from '../../src/core/meta.js'
import { EMPTY_CONTEXT } from '../../src/core/versions/context.js'
import { type LeaveProgress, handEverythingOver } from '../../src/store/leave.js'
import { type Ring, type Tab, named, nodeOf, openRing, replicaAt } from '../paper/ring.js'
import { typeOf } from '../sim/trace.js'
import { answerOf, passing, storeAt } from './support/stores.js'

// The first was told of the first attempt's end, when nearly everything was over.
test('the progress is told from the beginning, partition by partition', async () => {
  const ring = await openRing(5)
  for (let i = 0; i < 200; i++) await ring.client(ring.tab(i % 5)).put(`k${i}`, 'value', { w: 3 })
  await ring.pass(5000)
  const told: LeaveProgress[] = []
  const leaving = handEverythingOver(nodeOf(ring.tab(0)), { progress: (left) => told.push(left) })
  await ring.pass(1)
  const [first] = told
  expect(first?.partitionsLeft).toBeGreaterThan(5)
  await ring.await(leaving)
  const left = told.map(({ partitionsLeft }) => partitionsLeft)
  expect(left.slice().sort((a, b) => b - a)).toEqual(left)
  expect(new Set(left).size).toBeGreaterThan(5)
  expect(left.at(-1)).toBe(0)
})

// That was its duty until the next heartbeat, and what is a duty is not handed over: who had left by then took the last copy along.
test('what it holds for homes that are away goes to who stands in for them after it', async () => {
  const ring = await openRing(4)
  const [leaver, first, ...others] = ring.tabs as [Tab, Tab, ...Tab[]]
  const names = Array.from({ length: 100 }, (_, i) => `k${i}`).filter((key) => !ring.homes(key).includes(leaver))
  for (const key of names) await ring.client(first).put(key, 'value', { w: 3 })
  ring.crash(first)
  await ring.until('stand-in', () => names.every((key) => replicaAt(leaver, key).length > 0))
  ring.crash(...others)
  await ring.pass(10_000)
  const heir = await ring.join()
  await ring.until('a peer', () => nodeOf(leaver).peers.isReachable(heir.id))
  await ring.leave(leaver)
  for (const key of names) expect(replicaAt(heir, key)).toEqual(['value'])
})

// A tab that wrote all the time had not left after half a minute.
test('after some seconds what the tab itself writes waits', async () => {
  const ring = await openRing(5)
  for (let i = 0; i < 50; i++) await ring.client(ring.tab(i % 5)).put(`k${i}`, 'value', { w: 3 })
  const leaver = ring.tab(0)
  const held: [at: number, isHeld: boolean][] = []
  let [isHeld, isOver] = [false, false]
  const began = ring.world.time.now
  const leaving = handEverythingOver(nodeOf(leaver), {
    holdWrites(hold) {
      isHeld = hold
      held.push([ring.world.time.now - began, hold])
    },
  }).then(() => {
    isOver = true
  })
  for (let i = 0; !isOver && i < 20_000; i++) {
    if (!isHeld) void ring.client(leaver).put(`k${i % 50}`, `value ${i}`)
    await ring.pass(2)
  }
  await leaving
  expect(held.find(([, hold]) => hold)?.[0]).toBeLessThanOrEqual(3100)
  expect(held.at(-1)?.[1]).toBe(true)
})

// A timer held the writes of a tab that had been told to stay, or that could hand nothing to anybody.
test.each<[what: string, hinder: (ring: Ring) => void, abortAfterMs: number]>([
  ['was given up while its last step goes on', (ring) => ring.world.freeze(ring.tab(1)), 1000],
  ['cannot go on', (ring) => ring.partition([ring.tab(0)], ring.tabs.slice(1)), 5000],
])('writes do not wait for a leave that %s', async (_, hinder, abortAfterMs) => {
  const ring = await openRing(5)
  for (let i = 0; i < 200; i++) await ring.client(ring.tab(i % 5)).put(`k${i}`, 'value', { w: 3 })
  const held: boolean[] = []
  const given = new AbortController()
  hinder(ring)
  const leaving = handEverythingOver(nodeOf(ring.tab(0)), {
    signal: given.signal,
    holdWrites: (hold) => held.push(hold),
  }).catch((error) => error)
  await ring.pass(abortAfterMs)
  expect(held.includes(true)).toBe(false)
  given.abort('enough')
  await ring.pass(60_000)
  expect(held.includes(true)).toBe(false)
  expect(await leaving).toBe('enough')
})

// The deletion of what it had handed over was refused for lack of room as well: who was full could not leave.
test('a tab whose disk is full leaves, and whoever gives the leave up has everything', async () => {
  const ring = await openRing(5, {}, { quiet: false })
  const keys = Array.from({ length: 60 }, (_, i) => `k${i}`)
  for (const [i, key] of keys.entries()) await ring.client(ring.tab(i % 5)).put(key, 'value', { w: 3 })
  await ring.pass(5000)
  const leaver = ring.tab(0)
  const records = leaver.disk.records.size
  expect(records).toBeGreaterThan(10)
  if (!leaver.storage) throw new Error('it is open')
  leaver.storage.failing = 'quota'
  const given = new AbortController()
  const progress = ({ partitionsLeft }: LeaveProgress) => partitionsLeft === 0 && given.abort('stay')
  await expect(ring.await(handEverythingOver(nodeOf(leaver), { signal: given.signal, progress }))).rejects.toBe('stay')
  expect([nodeOf(leaver).transfers.strays(), leaver.disk.records.size]).toEqual([[], records])
  await ring.await(handEverythingOver(nodeOf(leaver)))
  ring.crash(leaver)
  await ring.until('it is gone', () => nodeOf(ring.tab(1)).membership.placed().length === 4)
  for (const key of keys)
    expect(ring.homes(key).map((tab) => replicaAt(tab, key))).toEqual([['value'], ['value'], ['value']])
})

// Whoever knew of the leave asked the new home, which had it not yet, and not the leaver, which is in no preference list any more.
test('with one copy only, what a leaver still has is read from it', async () => {
  const ring = await openRing(16, { readRepair: false }, { knobs: { replication: [1] } })
  const keys = Array.from({ length: 200 }, (_, i) => storeKey(1, '', `k${i}`))
  const reader = ring.tab(0)
  const written = { value: new Uint8Array([7]), expiresAt: 0 }
  const options = { w: 1, strictQuorum: false, durability: 'strict' } as const
  for (const key of keys)
    await ring.await(nodeOf(reader).coordinator.write(key, written, EMPTY_CONTEXT, options).outcome)
  await ring.pass(3000)
  const leaver = ring.tabs.slice(1).find(({ disk }) => disk.records.size > 2) as Tab
  const mine = keys.filter((key) => leaver.disk.records.has(key))
  // It takes its time to hand over.
  const { knobs } = ring.world.network
  knobs.lose = (from, _, frame) => from === leaver.id && ['Entries', 'Store'].includes(typeOf(frame))
  const leaving = handEverythingOver(nodeOf(leaver))
  await ring.pass(1000)
  for (const key of mine) {
    const start = ring.world.time.now
    const { container, met, sloppy } = await ring.await(
      nodeOf(reader).coordinator.get(key, { r: 1, strictQuorum: false }),
    )
    expect([container.siblings.length, met, sloppy]).toEqual([1, true, true])
    // Not after all the others, who have nothing of it.
    expect(ring.world.time.now - start).toBeLessThan(200)
  }
  knobs.lose = () => false
  await ring.await(leaving)
})

// The last step of it went on, and a copy that nobody was to hold counted as handed over for good.
test('a full tab that gives its leave up still has to find a place for what is not its own', async () => {
  const ring = await openRing(5, {}, { quiet: false })
  for (let i = 0; i < 60; i++) await ring.client(ring.tab(i % 5)).put(`k${i}`, 'value', { w: 3 })
  await ring.pass(5000)
  const leaver = ring.tab(0)
  if (!leaver.storage) throw new Error('it is open')
  leaver.storage.failing = 'quota'
  await ring.join()
  await ring.pass(5000)
  const { transfers } = nodeOf(leaver)
  const foreign = transfers.strays()
  expect(foreign.length).toBeGreaterThan(0)
  const given = new AbortController()
  const leaving = handEverythingOver(nodeOf(leaver), { signal: given.signal })
  // Its first gifts are on their way, and confirmed only after it has changed its mind.
  ring.world.network.knobs.latency = (_, to, frame) => (to === leaver.id && typeOf(frame) === 'Stored' ? 1000 : 10)
  await ring.pass(500)
  given.abort('stay')
  await expect(ring.await(leaving)).rejects.toBe('stay')
  await ring.pass(5000)
  expect(transfers.strays()).toEqual(foreign)
})

// Its first attempt that found no room for a note of a delivered hint ended the leave.
test('a tab that has hints for several homes, and no room to note that they have arrived, leaves', async () => {
  const ring = await openRing(3, {}, { quiet: false })
  const [leaver, ...others] = ring.tabs as [Tab, Tab, Tab]
  const keys = Array.from({ length: 20 }, (_, i) => `k${i}`)
  ring.partition([leaver], others)
  await ring.pass(3000)
  for (const key of keys) await ring.client(leaver).put(key, 'value', { w: 1 })
  await ring.pass(5000)
  expect(nodeOf(leaver).replica.hints.pending).toBe(2 * keys.length)
  if (!leaver.storage) throw new Error('it is open')
  leaver.storage.failing = 'quota'
  ring.heal()
  await ring.until('they have met', () => nodeOf(leaver).peers.reachable().length === 2)
  await ring.await(handEverythingOver(nodeOf(leaver)))
  ring.crash(leaver)
  for (const key of keys) expect(others.map((tab) => replicaAt(tab, key))).toEqual([['value'], ['value']])
})

describe('a tab that gives its leave up while a partition is being removed', () => {
  /** A leaver with one partition of three pages on a slow disk, and a key that comes last in it. */
  async function inPages(n: 1 | 3) {
    const disk = { ms: 1 }
    const knobs = { replication: [n], diskTime: () => disk.ms, latency: () => 10 }
    const ring = await openRing(n === 1 ? 2 : 4, { partitions: 16 }, { knobs })
    const leaver = ring.tab(0)
    const { coordinator, routing, duties } = nodeOf(leaver)
    const at = routing.addressOf
    const write = (key: StoreKey, bytes: number) => {
      const written = { value: new Uint8Array(bytes), expiresAt: 0 }
      const options = { w: 1, strictQuorum: true, durability: 'strict' } as const
      return ring.await(coordinator.write(key, written, EMPTY_CONTEXT, options).outcome)
    }
    const all = Array.from({ length: 400 }, (_, i) => storeKey(n, '', `k${i}`))
    const mine = all.filter((key) => duties.isHome(at(key).partition))
    const { partition } = at(mine[0] as StoreKey)
    const keys = mine.filter((key) => at(key).partition === partition).sort((a, b) => at(a).leaf - at(b).leaf)
    for (const key of keys.slice(0, 3)) await write(key, 700_000)
    await ring.pass(20_000)
    const held = () => [...leaver.disk.records.values()].filter(({ address }) => address.partition === partition).length
    disk.ms = 50
    const given = new AbortController()
    const leaving = handEverythingOver(nodeOf(leaver), { signal: given.signal }).catch((error) => error)
    const stayOnce = (what: string, condition: () => boolean) =>
      ring.world.time.until(what, condition, 60_000, 5).then(() => given.abort('stay'))
    return { ring, leaver, duties, disk, partition, last: keys.at(-1) as StoreKey, write, held, leaving, stayOnce }
  }

  // It went on with pages that it read anew, and what the tab wrote there as a home again went with them.
  test.each([1, 3] as const)('keeps what it writes then (n = %i)', async (n) => {
    const { ring, leaver, duties, disk, last, write, held, leaving, stayOnce } = await inPages(n)
    await stayOnce('the first page is gone', () => held() === 2)
    expect((await write(last, 10)).acks).toContain(leaver.id)
    expect(await ring.await(leaving)).toBe('stay')
    disk.ms = 1
    for (let i = 0; i < 100; i++) {
      expect(leaver.disk.records.has(last)).toBe(true)
      await ring.pass(20)
    }
    expect([duties.filling(), held()]).toEqual([[], 4])
  })

  // It had compared what was there with the others' by then, and denied to everybody what was removed after that.
  test.each([1, 3] as const)('fetches what was still on its way out (n = %i)', async (n) => {
    const { ring, leaver, duties, partition, held, leaving, stayOnce } = await inPages(n)
    const noted = () => restored(leaver.disk.meta.get('complete'), partitions)
    await stayOnce('the first page is on its way out', () => !noted()?.includes(partition))
    expect(held()).toBe(3)
    expect(await ring.await(leaving)).toBe('stay')
    expect(held()).toBe(2)
    for (let i = 0; i < 500; i++) {
      if (duties.isComplete(partition)) expect(held()).toBe(3)
      await ring.pass(10)
    }
    expect(duties.filling()).toEqual([])
  })
})

describe('where nobody else is left', () => {
  const KEYS = Array.from({ length: 20 }, (_, i) => `k${i}`)
  const withKeys = async (tabs: number, tuning = {}) => {
    const ring = await openRing(tabs, tuning)
    for (const key of KEYS) await ring.client(ring.tab(0)).put(key, 'value', { w: 2 })
    await ring.pass(3000)
    return ring
  }

  // Each was the only home of everything then, as it saw it, and waited for ever to hand that over.
  test.each([2, 3])('one of %i that leave at once stays, and has everything', async (tabs) => {
    const ring = await withKeys(tabs)
    const ended = ring.tabs.map((tab) =>
      handEverythingOver(nodeOf(tab)).then(
        () => 'left',
        (error) => error.code,
      ),
    )
    const results = await ring.await(Promise.all(ended))
    expect(results.toSorted()).toEqual([...new Array(tabs - 1).fill('left'), 'quorum'])
    const last = ring.tab(results.indexOf('quorum'))
    ring.crash(...ring.tabs.filter((tab) => tab !== last))
    for (const key of KEYS) expect(replicaAt(last, key)).toEqual(['value'])
    await ring.until('it is whole', () => nodeOf(last).duties.filling().length === 0)
    await ring.until('it is synced', () => nodeOf(last).coordinator.synced)
    expect(await ring.client(last).put('k', 'more', { w: 1 })).toMatchObject({ met: true })
  })

  // It waited for the leave's end.
  test('a put at a tab that leaves with all others settles', async () => {
    const ring = await withKeys(2)
    const stores = ring.tabs.map((tab) => storeAt(tab).store)
    const leaving = stores.map((store) => store.leave().catch((error) => error.code))
    await passing(ring, 100)
    const puts = stores.map((store) => store.put('k', 'more').catch((error) => error.code))
    const results = await answerOf(ring, Promise.all(leaving))
    expect(results).toContain('quorum')
    const settled = await answerOf(ring, Promise.all(puts))
    expect(settled[results.indexOf('quorum')]).toMatchObject({ key: 'k' })
  })

  // Once that one counted as asleep nothing was left to hand over, and writes waited for it.
  test('a leave ends when the only other member is closed, and the tab goes on', async () => {
    const ring = await withKeys(2, { replaceAfterMs: 30_000 })
    const { store } = storeAt(ring.tab(0))
    const leaving = store.leave()
    leaving.catch(() => {})
    ring.crash(ring.tab(1))
    await passing(ring, 60_000)
    await expect(answerOf(ring, leaving)).rejects.toMatchObject({ code: 'quorum' })
    await answerOf(ring, store.put('k', 'more'))
    await answerOf(ring, store.flush())
    for (const key of KEYS) expect(await ring.client(ring.tab(0)).get(key)).toEqual(['value'])
  })

  // It waited for them, however long.
  test.each([0, 30, 300, 1000])('a leave ends when all others go out of reach %i ms after it began', async (ms) => {
    const ring = await withKeys(3)
    const { store } = storeAt(ring.tab(0))
    const leaving = store.leave()
    leaving.catch(() => {})
    await ring.pass(ms)
    ring.partition([ring.tab(0)], ring.tabs.slice(1))
    await passing(ring, 20_000)
    if (nodeOf(ring.tab(1)).membership.get(ring.tab(0).id)?.state === 'left') return void (await leaving)
    await expect(leaving).rejects.toMatchObject({ code: 'quorum' })
    await answerOf(ring, store.put('k', 'more'))
    ring.heal()
    await ring.until('one ring', () => ring.isWhole())
    for (const key of KEYS) expect(await ring.client(ring.tab(0)).get(key)).toEqual(['value'])
  })

  // Both rejected.
  test('of two that leave at once while a third is closed, one leaves', async () => {
    const ring = await withKeys(3)
    const [a, b, c] = ring.tabs as [Tab, Tab, Tab]
    ring.crash(c)
    await ring.pass(1000)
    const ended = [a, b].map((tab) =>
      handEverythingOver(nodeOf(tab)).then(
        () => 'left',
        (error) => error.code,
      ),
    )
    expect((await ring.await(Promise.all(ended))).toSorted()).toEqual(['left', 'quorum'])
  })

  test('a tab that holds nothing leaves', async () => {
    const ring = await openRing(1)
    await ring.await(handEverythingOver(nodeOf(ring.tab(0))))
  })

  // Each took the other's copy for the one that stays.
  test('of two that leave at once and do not hear of each other, neither gives its copy up to the other', async () => {
    const ring = await withKeys(2)
    const [one, two] = ring.tabs as [Tab, Tab]
    const { knobs } = ring.world.network
    knobs.lose = (_from, _to, frame) => ['Gossip', 'GossipReply', 'Members'].includes(typeOf(frame))
    const ended = [one, two].map((tab) => handEverythingOver(nodeOf(tab)).catch((error) => error.code))
    await ring.pass(10_000)
    for (const tab of ring.tabs) for (const key of KEYS) expect(replicaAt(tab, key)).toEqual(['value'])
    knobs.lose = () => false
    expect((await ring.await(Promise.all(ended))).filter((code) => code === 'quorum')).toHaveLength(1)
  })
})

// Its own hints were with another by then, it held nothing that could be compared, and it said at once that all was where it belongs.
describe('what a tab wrote for a home that is away', () => {
  const opened = async () => {
    const ring = await openRing(3, { reapAfterMs: 600_000 })
    const [leaver, , away] = ring.homes('k')
    const { store } = storeAt(leaver)
    ring.crash(away)
    await passing(ring, 3000)
    await answerOf(ring, store.put('k', 'value'))
    expect(store.status.synced).toBe(false)
    return { ring, leaver, away, store }
  }
  const handedOver = (ring: Ring, tab: Tab) =>
    ring.until('all is handed over', () => tab.disk.records.size + tab.disk.hints.size === 0)
  const isWaitedFor = async (ring: Ring, tab: Tab, away: Tab) => {
    const { store } = storeAt(tab)
    let flushed = false
    void store.flush().then(() => {
      flushed = true
    })
    await passing(ring, 20_000)
    expect([store.status.synced, flushed]).toEqual([false, false])
    await ring.reopen(away)
    await passing(ring, 40_000)
    expect([store.status.synced, flushed, away.disk.records.has(named('k'))]).toEqual([true, true, true])
  }

  test('is waited for once its leave is given up', async () => {
    const { ring, leaver, away, store } = await opened()
    const given = new AbortController()
    const leaving = store.leave({ signal: given.signal })
    leaving.catch(() => {})
    await handedOver(ring, leaver)
    given.abort()
    await expect(leaving).rejects.toBeDefined()
    await isWaitedFor(ring, leaver, away)
  })

  test('is waited for when it is opened again after it ended in the middle of its leave', async () => {
    const { ring, leaver, away, store } = await opened()
    store.leave().catch(() => {})
    await handedOver(ring, leaver)
    ring.crash(leaver)
    await ring.reopen(leaver)
    await isWaitedFor(ring, leaver, away)
  })
})

// The others forgot deletions without asking it, and it brought back what they had deleted.
test('a tab that has said that it has left, and then has a hint all the same, is asked before a deletion is forgotten', async () => {
  const ring = await openRing(5, { reapAfterMs: 4000, replaceAfterMs: 600_000 })
  const [leaver] = ring.others('k')
  const [a, , c] = ring.homes('k')
  const { knobs } = ring.world.network
  // It cannot know that everybody knows it.
  knobs.lose = (_from, to, frame) => to === leaver.id && typeOf(frame) === 'GossipReply'
  void handEverythingOver(nodeOf(leaver))
  await ring.until('it has left', () => nodeOf(a).membership.get(leaver.id)?.state === 'left')
  ring.world.freeze(c)
  expect(await ring.client(leaver).put('k', 'value')).toMatchObject({ met: true })
  const hears = () => nodeOf(a).membership.get(leaver.id)?.state === 'leaving'
  await ring.until('it has not left', () => hears() && leaver.disk.hints.has(named('k')))
  ring.crash(leaver)
  ring.world.thaw(c)
  await ring.pass(5000)
  const client = ring.client(a)
  expect(await client.get('k')).toEqual(['value'])
  await client.delete('k')
  await ring.pass(30_000)
  knobs.lose = () => false
  await ring.reopen(leaver)
  await ring.pass(20_000)
  expect(await client.get('k')).toEqual([])
})

// Each of the others told it again at the next greeting, and it compared everything anew.
test('a tab that has given its leave up need not be told that it was about to', async () => {
  const ring = await openRing(3)
  const [tab, ...others] = ring.tabs as [Tab, Tab, Tab]
  for (let i = 0; i < 20; i++) await ring.client(tab).put(`k${i}`, 'value', { w: 3 })
  await ring.pass(3000)
  const given = new AbortController()
  const leaving = handEverythingOver(nodeOf(tab), { signal: given.signal }).catch((error) => error)
  await ring.pass(60)
  given.abort('stay')
  expect(await ring.await(leaving)).toBe('stay')
  await ring.until('it is whole', () => nodeOf(tab).duties.filling().length === 0)
  let told = 0
  nodeOf(tab).membership.events.on('replaced', () => told++)
  for (const other of others) {
    ring.partition([tab], [other])
    await ring.pass(3000)
    ring.heal()
    await ring.until('they meet again', () => nodeOf(tab).peers.reachable().length === 2)
    await ring.pass(1000)
  }
  expect(told).toBe(0)
})

test('a tab that gives its leave up in the last moment does not say that it has left', async () => {
  const ring = await openRing(3)
  const [tab, other] = ring.tabs as [Tab, Tab, Tab]
  const node = nodeOf(tab)
  const { storage } = node.replica
  const given = new AbortController()
  const getHints = storage.getHints.bind(storage)
  storage.getHints = async (keys) => {
    const rows = await getHints(keys)
    // Its last look at the disk is for nothing in particular.
    if (keys.length === 0) given.abort('stay')
    return rows
  }
  await expect(ring.await(handEverythingOver(node, { signal: given.signal }))).rejects.toBe('stay')
  await ring.pass(5000)
  expect([tab, other].map((seen) => nodeOf(seen).membership.get(tab.id)?.state)).toEqual(['up', 'up'])
})

// Its context was that of before the wait, and the put beside it had begun in the meantime.
test('an update and a put that wait for a leave make no conflict once it is given up', async () => {
  const ring = await openRing(3)
  const [tab] = ring.tabs as [Tab]
  const { store } = storeAt(tab)
  await answerOf(ring, store.put('k', 'before'))
  // Nobody confirms that it has left.
  ring.world.network.knobs.lose = (_, to, frame) => to === tab.id && typeOf(frame) === 'GossipReply'
  const given = new AbortController()
  const leaving = store.leave({ signal: given.signal })
  await passing(ring, 5000)
  const put = store.put('k', 'put')
  const update = store.update('k', (value) => `${value}, updated`)
  await passing(ring, 1000)
  given.abort('stay')
  await expect(answerOf(ring, leaving)).rejects.toBe('stay')
  ring.world.network.knobs.lose = () => false
  await answerOf(ring, Promise.all([put, update]))
  expect(await answerOf(ring, store.get('k'))).toMatchObject({ siblings: ['put, updated'] })
})

// It told nobody, as it had met nobody; and they had its Hello: a member that nobody would ever see again, and for which no deletion was forgotten.
test('who leaves in the moment of being met is no member that is waited for', async () => {
  const ring = await openRing(2)
  const [old] = ring.tabs as [Tab]
  const visitor = ring.world.addPlace()
  ring.world.begin(visitor)
  const isLinked = () => ring.tabs.some((tab) => ring.world.network.isLinked(visitor.id, tab.id))
  await ring.world.time.until('a link', isLinked, 1000, 1)
  expect(nodeOf(visitor).peers.reachable()).toEqual([])
  await ring.leave(visitor)
  ring.crash(visitor)
  await ring.pass(5000)
  expect(nodeOf(old).membership.placed()).not.toContain(visitor.id)
})

test('who is alone and linked with tabs that say nothing leaves all the same', async () => {
  const ring = await openRing(1)
  const [frozen] = ring.tabs as [Tab]
  ring.world.freeze(frozen)
  const visitor = await ring.join()
  await ring.pass(500)
  await ring.leave(visitor)
})

// Nothing came about any more that would have made it look: there was nobody to compare with, or to fetch from.
test('who stays as the other one, which leaves too, is closed, is synced', async () => {
  const ring = await openRing(2)
  const [tab, other] = ring.tabs as [Tab, Tab]
  for (let i = 0; i < 20; i++) await ring.client(tab).put(`k${i}`, 'v', { w: 2 })
  const { store } = storeAt(tab)
  const leaving = store.leave()
  leaving.catch(() => {})
  void handEverythingOver(nodeOf(other)).catch(() => {})
  await ring.until('it knows', () => nodeOf(tab).membership.get(other.id)?.state === 'leaving')
  ring.crash(other)
  await passing(ring, 30_000)
  await expect(leaving).rejects.toMatchObject({ code: 'quorum' })
  await passing(ring, 10_000)
  expect([nodeOf(tab).duties.filling(), store.status.synced]).toEqual([[], true])
})

test('who waits for a flush while the tab leaves is told when all is handed over', async () => {
  const ring = await openRing(4)
  const [tab] = ring.others('k')
  const { store } = storeAt(tab)
  await answerOf(ring, store.put('k', 'v'))
  const leaving = store.leave()
  await passing(ring, 50)
  const flushed = store.flush()
  await answerOf(ring, leaving)
  await expect(answerOf(ring, flushed)).resolves.toBeUndefined()
})
