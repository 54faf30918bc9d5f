/** Merkle sync, read repair and scrubbing (§4.7). */
import { strict as assert } from 'node:assert'
import { sameDigest } from '../../../src/core/replica/merkle.js'
import { type Ring, type Tab, named, nodeOf, replicaAt } from '../ring.js'
import { typeOf } from '../trace.js'
import { type Scenario, isDamaged, keys, mean } from './scenario.js'

async function fill(ring: Ring, count: number): Promise<string[]> {
  const names = keys(count)
  for (const key of names) await ring.client(ring.tab(0)).put(key, 'value', { w: 3 })
  await ring.pass(5000)
  return names
}

function counters(ring: Ring, name: string): number {
  return ring.world.alive().reduce((sum, { node }) => sum + (node.metrics.snapshot().counters[name] ?? 0), 0)
}

export const sync: Scenario[] = [
  {
    number: 25,
    name: 'aae-data-loss',
    shows:
      'a partition’s records, its tree, or both are lost without anybody reading: all is put right, then all is quiet',
    tuning: { scrubIntervalMs: 2000 },
    visits: ['Merkle sync moved data'],
    async run(ring) {
      const names = await fill(ring, 60)
      for (const [i, lose] of [
        (tab: Tab) => tab.disk.records.clear(),
        (tab: Tab) => tab.disk.groups.clear(),
        (tab: Tab) => {
          tab.disk.records.clear()
          tab.disk.groups.clear()
        },
      ].entries()) {
        const tab = ring.tab(i + 1)
        ring.crash(tab)
        ring.world.changeDisk(tab, 'loses data', () => lose(tab))
        await ring.reopen(tab)
      }
      const isWhole = () =>
        names.every((key) => ring.homes(key).every((home) => replicaAt(home, key).includes('value')))
      await ring.until('all data back', isWhole, 300_000)
    },
  },
  {
    number: 26,
    name: 'aae-in-flight',
    shows: 'heavy writing during comparisons, with no real divergence, repairs next to nothing',
    tuning: { syncIntervalMs: 200 },
    // Writes are on their way for long.
    knobs: { maxLatencyMs: 300 },
    visits: ['a comparison met writes on their way'],
    async run(ring) {
      const names = keys(50)
      await ring.pass(10_000)
      const before = counters(ring, 'syncPulled') + counters(ring, 'syncPushed')
      const checks = () => ring.world.trace.sent.get('CheckKeys') ?? 0
      const checksBefore = checks()
      for (let i = 0; i < 2000; i++) {
        void ring.client(ring.tab(i % 7)).begin(names[i % 50] as string, `${i}`)
        await ring.pass(10)
      }
      const moved = counters(ring, 'syncPulled') + counters(ring, 'syncPushed') - before
      if (checks() > checksBefore) ring.saw('a comparison met writes on their way')
      assert.ok(moved <= 10, `${moved} containers moved by sync during 2000 writes`)
      // Blind writes of seven tabs are siblings; one who saw them all ends that.
      await ring.pass(3000)
      for (const key of names) {
        const client = ring.client(ring.tab(0))
        await client.get(key)
        await client.put(key, 'merged')
      }
    },
  },
  {
    number: 27,
    name: 'aae-bitrot',
    shows: 'flipped bits in values and in trees are found by the scrub, healed from replicas, and never spread',
    tuning: { scrubIntervalMs: 1000 },
    visits: ['a value was damaged', 'a tree was damaged'],
    async run(ring) {
      const names = await fill(ring, 40)
      for (const [i, key] of names.entries()) {
        const [home] = ring.homes(key)
        if (i % 2 === 0) {
          ring.world.changeDisk(home, 'has a value damaged', () =>
            home.disk.flipByte(named(key), ring.random.below(80)),
          )
          if (isDamaged(home, key)) ring.saw('a value was damaged')
        } else {
          home.disk.flipLeaf(named(key))
          // Trees are read when a tab opens.
          ring.crash(home)
          await ring.reopen(home)
          const { partition } = nodeOf(home).routing.addressOf(named(key))
          const [mine, theirs] = [home, ring.homes(key)[1]].map((tab) => nodeOf(tab).replica.forest.root(partition))
          if (mine && theirs && !sameDigest(mine, theirs)) ring.saw('a tree was damaged')
        }
      }
      const isSound = (tab: Tab, key: string) => {
        try {
          return replicaAt(tab, key).join() === 'value'
        } catch {
          return false
        }
      }
      await ring.until(
        'everything healed',
        () => names.every((key) => ring.homes(key).every((home) => isSound(home, key))),
        300_000,
      )
      const reports = await Promise.all(ring.world.alive().map(({ node }) => ring.await(node.scrub.verify(true))))
      assert.ok(reports.every(({ corrupt }) => corrupt.length === 0))
    },
  },
  {
    number: 28,
    name: 'aae-flood',
    shows:
      'a home that has everything to fetch makes progress, and meanwhile its user waits little longer, and read repair keeps to its rate',
    tabs: 4,
    // A record is a page: what the disk takes for one does not depend on its size. Links are faster than the disk, so that the disk is what
    // users and the flood share.
    tuning: { hintedHandoff: false, batchBytes: 200 },
    knobs: { minLatencyMs: 1, maxLatencyMs: 3, diskMinMs: 1, diskMaxMs: 5, noticeMs: 100 },
    visits: ['Merkle sync moved data', 'the flood went on while users were served'],
    async run(ring) {
      const names = keys(2000)
      const [flooded, writer, ...others] = ring.tabs as [Tab, Tab, ...Tab[]]
      const probe = (i: number) => ring.client(flooded).put(`probe ${i % 5}`, `${i}`)
      const calm = mean(await ring.latencies(300, probe))
      // The same life goes on: it knows how fast it is in peace. Only it compares, and nobody has hints for it: what moves is its own doing.
      ring.partition([flooded], [writer, ...others])
      for (const tab of [writer, ...others]) tab.options.tuning = { merkleSync: false }
      ring.crash(writer, ...others)
      await ring.reopen(writer, ...others)
      await ring.pass(5000)
      for (let i = 0; i < names.length; i += 10) {
        const puts = names.slice(i, i + 10).map((key) => ring.client(writer).begin(key, 'x'.repeat(200)))
        await ring.await(Promise.all(puts))
      }
      await ring.pass(5000)
      ring.crash(writer, ...others)
      for (const { disk } of [writer, ...others]) disk.hints.clear()
      await ring.reopen(writer, ...others)
      await ring.pass(5000)
      const missing = () =>
        names.filter((key) => ring.homes(key).includes(flooded) && !flooded.disk.records.has(named(key)))
      const all = missing().length
      ring.heal()
      await ring.until('the flood to begin', () => missing().length < all)
      const start = missing().length
      const busy = mean(await ring.latencies(300, probe))
      assert.ok(missing().length < start - 5, `progress: ${start} keys were missing, and then ${missing().length}`)
      assert.ok(missing().length > 200, 'the flood is over too early')
      ring.saw('the flood went on while users were served')
      // 1.15 to 1.25 times with the budget, 2.1 to 2.9 times without. The table has 1.2 for the p99, which is 1.3 to 2.1 times here: one page
      // before a put in the disk's queue is half of what a calm one takes.
      assert.ok(busy <= 1.4 * calm, `${busy} ms on average, before ${calm} ms`)
      const before = counters(ring, 'readRepairs')
      for (const key of missing()) void nodeOf(writer).coordinator.get(named(key), { r: 3, strictQuorum: false })
      await ring.pass(3000)
      const repairs = counters(ring, 'readRepairs') - before
      assert.ok(repairs <= 210, `${repairs} read repairs in three seconds`)
    },
  },
  {
    number: 29,
    name: 'read-repair-notfound',
    shows:
      'two homes have nothing, and the value comes after the answer: a read says honestly that two said so, and repairs all the same (OpenRiak#114)',
    tuning: { merkleSync: false, hintedHandoff: false },
    visits: ['a read was repaired', 'the value came last'],
    async run(ring) {
      const { knobs } = ring.world.network
      for (const [i, key] of keys(10).entries()) {
        const homes = ring.homes(key)
        const [a, b, c] = homes
        const rest = ring.tabs.filter((tab) => tab !== a)
        ring.partition([a], rest)
        await ring.pass(2000)
        await ring.client(a).put(key, 'value', { w: 1 })
        await ring.pass(6000)
        // What would bring it to the others without a read.
        ring.crash(a)
        a.disk.hints.clear()
        await ring.reopen(a)
        ring.heal()
        await ring.until('one ring', () => ring.isWhole())
        await ring.pass(3000)
        assert.deepEqual(
          homes.map((home) => replicaAt(home, key)),
          [['value'], [], []],
        )
        // Slower than the others, and not so slow that more are asked.
        let answeredAt = 0
        knobs.latency = (from, _, frame) => {
          if (from !== a.id) return 5
          if (typeOf(frame) === 'ReadResult') answeredAt ||= ring.world.time.now + 200
          return 200
        }
        const { container, ...told } = await ring
          .client(i % 2 === 0 ? b : (ring.others(key)[0] as Tab))
          .ask(key, { r: 2 })
        assert.deepEqual(
          [container.siblings, told],
          [[], { met: true, sloppy: false, answers: 2, needed: 2, cached: false, undecided: false }],
        )
        if (answeredAt > ring.world.time.now) ring.saw('the value came last')
        await ring.pass(2000)
        knobs.latency = undefined
        for (const home of [a, b, c]) assert.deepEqual(replicaAt(home, key), ['value'])
      }
    },
  },
  {
    number: 30,
    name: 'read-no-write',
    shows: 'ten thousand reads of settled keys write nothing and repair nothing (riak_kv#334)',
    visits: ['all homes were read'],
    async run(ring) {
      const names = await fill(ring, 30)
      let stores = 0
      ring.world.network.taps.push((_, __, frame) => {
        if (typeOf(frame) === 'Store') stores++
      })
      const before = ring.tabs.map((tab) => JSON.stringify([...tab.disk.records.values()].map(({ digest }) => digest)))
      for (let i = 0; i < 10_000; i++) {
        const { answers } = await ring.client(ring.tab(i % 7)).ask(names[i % 30] as string, { r: 1 + (i % 3) })
        if (answers === 3) ring.saw('all homes were read')
      }
      await ring.pass(5000)
      assert.equal(stores, 0)
      assert.equal(counters(ring, 'readRepairs'), 0)
      const after = ring.tabs.map((tab) => JSON.stringify([...tab.disk.records.values()].map(({ digest }) => digest)))
      assert.deepEqual(after, before)
      assert.ok(nodeOf(ring.tab(0)).coordinator.synced)
    },
  },
  {
    number: 55,
    name: 'sync-with-frozen-peer',
    shows: 'a comparison with a tab that froze in the middle of it is given up: the others are compared all the same',
    tabs: 4,
    tuning: { syncIntervalMs: 300, hintedHandoff: false, readRepair: false, standInAfterMs: 9_000_000 },
    visits: ['Merkle sync moved data', 'the homes of a key differed'],
    async run(ring) {
      const names = await fill(ring, 30)
      const [frozen, writer, ...others] = ring.tabs as [Tab, Tab, ...Tab[]]
      const shared = names.filter((key) => !ring.homes(key).includes(frozen))
      ring.world.freeze(frozen)
      // By now each has begun to compare with the frozen one, and takes it for unreachable.
      await ring.pass(12_000)
      ring.partition([writer], others)
      await ring.pass(2000)
      for (const key of shared) await ring.client(writer).blind(key, 'newer', { w: 1 })
      const agree = (key: string) => new Set(ring.homes(key).map((home) => replicaAt(home, key).join())).size === 1
      if (!shared.every(agree)) ring.saw('the homes of a key differed')
      ring.heal()
      await ring.until('the homes to agree', () => shared.every(agree), 30_000)
    },
  },
]
