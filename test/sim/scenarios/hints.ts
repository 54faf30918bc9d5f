/** Hinted handoff (§4.6). */
import { strict as assert } from 'node:assert'
import { type Ring, type Tab, nodeOf, replicaAt } from '../ring.js'
import { typeOf } from '../trace.js'
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
    shows: 'a home that was away for an hour and missed thousands of writes gets them by hints alone',
    tuning: { ...SLOW_HEART, ...HINTS_ALONE, handoffIntervalMs: 2000 },
    visits: ['a hint was delivered'],
    async run(ring) {
      const [away, ...others] = ring.tabs as [Tab, ...Tab[]]
      ring.crash(away)
      const names = keys(100)
      for (let i = 0; i < 3000; i++) {
        if (i % 50 === 0) await ring.pass(60_000)
        await ring.client(others[i % 6] as Tab).put(names[i % 100] as string, `${i}`)
      }
      assert.ok(hintRows(ring) > 0)
      await ring.reopen(away)
      await ring.until('no hints', () => hintRows(ring) === 0, 60_000)
      for (const key of names)
        if (ring.homes(key).includes(away)) assert.ok(replicaAt(away, key).length >= 1, `${key} at the returned home`)
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
    shows: 'a home that comes and goes every five seconds makes no storm of repeated deliveries',
    visits: ['a hint was delivered'],
    async run(ring) {
      const [away, writer] = ring.tabs as [Tab, Tab]
      const names = homeKeys(ring, away, 30)
      let written = 0
      let stored = 0
      ring.world.network.taps.push((_, to, frame) => {
        if (to === away.id && typeOf(frame) === 'Store') stored++
      })
      for (let round = 0; round < 30; round++) {
        ring.crash(away)
        for (const key of names.slice(0, 10)) {
          await ring.pass(500)
          await ring.client(writer).put(key, `${round}`)
          written++
        }
        await ring.reopen(away)
        await ring.pass(5000)
        for (const tab of ring.tabs) assert.ok(tab.disk.hints.size <= names.length, 'one row per key')
      }
      assert.ok(stored <= 4 * written, `${stored} stores sent to the flapping home for ${written} writes`)
    },
  },
  {
    number: 12,
    name: 'hint-orphan',
    shows: 'hints for a home that others have replaced go to the new homes and end (P25)',
    tuning: { replaceAfterMs: 20_000, standInAfterMs: 600_000 },
    visits: ['a member fell asleep'],
    async run(ring) {
      const [away, writer] = ring.tabs as [Tab, Tab]
      const names = homeKeys(ring, away, 20)
      ring.crash(away)
      await ring.pass(2000)
      for (const key of names) await ring.client(writer).put(key, 'value')
      assert.ok(hintRows(ring) > 0)
      await ring.until('no hints', () => hintRows(ring) === 0, 120_000)
      for (const key of names)
        for (const home of ring.homes(key)) assert.deepEqual(replicaAt(home, key), ['value'], `${key} at its new homes`)
    },
  },
  {
    number: 13,
    name: 'hint-storm',
    shows: 'a slow replica makes hints but neither slows down nor fails the writes of others (scylladb#7976)',
    async run(ring) {
      const [writer, slow] = ring.tabs as [Tab, Tab]
      const client = ring.client(writer)
      const put = async (i: number) => assert.equal((await client.put(`k${i % 50}`, `${i}`)).met, true)
      const calm = quantile(await ring.latencies(300, put), 0.99)
      for (const tab of ring.tabs) ring.world.network.setSlow(tab.id, slow.id, { bytesPerMs: 0.2, bufferBytes: 64_000 })
      const busy = quantile(await ring.latencies(300, put), 0.99)
      // A key whose other two homes are both remote waits for the slower one of them, not for the slow one.
      assert.ok(busy <= Math.max(1.2 * calm, calm + 30), `p99 ${busy} ms, before ${calm} ms`)
      for (const tab of ring.tabs) assert.ok(tab.disk.hints.size <= 50)
      const sent = await ring.messages(() => ring.pass(20_000))
      const stores = sent.filter(({ to, type }) => to === slow.id && type === 'Store').length
      assert.ok(stores <= 150, `${stores} deliveries to the slow one in 20 seconds`)
      ring.world.network.endSlowness()
      await ring.until('no hints', () => hintRows(ring) === 0, 60_000)
      assert.ok(nodeOf(writer).membership.placed().includes(slow.id))
    },
  },
]
