/** Hinted handoff (§4.6). */
import { strict as assert } from 'node:assert'
import type { Disk } from '../disk.js'
import { type Ring, type Tab, hintAt, nodeOf, replicaAt } from '../ring.js'
import { SLOW_HEART, type Scenario, keys, quantile } from './scenario.js'

/** Nothing but hints moves data, and nobody takes a closed tab's place. */
const HINTS_ALONE = { merkleSync: false, readRepair: false, standInAfterMs: 9_000_000, replaceAfterMs: 9_000_000 }

function hintRows(ring: Ring): number {
  return ring.tabs.reduce((sum, tab) => sum + tab.disk.hints.size, 0)
}

/** Keys of which this tab is a home. */
function homeKeys(ring: Ring, home: Tab, count: number): string[] {
  return keys(20 * count)
    .filter((key) => ring.homes(key).includes(home))
    .slice(0, count)
}

/** A holder of hints for that tab. */
function holderFor(ring: Ring, away: Tab): Tab {
  const holder = ring.world
    .alive()
    .find(({ disk }) => [...disk.hints.values()].some((row) => row.homes.includes(away.id)))
  assert.ok(holder, 'somebody holds a hint')
  return holder
}

export const hints: Scenario[] = [
  {
    number: 8,
    name: 'hint-basic',
    shows: 'a home that was away for an hour and missed ten thousand writes gets them by hints alone',
    tuning: { ...SLOW_HEART, ...HINTS_ALONE, handoffIntervalMs: 2000 },
    visits: ['a hint was delivered'],
    async run(ring) {
      const [away, ...others] = ring.tabs as [Tab, ...Tab[]]
      ring.crash(away)
      const names = keys(100)
      const clients = others.map((tab) => ring.client(tab))
      for (let i = 0; i < 10_000; i++) {
        if (i % 170 === 0) await ring.pass(60_000)
        const key = i % 100
        await (clients[key % 6] as (typeof clients)[0]).put(names[key] as string, `${i}`)
      }
      assert.ok(hintRows(ring) > 0)
      await ring.reopen(away)
      await ring.until('no hints', () => hintRows(ring) === 0, 60_000)
      for (const key of names)
        if (ring.homes(key).includes(away))
          assert.deepEqual(replicaAt(away, key), [`99${key.slice(1).padStart(2, '0')}`])
    },
  },
  {
    number: 9,
    name: 'hint-holder-restarts',
    shows: 'hints survive the restart of their holder and are delivered (riak_core#154)',
    tuning: HINTS_ALONE,
    visits: ['a hint was delivered by a restarted holder'],
    async run(ring) {
      const [away, writer] = ring.tabs as [Tab, Tab]
      const names = homeKeys(ring, away, 20)
      ring.crash(away)
      await ring.pass(3000)
      for (const key of names) await ring.client(writer).put(key, 'value')
      await ring.pass(3000)
      const holders = ring.world.alive().filter(({ disk }) => disk.hints.size > 0)
      ring.crash(...holders)
      await ring.pass(10_000)
      await ring.reopen(...holders)
      // The home was there all the time, for all that the holder knows: no link comes up to remind it.
      await ring.reopen(away)
      await ring.until('no hints', () => hintRows(ring) === 0, 60_000)
      for (const key of names) assert.deepEqual(replicaAt(away, key), ['value'])
    },
  },
  {
    number: 10,
    name: 'hint-holder-lost',
    shows: 'when all who held hints are gone for ever, Merkle sync alone brings the home up to date',
    tuning: { replaceAfterMs: 120_000 },
    visits: ['Merkle sync moved data'],
    async run(ring) {
      const [away, writer] = ring.tabs as [Tab, Tab]
      const names = homeKeys(ring, away, 20)
      // The outbox is no stand-in's hint: only what the writer's homes hold is left.
      ring.crash(away)
      await ring.pass(1000)
      for (const key of names) await ring.client(writer).put(key, 'value', { w: 3 })
      ring.evict(holderFor(ring, away))
      for (const tab of ring.tabs) tab.disk.hints.clear()
      const open = ring.world.alive()
      ring.crash(...open)
      await ring.reopen(...open, away)
      await ring.pass(60_000)
      for (const key of names) if (ring.homes(key).includes(away)) assert.deepEqual(replicaAt(away, key), ['value'])
    },
  },
  {
    number: 11,
    name: 'hint-flap',
    shows:
      'a home that comes and goes every five seconds for an hour: its hints end each time it is up, and none goes out twice',
    tuning: { ...SLOW_HEART, handoffIntervalMs: 2000, standInAfterMs: 9_000_000, replaceAfterMs: 9_000_000 },
    visits: ['a hint was delivered'],
    async run(ring) {
      const [away, writer] = ring.tabs as [Tab, Tab]
      const names = homeKeys(ring, away, 30)
      const delivered = () => ring.world.sights.seen.get('a hint was delivered') ?? 0
      let written = 0
      let most = 0
      for (let round = 0; round < 360; round++) {
        ring.crash(away)
        for (let i = 0; i < 4; i++) {
          await ring.pass(1250)
          await ring.client(writer).put(names[written % names.length] as string, `${round}`)
          written++
        }
        most = Math.max(most, hintRows(ring))
        await ring.reopen(away)
        await ring.pass(5000)
        assert.equal(hintRows(ring), 0, `hints are left after round ${round}`)
      }
      // Each write of one round waits in the writer's outbox, which holds it for the other homes as well, and at a stand-in.
      assert.ok(most <= 8, `${most} rows of hints for 4 writes`)
      assert.ok(delivered() <= 2 * written, `${delivered()} deliveries of ${written} writes`)
    },
  },
  {
    number: 12,
    name: 'hint-orphan',
    shows:
      'hints for a home that others have replaced go to the new homes, also where nobody else has the value, and end (P25)',
    tuning: { replaceAfterMs: 30_000, standInAfterMs: 600_000 },
    visits: ['a member fell asleep', 'a hint was re-routed', 'a re-routed hint was delivered'],
    async run(ring) {
      const [away, holder, ...others] = ring.tabs as [Tab, Tab, ...Tab[]]
      const names = homeKeys(ring, away, 40).filter((key) => !ring.homes(key).includes(holder))
      ring.crash(away)
      await ring.pass(2000)
      for (const key of names) await ring.client(holder).put(key, 'value')
      await ring.pass(5000)
      // The two homes that had acknowledged lose it, and so do the stand-ins.
      ring.crash(...others)
      for (const tab of others) ring.world.changeDisk(tab, 'loses its records and hints', () => loseData(tab.disk))
      await ring.reopen(...others)
      for (const key of names) {
        assert.deepEqual(hintAt(holder, key)?.homes, [away.id], `${key} is in a hint for the one that is away`)
        assert.ok(
          ring.tabs.every((tab) => replicaAt(tab, key).length === 0),
          `${key} is nowhere else`,
        )
      }
      const delivered = () => ring.world.sights.seen.get('a hint was delivered') ?? 0
      const before = delivered()
      await ring.until('no hints', () => hintRows(ring) === 0, 120_000)
      if (delivered() > before) ring.saw('a re-routed hint was delivered')
      for (const key of names)
        for (const home of ring.homes(key)) assert.deepEqual(replicaAt(home, key), ['value'], `${key} at its new homes`)
    },
  },
  {
    number: 13,
    name: 'hint-storm',
    shows:
      'one replica of ten with a very slow disk gets hints, and neither slows down nor fails the writes of others (scylladb#7976)',
    tabs: 10,
    visits: ['a home that was up got hints'],
    async run(ring) {
      const [writer, slow] = ring.tabs as [Tab, Tab]
      const client = ring.client(writer)
      const put = async (i: number) => assert.equal((await client.put(`k${i % 50}`, `${i}`)).met, true)
      const calm = quantile(await ring.latencies(400, put), 0.99)
      const stop = slowDown(ring, slow, 6000)
      const busy = quantile(await ring.latencies(400, put), 0.99)
      assert.ok(busy <= 1.2 * calm, `p99 ${busy} ms, before ${calm} ms`)
      const hinted = [...writer.disk.hints.values()].filter(({ homes }) => homes.includes(slow.id)).length
      if (hinted > 0 && nodeOf(writer).peers.isReachable(slow.id)) ring.saw('a home that was up got hints')
      const sent = await ring.messages(() => ring.pass(20_000))
      const stores = sent.filter(({ to, type }) => to === slow.id && type === 'Store').length
      // One at a time, as each takes six seconds.
      assert.ok(stores <= 10, `${stores} deliveries to the slow one in 20 seconds`)
      stop()
      await ring.until('no hints', () => hintRows(ring) === 0, 60_000)
      for (const { node } of ring.world.alive()) assert.ok(node.membership.placed().includes(slow.id))
    },
  },
]

function loseData({ records, hints, groups }: Disk): void {
  for (const rows of [records, hints, groups]) rows.clear()
}

/** From now on each commit of the tab takes that much longer, until the function that is returned is called. Its timers and links are as before. */
function slowDown(ring: Ring, tab: Tab, ms: number): () => void {
  const { storage } = tab
  assert.ok(storage)
  const commit = storage.commit.bind(storage)
  storage.commit = (batch, durability) =>
    new Promise((resolve, reject) => {
      ring.world.time.at(ms, () => void commit(batch, durability).then(resolve, reject))
    })
  return () => {
    storage.commit = commit
  }
}
