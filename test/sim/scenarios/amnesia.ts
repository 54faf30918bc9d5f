/** Disks that forget, go back in time, or are somebody else’s. */
import { strict as assert } from 'node:assert'
import { nodeOfActor } from '../../../src/core/ids.js'
import { type Tab, containerAt, named, nodeOf, replicaAt } from '../ring.js'
import { SLOW_HEART, type Scenario, isDamaged, keys } from './scenario.js'

export const amnesia: Scenario[] = [
  {
    number: 14,
    name: 'amnesia-coordinator',
    shows:
      'a coordinator that lost one record, and then its whole disk, repeats no dot and hides no write (kv679_dataloss)',
    visits: ['one node had written as two actors'],
    async run(ring) {
      const [a] = ring.homes('k')
      const client = ring.client(a)
      for (const text of ['1', '2', '3']) await client.put('k', text, { w: 3 })
      // One record is gone while the tab runs; then all of it.
      ring.world.changeDisk(a, 'loses one record', () => a.disk.records.delete(named('k')))
      await ring.client(a).put('k', 'after one', { w: 3 })
      await ring.pass(2000)
      ring.crash(a)
      ring.world.changeDisk(a, 'loses its disk', () => a.disk.wipe())
      await ring.reopen(a)
      await ring.client(a).blind('k', 'after all', { w: 1 })
      await ring.pass(20_000)
      const actors = [...containerAt(a, 'k').context.vector.keys()].filter((actor) => nodeOfActor(actor) === a.id)
      if (actors.length > 1) ring.saw('one node had written as two actors')
      const left = await ring.client(ring.tab(0)).get('k', { r: 3 })
      assert.ok(left.includes('after all') && left.includes('after one'), `left: ${left}`)
    },
  },
  {
    number: 15,
    name: 'amnesia-replica',
    shows: 'a replica whose record cannot be read merges nothing away (kv679_dataloss_fb2)',
    visits: ['a damaged record met a write'],
    async run(ring) {
      for (const key of keys(10)) {
        const [a, b, c] = ring.homes(key)
        await ring.client(a).put(key, 'first', { w: 3 })
        ring.world.changeDisk(b, 'has a record damaged', () => b.disk.flipByte(named(key), ring.random.below(60)))
        if (isDamaged(b, key)) ring.saw('a damaged record met a write')
        await ring.client(c).blind(key, 'second', { w: 3 })
        await ring.pass(500)
      }
      await ring.pass(120_000)
      for (const key of keys(10))
        for (const home of ring.homes(key)) assert.deepEqual(replicaAt(home, key), ['first', 'second'])
    },
  },
  {
    number: 16,
    name: 'restore-old-backup',
    shows: 'a tab whose disk comes back from an hour ago brings nothing old back and repeats no dot',
    tuning: { ...SLOW_HEART, reapAfterMs: 9_000_000, replaceAfterMs: 9_000_000 },
    visits: ['its disk had forgotten a write of its own'],
    async run(ring) {
      const [a, b] = ring.tabs as [Tab, Tab]
      for (const key of keys(30)) await ring.client(a).put(key, 'old', { w: 3 })
      await ring.pass(5000)
      const backup = a.disk.snapshot()
      const client = ring.client(a)
      for (const [i, key] of keys(30).entries()) {
        await ring.pass(120_000)
        await client.get(key)
        await client.put(key, i % 3 === 0 ? undefined : 'new', { w: 3 })
      }
      ring.crash(a)
      ring.world.changeDisk(a, 'is restored from a backup', () => a.disk.restore(backup))
      for (const key of keys(30))
        if (replicaAt(a, key).includes('old')) ring.saw('its disk had forgotten a write of its own')
      await ring.reopen(a)
      // The very keys whose last dots it has minted and forgotten: of some it knows nothing, of others what its disk says.
      const back = ring.client(a)
      for (const key of keys(30).slice(0, 10)) await back.blind(key, 'blind')
      for (const key of keys(20).slice(10)) {
        await back.get(key, { r: 1 })
        await back.put(key, 'again')
      }
      for (const key of keys(5)) await back.blind(`${key} later`, 'value')
      await ring.pass(60_000)
      for (const [i, key] of keys(30).entries()) {
        const left = await ring.client(b).get(key, { r: 3 })
        const before = i % 3 === 0 ? [] : ['new']
        if (i < 10) assert.deepEqual(left, ['blind', ...before])
        // With one answer it may have seen only what the backup knew: then what was written since is a sibling.
        else if (i < 20) assert.deepEqual(left, left.length === 1 ? ['again'] : ['again', ...before])
        else assert.deepEqual(left, before)
      }
    },
  },
  {
    number: 17,
    name: 'duplicate-tab',
    shows:
      'one identity on two copies of a disk at once, which the lock of a slot prevents: still no dot twice and nothing lost',
    // That the second tab gets another id before its first put is the slots' promise, which no simulated tab has: test/browser/profile.test.ts.
    visits: ['two tabs ran as one node'],
    async run(ring) {
      const [original] = ring.tabs as [Tab]
      await ring.client(original).put('k', 'before')
      const copy = ring.world.addPlace()
      copy.disk = original.disk.snapshot()
      copy.id = original.id
      // Its links are taken over by the copy: for the others there is one tab of that name.
      await ring.world.start(copy)
      await ring.pass(5000)
      if (ring.world.alive().filter(({ node }) => node.options.node === original.id).length === 2)
        ring.saw('two tabs ran as one node')
      for (const key of keys(10)) {
        await ring.client(copy).put(key, 'by the copy', { w: 2 })
        await ring.client(original).put(key, 'by the original', { w: 1 })
      }
      ring.crash(original)
      ring.crash(copy)
      ring.tabs.splice(ring.tabs.indexOf(copy), 1)
      await ring.reopen(original)
      await ring.pass(60_000)
      for (const key of keys(10))
        assert.deepEqual(await ring.client(ring.tab(3)).get(key, { r: 3 }), ['by the copy', 'by the original'])
    },
  },
  {
    number: 18,
    name: 'disk-swap',
    shows:
      'two tabs that come back with each other’s disks lose nothing, repeat no dot, and hold what is theirs in the end',
    visits: ['a disk had what belongs elsewhere'],
    async run(ring) {
      const [a, b, c] = ring.tabs as [Tab, Tab, Tab]
      const client = ring.client(c)
      for (const key of keys(60)) await client.put(key, 'before', { w: 3 })
      for (const tab of [a, b]) for (const key of keys(10)) await ring.client(tab).put(`${key} of ${tab.id}`, 'first')
      await ring.pass(5000)
      ring.crash(a, b)
      for (const key of keys(60).slice(0, 20)) await client.put(key, 'while they were away')
      ring.world.swapDisks(a, b)
      if ([...a.disk.records.keys()].some((key) => !nodeOf(c).routing.homes(key).includes(a.id)))
        ring.saw('a disk had what belongs elsewhere')
      await ring.reopen(a, b)
      await ring.until('one ring', () => ring.isWhole())
      for (const tab of [a, b]) {
        const back = ring.client(tab)
        for (const [i, key] of keys(10).entries()) {
          const own = `${key} of ${tab.id}`
          // Each has minted dots of these keys in its life before, and the disk that it has now may know nothing of them.
          if (i < 5) await back.blind(own, 'second')
          else {
            await back.get(own)
            await back.put(own, 'second')
          }
        }
      }
      for (const key of keys(60).slice(40)) {
        await ring.client(a).get(key)
        await ring.client(a).put(`${key} more`, 'value')
      }
      await ring.pass(60_000)
      for (const [i, key] of keys(60).entries())
        assert.deepEqual(await ring.client(a).get(key, { r: 3 }), [i < 20 ? 'while they were away' : 'before'])
      for (const tab of [a, b])
        for (const [i, key] of keys(10).entries())
          assert.deepEqual(
            await ring.client(c).get(`${key} of ${tab.id}`, { r: 3 }),
            i < 5 ? ['first', 'second'] : ['second'],
          )
      for (const tab of [a, b])
        for (const key of keys(60)) assert.equal(replicaAt(tab, key).length, ring.homes(key).includes(tab) ? 1 : 0, key)
    },
  },
]
