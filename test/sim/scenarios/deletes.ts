/** Tombstones: deleted keys stay deleted, and their tombstones end. */
import { strict as assert } from 'node:assert'
import { lww } from '../../../src/merge/index.js'
import { type Client, type Ring, type Tab, hintAt, named, nodeOf, replicaAt } from '../ring.js'
import { SLOW_HEART, type Scenario, keys } from './scenario.js'

const HOUR = 3_600_000
const QUICK_TO_FORGET = { reapAfterMs: 4000, scrubIntervalMs: 2000 }

function tombstones(ring: Ring, key: string): number {
  return ring.tabs.filter((tab) => tab.disk.records.has(named(key)) && replicaAt(tab, key).length === 0).length
}

export const deletes: Scenario[] = [
  {
    number: 19,
    name: 'doomstone-fallback',
    shows:
      'a tombstone that all have forgotten comes back with the old disks of a stand-in and of a home, and does not kill the key that is created anew (P3)',
    tuning: { ...QUICK_TO_FORGET, standInAfterMs: 600_000, replaceAfterMs: 9_000_000 },
    visits: ['a stand-in held the tombstone', 'a tombstone was forgotten'],
    async run(ring) {
      const [a, b, c] = ring.homes('k')
      await ring.client(b).put('k', 'first', { w: 3 })
      ring.crash(a)
      await ring.pass(2000)
      const client = ring.client(b)
      await client.get('k')
      await client.put('k', undefined, { w: 3 })
      const fallback = ring.tabs.find((tab) => tab !== b && tab !== c && hintAt(tab, 'k'))
      assert.ok(fallback)
      ring.saw('a stand-in held the tombstone')
      const backups = [fallback, c].map((tab) => ({ tab, backup: tab.disk.snapshot() }))
      await ring.reopen(a)
      await ring.until('the tombstone to end', () => tombstones(ring, 'k') === 0)
      // Who creates it anew is the one that deleted it, in the same life, and has not met what comes back.
      const stale = backups.map(({ tab }) => tab)
      ring.partition(
        stale,
        ring.tabs.filter((tab) => !stale.includes(tab)),
      )
      for (const { tab, backup } of backups) {
        ring.crash(tab)
        ring.world.rollBack(tab, backup)
        await ring.reopen(tab)
      }
      assert.ok(tombstones(ring, 'k') === 1 && hintAt(fallback, 'k'))
      await ring.client(b).blind('k', 'second')
      ring.heal()
      await ring.pass(30_000)
      for (const tab of ring.tabs) assert.deepEqual(await ring.client(tab).get('k', { r: 3 }), ['second'])
    },
  },
  {
    number: 20,
    name: 'zombie-long-absent',
    shows:
      'a tab that was away with the value for any time after the delete does not bring it back; then the tombstone ends',
    tuning: { ...QUICK_TO_FORGET, replaceAfterMs: 30_000 },
    visits: ['a member fell asleep', 'a tombstone was forgotten'],
    async run(ring) {
      const [a, b] = ring.homes('k')
      await ring.client(b).put('k', 'value', { w: 3 })
      ring.crash(a)
      const client = ring.client(b)
      await client.get('k')
      await client.delete('k')
      for (let hour = 0; hour < 3; hour++) {
        await ring.pass(HOUR / 4)
        assert.ok(tombstones(ring, 'k') > 0, 'kept for the one that is away')
      }
      await ring.reopen(a)
      await ring.pass(60_000)
      for (const tab of ring.tabs) assert.deepEqual(await ring.client(tab).get('k'), [])
      await ring.until('the tombstone to end', () => tombstones(ring, 'k') === 0, 300_000)
    },
  },
  {
    number: 21,
    name: 'hint-vs-purge',
    shows: 'no tombstone is forgotten while somebody may still hold a hint with the old value (scylladb#23712)',
    tuning: { ...QUICK_TO_FORGET, standInAfterMs: 600_000, replaceAfterMs: 9_000_000, merkleSync: true },
    visits: ['an old value waited in a hint'],
    async run(ring) {
      const [a, b] = ring.homes('k')
      ring.crash(a)
      await ring.pass(2000)
      await ring.client(b).put('k', 'old', { w: 3 })
      const holder = ring.tabs.find((tab) => tab !== b && hintAt(tab, 'k'))
      assert.ok(holder)
      ring.crash(holder)
      ring.saw('an old value waited in a hint')
      await ring.reopen(a)
      await ring.pass(10_000)
      const client = ring.client(a)
      await client.get('k')
      await client.put('k', undefined, { w: 3 })
      await ring.pass(300_000)
      await ring.reopen(holder)
      await ring.pass(60_000)
      for (const tab of ring.tabs) assert.deepEqual(await ring.client(tab).get('k', { r: 3 }), [])
    },
  },
  {
    number: 22,
    name: 'transfer-vs-purge',
    shows: 'no tombstone is forgotten while a former home still holds the old value (P6)',
    tuning: QUICK_TO_FORGET,
    visits: ['a former home held an old value'],
    async run(ring) {
      const names = keys(40)
      for (const key of names) await ring.client(ring.tab(0)).put(key, 'old', { w: 3 })
      const before = new Map(names.map((key) => [key, ring.homes(key)]))
      const joined = [ring.world.addPlace(), ring.world.addPlace(), ring.world.addPlace()]
      // Former homes cannot hand over: they do not reach the newcomers.
      const [former] = ring.tabs as [Tab]
      for (const tab of joined) ring.world.network.cut(former.id, tab.id)
      for (const tab of joined) await ring.world.start(tab)
      await ring.pass(20_000)
      const client = ring.client(ring.tab(1))
      for (const key of names) {
        await client.get(key)
        // The former home does not hear of it either.
        if (before.get(key)?.includes(former) && !ring.homes(key).includes(former))
          ring.saw('a former home held an old value')
        await client.delete(key)
      }
      await ring.pass(120_000)
      ring.heal()
      await ring.pass(60_000)
      for (const key of names) assert.deepEqual(await ring.client(former).get(key, { r: 3 }), [])
    },
  },
  {
    number: 23,
    name: 'ttl-skew',
    shows:
      'with clocks two hours apart, values expire once everywhere, never live longer again, and nothing keeps repairing',
    tuning: { ...SLOW_HEART, reapAfterMs: 600_000 },
    visits: ['a value was expired for some only'],
    async run(ring) {
      const wallTime = 1_700_000_000_000 + ring.world.time.now
      for (const [i, tab] of ring.tabs.entries()) tab.clockError = ((i % 3) - 1) * 2 * HOUR
      const client = ring.client(ring.tab(1))
      for (const key of keys(10)) await client.put(key, 'mortal', { expiresAt: wallTime + 6 * HOUR, w: 3 })
      await ring.pass(30_000)
      for (const key of keys(10)) assert.deepEqual(await ring.client(ring.tab(0)).get(key), ['mortal'])
      for (let i = 0; i < 24; i++) {
        await ring.pass(HOUR / 2)
        const holders = ring.tabs.filter((tab) => replicaAt(tab, 'k0').length > 0)
        const expired = holders.filter(
          (tab) => 1_700_000_000_000 + ring.world.time.now + tab.clockError >= wallTime + 6 * HOUR,
        )
        if (expired.length > 0 && expired.length < holders.length) ring.saw('a value was expired for some only')
      }
      for (const key of keys(10)) assert.deepEqual(await ring.client(ring.tab(3)).get(key, { r: 3 }), [])
    },
  },
  {
    number: 24,
    name: 'clock-scramble',
    shows:
      'wall clocks that jump by hours every second change nothing of what wins; last writer wins picks among versions that nobody replaced, never one behind',
    visits: ['a version replaced one of a later time', 'two versions were merged by their times'],
    async run(ring) {
      interface Stamped {
        id: number
        /** Of the writer's wall clock. */
        at: number
        /** All versions that it descends from. */
        after: number[]
      }
      const wins = lww<Stamped>('at')
      const timeAt = (tab: Tab) => 1_700_000_000_000 + ring.world.time.now + tab.clockError
      let last = 0
      const seen: Stamped[] = []
      const read = async (client: Client): Promise<Stamped | undefined> => {
        const versions = (await client.get('lww')).map((text): Stamped => JSON.parse(text))
        if (versions.length === 0) return undefined
        if (versions.length > 1) ring.saw('two versions were merged by their times')
        const won = wins(versions)
        for (const former of seen)
          assert.ok(!former.after.includes(won.id), `${won.id} came back after ${former.id}, which descends from it`)
        seen.push(won)
        return won
      }
      const client = ring.client(ring.tab(2))
      for (let i = 0; i < 60; i++) {
        for (const tab of ring.tabs) tab.clockError = ring.random.between(-5, 5) * HOUR
        await ring.pass(1000)
        await client.put('k', `${i}`)
        assert.deepEqual(await ring.client(ring.tab(i % 7)).get('k'), [`${i}`])
        // Two at once, neither of which knows the other's.
        const writers = [ring.client(ring.tab(i % 7)), ring.client(ring.tab((i + 3) % 7))]
        const before = [await read(writers[0] as Client), await read(writers[1] as Client)]
        const puts = writers.map((writer, w) => {
          const former = before[w]
          const at = timeAt(writer.tab)
          if (former && former.at > at) ring.saw('a version replaced one of a later time')
          const next: Stamped = { id: ++last, at, after: former ? [...former.after, former.id] : [] }
          return writer.begin('lww', JSON.stringify(next))
        })
        await ring.await(Promise.all(puts))
        await read(ring.client(ring.tab((i + 1) % 7)))
      }
      assert.ok(nodeOf(ring.tab(2)).membership.placed().length === 7)
    },
  },
  {
    number: 57,
    name: 'forget-then-power-cut',
    shows: 'a power cut after everybody agreed to forget a tombstone does not take anybody back behind it',
    tuning: QUICK_TO_FORGET,
    visits: ['a tombstone was forgotten'],
    async run(ring) {
      const names = keys(20)
      const client = ring.client(ring.tab(0))
      for (const key of names) await client.put(key, 'old', { w: 3, durability: 'all' })
      for (const key of names) await client.put(key, undefined, { w: 3, durability: 'relaxed' })
      await ring.until('the tombstones to end', () => names.every((key) => tombstones(ring, key) === 0), 300_000)
      for (const tab of ring.tabs) ring.world.cutPower(tab)
      await ring.reopen(...ring.tabs)
      await ring.pass(60_000)
      for (const key of names) assert.deepEqual(await ring.client(ring.tab(3)).get(key), [])
    },
  },
  {
    number: 72,
    name: 'read-repair-tombstone',
    shows: 'a home that was away while a key was deleted hears of it by the next read, and the deletion stays one',
    tuning: { merkleSync: false, hintedHandoff: false },
    visits: ['a read repair met a tombstone'],
    async run(ring) {
      const [away, home] = ring.homes('k')
      const client = ring.client(home)
      await client.put('k', 'value', { w: 3 })
      ring.crash(away)
      await ring.pass(2000)
      await client.get('k')
      await client.delete('k')
      // What would bring it to the one that was away without a read.
      const holders = ring.tabs.filter((tab) => hintAt(tab, 'k'))
      ring.crash(...holders)
      for (const { disk } of holders) disk.hints.clear()
      await ring.reopen(...holders, away)
      await ring.until('one ring', () => ring.isWhole())
      assert.deepEqual(replicaAt(away, 'k'), ['value'])
      assert.deepEqual(await ring.client(home).get('k', { r: 3 }), [])
      await ring.pass(2000)
      assert.equal(tombstones(ring, 'k'), 3)
    },
  },
]
