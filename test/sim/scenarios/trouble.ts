/** Everything else that a bad day brings, alone and together. */
import { strict as assert } from 'node:assert'
import { isQuota } from '../../../src/core/environment.js'
import { type NodeId, storeKey } from '../../../src/core/ids.js'
import { largestContext } from '../checks.js'
import { type Ring, type Tab, nodeOf } from '../ring.js'
import { SLOW_HEART, type Scenario, keys, mean } from './scenario.js'

const HOUR = 3_600_000

/** All keys that a scan over everything yields, and whether it says that these are all. */
async function scan(ring: Ring, tab: Tab): Promise<{ found: number; complete: boolean }> {
  const range = { from: storeKey(3, '', ''), to: storeKey(3, '', '\uffff'), reverse: false }
  const running = nodeOf(tab).coordinator.scan(range, 3, { r: 2, strictQuorum: false })
  const all = (async () => {
    let found = 0
    for await (const _ of running.entries()) found++
    return found
  })()
  return { found: await ring.await(all), complete: running.complete }
}

/** What may grow, over all disks and open tabs. */
function sizes(ring: Ring): Record<string, number> {
  const sum = (of: (tab: Tab) => number) => ring.tabs.reduce((total, tab) => total + of(tab), 0)
  return {
    records: sum(({ disk }) => disk.records.size),
    hints: sum(({ disk }) => disk.hints.size),
    'bytes of bookkeeping': sum(({ disk }) =>
      [...disk.meta.values()].reduce((bytes, value) => bytes + value.length, 0),
    ),
    'entries of a context': largestContext(ring.world),
    members: Math.max(...ring.world.alive().map(({ node }) => node.membership.all().length)),
  }
}

/** Some open tab hands over what it has, and is never seen again. */
async function leaveForGood(ring: Ring): Promise<void> {
  const tab = ring.random.pick(ring.world.alive())
  // Until who was closed last counts as away: it would be waited for.
  await ring.pass(HOUR / 6)
  await ring.leave(tab)
  await ring.world.close(tab)
  ring.gone(tab)
}

export const trouble: Scenario[] = [
  {
    number: 42,
    name: 'swizzle-clog',
    shows:
      'links are stopped one tab after the other and started again in another order: who reaches one other tab gets its quorum in time (FoundationDB)',
    visits: ['a peer went down', 'a hint was delivered', 'a tab with few links met its quorum'],
    async run(ring) {
      const { network, time } = ring.world
      const clogged: Tab[] = []
      let n = 0
      for (let round = 0; round < 6; round++) {
        const subset = ring.tabs.filter(() => ring.random.chance(0.5))
        const write = async () => {
          for (let i = 0; i < 10; i++) {
            const tab = ring.random.pick(ring.tabs)
            // A link that has just come up is of no use before both have greeted each other.
            const { peers } = nodeOf(tab)
            const linked = ring.tabs.filter(({ id }) => network.isLinked(tab.id, id) && peers.isReachable(id)).length
            const start = time.now
            const { met } = await ring.client(tab).put(`k${n % 40}`, `${n++}`)
            assert.ok(met || linked === 0, `a put of a tab with ${linked} links failed`)
            assert.ok(time.now - start <= 5500, 'it was answered before its deadline')
            if (met && linked > 0 && linked < 3) ring.saw('a tab with few links met its quorum')
          }
        }
        for (const tab of subset) {
          for (const other of ring.tabs) network.cut(tab.id, other.id)
          clogged.push(tab)
          await ring.pass(ring.random.between(200, 4000))
          await write()
        }
        while (clogged.length > 0) {
          const [tab] = clogged.splice(ring.random.below(clogged.length), 1)
          network.heal(tab?.id)
          await ring.pass(ring.random.between(200, 4000))
          await write()
        }
      }
    },
  },
  {
    number: 43,
    name: 'storage-full',
    shows:
      'a tab whose disk is full at any moment refuses visibly and says what it takes no more, others take its place, and no put fails (verify_readonly)',
    visits: ['a disk refused', 'a stand-in held a hint for the full tab'],
    async run(ring) {
      const full = ring.tab(3)
      const { pressure } = nodeOf(full).replica
      const told: string[] = []
      pressure.events.on('changed', (refuses) => told.push(refuses))
      const fullFrom = ring.random.below(200)
      const fullUntil = fullFrom + 400
      for (let i = 0; i < 600; i++) {
        if (i === fullFrom && full.storage) full.storage.failing = 'quota'
        if (i === fullUntil && full.storage) full.storage.failing = undefined
        const { met, storageError } = await ring.client(ring.tab(i % 7)).put(`k${i % 60}`, `${i}`)
        assert.ok(met, `put ${i}, full from ${fullFrom} to ${fullUntil}`)
        if (i < fullFrom) assert.equal(pressure.refuses, 'nothing')
        if (i < fullFrom || i >= fullUntil || ring.tab(i % 7) !== full) continue
        assert.ok(isQuota(storageError), 'its own refusal is told')
        assert.notEqual(pressure.refuses, 'nothing', 'it knows that it is full')
        const isForIt = ({ homes }: { homes: NodeId[] }) => homes.includes(full.id)
        if (ring.tabs.some(({ disk }) => [...disk.hints.values()].some(isForIt)))
          ring.saw('a stand-in held a hint for the full tab')
      }
      // First what others can keep as well, and then what has other homes: `status` shows it.
      assert.deepEqual(told.slice(0, 2), ['hints', 'replicas'])
      await ring.pass(15_000)
      assert.equal(pressure.refuses, 'nothing', 'with room again, it takes everything')
      // A read that failed is no answer, least of all 'there is nothing'.
      const [a, b] = [ring.tab(1), ring.tab(4)]
      for (const { storage } of [a, b]) if (storage) storage.failingReads = 'unknown'
      for (const key of keys(60)) {
        const { container, met } = await ring.client(ring.tab(0)).ask(key, { r: 2 })
        assert.ok(container.siblings.length > 0 || !met, `${key} is said to be absent`)
      }
    },
  },
  {
    number: 46,
    name: 'huge-context',
    shows: 'a key written in a thousand lives of its tabs never has a large context, and no false siblings',
    tuning: { reapAfterMs: 4000, scrubIntervalMs: 2000 },
    visits: ['a tombstone was forgotten', 'a context was longer than it may stay'],
    async run(ring) {
      let lives = 0
      let most = 0
      while (lives < 1000) {
        // Too fast for anything to be forgotten, and then a while of rest.
        for (let i = 0; i < 5; i++) {
          ring.crash(...ring.tabs)
          await ring.reopen(...ring.tabs)
          await ring.until('one ring', () => ring.isWhole())
          for (const tab of ring.tabs) {
            const client = ring.client(tab)
            const seen = await client.get('k')
            assert.deepEqual(seen, lives === 0 ? [] : [`${lives}`])
            await client.put('k', `${++lives}`, { w: 3 })
          }
          most = Math.max(most, largestContext(ring.world))
        }
        if (most > 12) ring.saw('a context was longer than it may stay')
        await ring.pass(30_000)
        assert.ok(largestContext(ring.world) <= 12, `${largestContext(ring.world)} entries after ${lives} lives`)
      }
      // What five rounds of seven writers bring, and what was left before.
      assert.ok(most <= 12 + 35, `${most} entries`)
    },
  },
  {
    number: 47,
    name: 'coverage-partial',
    shows: 'a scan that too few answer, or a home that is still filling, says that it is not complete',
    visits: ['a scan could not be complete'],
    async run(ring) {
      for (const key of keys(50)) await ring.client(ring.tab(0)).put(key, 'value', { w: 3 })
      assert.deepEqual(await scan(ring, ring.tab(1)), { found: 50, complete: true })
      ring.crash(ring.tab(5), ring.tab(6))
      await ring.pass(2000)
      // Each key has a home left: two are gone, and three hold it.
      assert.deepEqual(await scan(ring, ring.tab(1)), { found: 50, complete: true })
      ring.crash(ring.tab(2), ring.tab(3), ring.tab(4))
      const few = await scan(ring, ring.tab(1))
      assert.ok(few.complete === false || few.found === 50, `${few.found} found, said to be complete`)
      const newcomer = await ring.join()
      // Before it has met anybody it cannot know that it is not alone.
      await ring.until('a first peer', () => nodeOf(newcomer).peers.reachable().length > 0)
      const early = await scan(ring, newcomer)
      assert.ok(!early.complete || early.found === 50, `${early.found} found, said to be complete`)
      if (!few.complete || !early.complete) ring.saw('a scan could not be complete')
    },
  },
  {
    number: 54,
    name: 'soak-churn',
    shows:
      'thirty days of tabs that join, close, crash, come back and leave for good at random: nothing lost, nothing grows',
    tuning: {
      ...SLOW_HEART,
      heartbeatIntervalMs: 300_000,
      gossipIntervalMs: 300_000,
      syncIntervalMs: 1_200_000,
      scrubIntervalMs: 3_600_000,
      handoffIntervalMs: 300_000,
      replaceAfterMs: 2 * HOUR,
      standInAfterMs: 300_000,
      reapAfterMs: HOUR,
    },
    noticeMs: 5000,
    visits: [
      'a member fell asleep',
      'a member left',
      'a hint was delivered',
      'a tombstone was forgotten',
      'a partition was transferred',
      'Merkle sync moved data',
    ],
    convergesWithinMs: 24 * HOUR,
    async run(ring) {
      const end = ring.world.time.now + 30 * 24 * HOUR
      const samples: Record<string, number>[] = []
      let n = 0
      while (ring.world.time.now < end) {
        // Poisson: memoryless gaps of four hours on average.
        await ring.pass(-Math.log(1 - ring.random.next()) * 4 * HOUR)
        const open = ring.world.alive()
        const closed = ring.tabs.filter(({ node }) => !node)
        if (closed.length > 0 && (open.length < 4 || ring.random.chance(0.55)))
          await ring.reopen(ring.random.pick(closed))
        else if (ring.random.chance(0.4)) await (ring.tabs.length < 8 ? ring.join() : leaveForGood(ring))
        else if (ring.random.chance(0.5)) ring.crash(ring.random.pick(open))
        else await ring.world.close(ring.random.pick(open))
        for (let i = 0; i < 5; i++) {
          const client = ring.client(ring.random.pick(ring.world.alive()))
          const key = `k${n % 100}`
          await client.get(key)
          await client.put(key, n % 9 === 0 ? undefined : `${n}`)
          n++
        }
        const day = Math.floor(30 - (end - ring.world.time.now) / (24 * HOUR))
        samples[day] ??= sizes(ring)
      }
      // I8: in the last days there is no more than in those after the first keys had come.
      const ofDays = (what: string, from: number, to: number) =>
        samples.slice(from, to).flatMap((sample) => sample[what] ?? [])
      for (const what of ['records', 'hints', 'bytes of bookkeeping', 'members']) {
        // On average: a single look may come when some homes have just gone.
        const [early, late] = [mean(ofDays(what, 5, 15)), mean(ofDays(what, 20, 30))]
        assert.ok(late <= 1.5 * early + 10, `${what}: ${early} on the days 5 to 14, and ${late} on 20 to 29`)
      }
      const longest = Math.max(...ofDays('entries of a context', 0, 30))
      // Up to twelve entries nothing is forgotten, and beyond that when all members are there.
      assert.ok(longest <= 24, `${longest} entries of a context`)
    },
  },
]
