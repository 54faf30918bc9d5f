/** A tab's life: closed for good and adopted, its disk deleted or full under it; and what the fuzz has found of the kind. */
import { strict as assert } from 'node:assert'
import type { Node } from '../../../src/core/node.js'
import { type Ring, type Tab, hintAt, named, nodeOf, replicaAt, textsOf } from '../ring.js'
import { typeOf } from '../trace.js'
import { type Scenario, keys } from './scenario.js'

/** Writes that only this tab knows of. */
async function writeAlone(ring: Ring, tab: Tab, names: string[], text: string): Promise<void> {
  ring.partition([tab], ring.tabs)
  await ring.pass(2000)
  for (const key of names) await ring.client(tab).put(key, text)
}

async function expectAll(ring: Ring, names: string[], text: string): Promise<void> {
  for (const tab of ring.world.alive())
    for (const key of names) assert.deepEqual(await ring.client(tab).get(key), [text], `${key} at ${tab.id}`)
}

export const life: Scenario[] = [
  {
    number: 58,
    name: 'slots-adopted',
    shows:
      'two tabs closed for good leave writes that nobody knows of; another tab takes them over, and the ring has them',
    tuning: { reapAfterMs: 4000, scrubIntervalMs: 2000 },
    visits: ['a closed tab was adopted', 'a tombstone was forgotten'],
    async run(ring) {
      const names = keys(60)
      for (const key of names) await ring.client(ring.tab(0)).put(key, 'old', { w: 3 })
      const [a, b] = [ring.tab(5), ring.tab(6)]
      await writeAlone(ring, a, ['of-a', ...keys(10)], 'by a')
      ring.crash(a)
      await writeAlone(ring, b, ['of-b', ...keys(20).slice(10)], 'by b')
      ring.crash(b)
      ring.heal()
      // What was deleted while they were away stays deleted, although their disks have it.
      const deleted = names.slice(40)
      const client = ring.client(ring.tab(1))
      for (const key of deleted) {
        await client.get(key)
        await client.put(key, undefined, { w: 3 })
      }
      await ring.pass(30_000)
      const adopter = ring.tab(2)
      await ring.adopt(adopter, a)
      await ring.adopt(adopter, b)
      await ring.until('its hints to be delivered', () => nodeOf(adopter).replica.hints.pending === 0)
      const read = async (key: string) => ring.client(ring.tab(3)).get(key)
      assert.deepEqual([await read('of-a'), await read('of-b')], [['by a'], ['by b']])
      // They wrote without having seen what was there.
      for (const key of keys(10)) assert.deepEqual(await read(key), ['by a', 'old'])
      for (const key of keys(20).slice(10)) assert.deepEqual(await read(key), ['by b', 'old'])
      for (const key of deleted) assert.deepEqual(await read(key), [])
      // The departed no longer keep tombstones alive.
      await ring.pass(60_000)
      assert.equal(ring.tabs.filter((tab) => tab.disk.records.has(named(deleted[0] as string))).length, 0)
    },
  },
  {
    number: 59,
    name: 'adopter-dies-owner-returns',
    shows: 'an adoption is interrupted again and again, the owner comes back in the middle, and in the end it is done',
    knobs: { diskMinMs: 20, diskMaxMs: 40 },
    visits: ['a closed tab was adopted', 'an adoption was cut short'],
    async run(ring) {
      const orphan = ring.tab(6)
      const names = keys(300)
      await writeAlone(ring, orphan, names, 'alone')
      ring.crash(orphan)
      ring.heal()
      const rows = () => orphan.disk.records.size + orphan.disk.hints.size
      const begin = (adopter: Tab) => {
        const before = rows()
        void ring.world.adopt(adopter, nodeOf(adopter), orphan).catch(() => {})
        return ring.until('some of it to be taken', () => rows() < before)
      }
      for (const adopter of [ring.tab(1), ring.tab(2)]) {
        await begin(adopter)
        ring.crash(adopter)
        assert.ok(rows() > 0, 'there is more')
        ring.saw('an adoption was cut short')
        await ring.reopen(adopter)
        await ring.pass(5000)
      }
      // Its owner comes back: what is gone from its disk must not be 'not found', and it is no leaver.
      await ring.reopen(orphan)
      await expectAll(ring, names, 'alone')
      await ring.until('one ring', () => ring.isWhole())
      ring.crash(orphan)
      await ring.adopt(ring.tab(3), orphan)
      await expectAll(ring, names, 'alone')
    },
  },
  {
    number: 60,
    name: 'disk-deleted-under-it',
    shows: 'a tab whose database is deleted while it runs denies nothing, writes with a new epoch, and is healed',
    visits: ['an open tab lost its disk', 'a partition was transferred'],
    async run(ring) {
      const names = keys(80)
      for (const key of names) await ring.client(ring.tab(0)).put(key, 'value', { w: 3 })
      const victim = ring.tab(4)
      for (let round = 0; round < 3; round++) {
        // Something is always under way.
        const puts = names.slice(0, 20).map((key) => ring.client(victim).begin(key, `${round}`))
        ring.world.changeDisk(victim, 'has its disk deleted under it', () => victim.storage?.empty())
        for (const key of names.slice(20))
          assert.deepEqual(await ring.client(victim).get(key, { r: 1 }), ['value'], `${key} is denied`)
        for (const tab of ring.world.alive())
          assert.deepEqual(await ring.client(tab).get('k50', { r: 1 }), ['value'], `${tab.id} was told there is none`)
        await ring.await(Promise.all(puts))
        await ring.until('its replicas', () => nodeOf(victim).duties.filling().length === 0)
        await ring.pass(10_000)
      }
      const held = names.filter((key) => ring.homes(key).includes(victim))
      assert.ok(held.length > 0)
      for (const key of held.slice(20)) assert.deepEqual(replicaAt(victim, key), ['value'])
    },
  },
  {
    number: 61,
    name: 'damaged-stray',
    shows: 'a damaged record of a partition that moved on is healed, and then given up (it once stopped all scrubbing)',
    tabs: 4,
    tuning: { scrubIntervalMs: 2000 },
    visits: ['a partition was transferred', 'a stray was damaged'],
    async run(ring) {
      const names = keys(40)
      for (const key of names) await ring.client(ring.tab(0)).put(key, 'value', { w: 3 })
      const former = ring.tab(1)
      const held = names.filter((key) => former.disk.records.has(named(key)))
      for (const key of held) former.disk.flipByte(named(key), 40)
      for (let i = 0; i < 4; i++) await ring.join()
      await ring.until('one ring', () => ring.isWhole())
      if (held.some((key) => !ring.homes(key).includes(former))) ring.saw('a stray was damaged')
      await ring.until('no strays', () => nodeOf(former).transfers.strays().length === 0, 300_000)
    },
  },
  {
    number: 62,
    name: 'outcome-unknown',
    shows: 'a write that reached the disk although its connection was lost is soon in the Merkle tree as well',
    tabs: 3,
    tuning: { scrubIntervalMs: 2000, syncIntervalMs: 1000 },
    visits: ['a write was on the disk that was said to have failed'],
    async run(ring) {
      const names = keys(40)
      for (const key of names) await ring.client(ring.tab(0)).put(key, 'value', { w: 3 })
      const tab = ring.tab(1)
      for (const key of names.slice(0, 5)) {
        if (tab.storage) tab.storage.loseOutcome = true
        const { acks } = await ring.client(ring.tab(0)).put(key, 'newer')
        if (tab.storage?.closed && !acks.includes(tab.id) && replicaAt(tab, key).includes('newer'))
          ring.saw('a write was on the disk that was said to have failed')
        // The browser opens the connection once more.
        if (tab.storage) Object.assign(tab.storage, { loseOutcome: false, closed: false })
      }
      await ring.pass(5000)
      const onDisk = new Map([...tab.disk.groups.values()].map((group) => [`${group.partition}/${group.group}`, group]))
      const { forest } = nodeOf(tab).replica
      for (const group of onDisk.values()) {
        const [high, low] = [0, 1].map((half) =>
          group.digests.filter((_, i) => i % 2 === half).reduce((sum, digest) => (sum ^ digest) >>> 0, 0),
        )
        assert.deepEqual(forest.groupDigests(group.partition)[group.group], { high, low }, 'the tree is the disk’s')
      }
    },
  },
  {
    number: 63,
    name: 'last-stand-in',
    shows: 'with a home gone and the one other stand-in full, this tab’s own outbox makes up the quorum',
    tabs: 5,
    visits: ['a disk refused', 'its own outbox was the last stand-in'],
    async run(ring) {
      const key = keys(200).find((name) => ring.others(name).length === 2) as string
      const [home] = ring.homes(key)
      const [standIn, writer] = ring.others(key) as [Tab, Tab]
      ring.crash(home)
      await ring.pass(3000)
      if (standIn.storage) standIn.storage.failing = 'quota'
      const outcome = await ring.client(writer).put(key, 'value', { w: 3 })
      assert.deepEqual([outcome.met, outcome.answers, outcome.sloppy], [true, 3, true])
      if (!outcome.acks.includes(standIn.id) && hintAt(writer, key)?.homes.includes(home.id))
        ring.saw('its own outbox was the last stand-in')
    },
  },
  {
    number: 64,
    name: 'room-runs-out',
    shows:
      'a disk that fills up: first no hints for others, then no replicas of their writes, its own last; all comes back with the room',
    visits: ['hints were refused first', 'its own write was taken all the same'],
    async run(ring) {
      const names = keys(60)
      const client = ring.client(ring.tab(0))
      for (const key of names) await client.put(key, 'value', { w: 3 })
      const short = ring.tab(3)
      const node: Node = nodeOf(short)
      const { pressure } = node.replica
      const away = names.map((key) => ring.homes(key)[0]).find((home) => home !== short) as Tab
      ring.crash(away)
      await ring.pass(3000)
      pressure.note({ usage: 92, quota: 100 })
      assert.equal(pressure.refuses, 'hints')
      const hinted = short.disk.hints.size
      for (const key of names) await ring.client(ring.tab(ring.tab(0) === away ? 1 : 0)).put(key, 'second', { w: 3 })
      assert.equal(short.disk.hints.size, hinted, 'no hint for others')
      const held = names.filter((key) => ring.homes(key).includes(short))
      for (const key of held) assert.ok(replicaAt(short, key).includes('second'))
      ring.saw('hints were refused first')
      pressure.note({ usage: 96, quota: 100 })
      assert.equal(pressure.refuses, 'replicas')
      const other = ring.client(ring.tabs.find((tab) => tab.node && tab !== short) as Tab)
      for (const key of held) {
        await other.get(key)
        const { met } = await other.put(key, 'third')
        assert.equal(met, true, 'others take its place')
        assert.ok(!replicaAt(short, key).includes('third'), 'no replica of another tab’s write')
      }
      const own = ring.client(short)
      await own.get(held[0] as string)
      const { storageError, acks } = await own.put(held[0] as string, 'own')
      assert.equal(storageError, undefined)
      assert.ok(acks.includes(short.id))
      ring.saw('its own write was taken all the same')
      pressure.note({ usage: 50, quota: 100 })
      assert.equal(pressure.refuses, 'nothing')
    },
  },
  {
    number: 65,
    name: 'woken-asks-first',
    shows: 'a tab that stood still asks who the members are before it answers what waits for it',
    visits: ['a question waited for a woken tab'],
    async run(ring) {
      const names = keys(20)
      for (const key of names) await ring.client(ring.tab(0)).put(key, 'value', { w: 3 })
      const frozen = ring.tab(6)
      const key = names.find((name) => ring.homes(name).includes(frozen)) as string
      ring.world.freeze(frozen)
      await ring.pass(20_000)
      const sent = await ring.messages(async () => {
        const asked = nodeOf(ring.tab(1)).peers.request(frozen.id, { type: 'Read', key: named(key), full: true }, 5000)
        await ring.pass(100)
        ring.world.thaw(frozen)
        const reply = await ring.await(asked)
        assert.equal(reply?.type, 'ReadResult')
        ring.saw('a question waited for a woken tab')
      })
      const answered = sent.findIndex(({ from, type }) => from === frozen.id && type === 'ReadResult')
      const learned = sent.findIndex(({ to, type }) => to === frozen.id && type === 'GossipReply')
      assert.ok(learned >= 0 && learned < answered, 'it was told who the members are before it answered')
    },
  },
  {
    number: 66,
    name: 'quorums-intersect',
    shows:
      'where W homes took a write and R homes answer a read, the read has it, however many frames are lost and whatever is looked up meanwhile',
    tabs: 3,
    knobs: { atticMs: 150 },
    tuning: { readRepair: false },
    visits: ['a read met its quorum after it had seemed to fail'],
    async run(ring) {
      ring.world.network.knobs.lossRate = 0.15
      for (let i = 0; i < 600; i++) {
        const [writer, reader] = [ring.tab(i % 3), ring.tab((i + 1) % 3)]
        const key = `k${i}`
        const put = await ring.client(writer).put(key, 'value')
        const started = ring.world.time.now
        const { container, met, sloppy } = await ring.client(reader).ask(key)
        if (!put.met || put.sloppy || !met || sloppy) continue
        assert.ok(container.siblings.length > 0, `${key} was not in a read that met its quorum`)
        if (ring.world.time.now - started > 1000) ring.saw('a read met its quorum after it had seemed to fail')
      }
      ring.world.network.knobs.lossRate = 0
    },
  },
  {
    number: 67,
    name: 'copy-and-tombstone',
    shows:
      'a copy of a key that lives elsewhere answers when no home does, and does not outlive the tombstone of the key',
    tuning: { reapAfterMs: 4000, scrubIntervalMs: 2000 },
    visits: ['a copy answered where no home did', 'a tombstone was forgotten'],
    async run(ring) {
      const reader = ring.tab(6)
      const [kept, deleted] = keys(200).filter((key) => !ring.homes(key).includes(reader)) as [string, string]
      const client = ring.client(ring.tab(0))
      for (const key of [kept, deleted]) {
        await client.put(key, 'value', { w: 3 })
        assert.deepEqual(await ring.client(reader).get(key), ['value'])
      }
      await ring.pass(1000)
      await client.get(deleted)
      await client.delete(deleted)
      const isForgotten = () => ring.tabs.every((tab) => !tab.disk.records.has(named(deleted)))
      await ring.until('the tombstone to be forgotten', isForgotten, 120_000)
      ring.crash(...ring.tabs.filter((tab) => tab !== reader))
      // Through a cold start as well.
      ring.crash(reader)
      await ring.reopen(reader)
      assert.deepEqual(await ring.client(reader).get(kept), ['value'])
      assert.deepEqual(await ring.client(reader).get(deleted), [])
    },
  },
  {
    number: 70,
    name: 'answers-to-a-former-life',
    shows: 'what slow peers answer to a tab before it was loaded anew is not taken for the answer to what it asks now',
    tuning: { requestTimeoutMs: 30_000, patienceMinMs: 30_000, patienceMaxMs: 30_000 },
    noticeMs: 50,
    visits: ['a former life was answered'],
    async run(ring) {
      const { network, knobs } = ring.world
      const reader = ring.tab(0)
      // Its own disk has nothing to do with them: it opens soon.
      const elsewhere = keys(600).filter((key) => !ring.homes(key).includes(reader))
      const names = elsewhere.slice(0, 200)
      for (const key of names) await ring.client(ring.tab(1)).put(key, `of ${key}`, { w: 3 })
      await ring.pass(5000)
      const ask = (key: string) => nodeOf(reader).coordinator.get(named(key), { r: 3, strictQuorum: false })
      knobs.diskTime = () => 150
      for (const key of names.slice(0, 160)) void ask(key)
      await ring.pass(100)
      ring.crash(reader)
      await ring.reopen(reader)
      let answered = false
      network.taps.push((_, to, frame) => {
        answered ||= to === reader.id && typeOf(frame) === 'ReadResult'
      })
      await ring.until('its links', () => nodeOf(reader).peers.reachable().length >= 6)
      await ring.until('an answer that this life has not asked for', () => answered)
      ring.saw('a former life was answered')
      const asking = names.slice(160)
      const found = await ring.await(Promise.all(asking.map(ask)))
      for (const [i, { container }] of found.entries()) assert.deepEqual(textsOf(container), [`of ${asking[i]}`])
      knobs.diskTime = undefined
    },
  },
]
