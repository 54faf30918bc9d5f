/** Writing and reading: causality, conflicts, quorums, receipts. */
import { strict as assert } from 'node:assert'
import { EMPTY_CONTAINER } from '../../../src/core/versions/container.js'
import {
  counter,
  counterAdd,
  counterValue,
  orSet,
  orSetAdd,
  orSetRemove,
  orSetValues,
} from '../../../src/merge/index.js'
import { Session } from '../../../src/store/session.js'
import { type Client, type Tab, hintAt, named, nodeOf, replicaAt, textsOf } from '../ring.js'
import { typeOf } from '../trace.js'
import { type Scenario, keys, quantile } from './scenario.js'

/** Reads, merges the versions as an application does, and writes the change. */
async function edit<T>(
  client: Client,
  key: string,
  merge: (versions: T[]) => T,
  change: (value: T | undefined) => T,
): Promise<void> {
  const versions = (await client.get(key)).map((text) => JSON.parse(text) as T)
  await client.put(key, JSON.stringify(change(versions.length > 0 ? merge(versions) : undefined)))
}

export const writes: Scenario[] = [
  {
    number: 1,
    name: 'baseline-causal',
    shows: 'one writer per key and no faults: every read of it shows one version',
    visits: ['a put went through a tab that is no home'],
    async run(ring) {
      const writers = keys(40).map((key, i) => ({ key, client: ring.client(ring.tab(i % 7)) }))
      for (const { key, client } of writers)
        if (!ring.homes(key).includes(client.tab)) ring.saw('a put went through a tab that is no home')
      // Of the table's hundred thousand what fits into `npm test`.
      for (let round = 0; round < 100; round++) {
        for (const { key, client } of writers) {
          await client.put(key, `${round}`)
          if (ring.random.chance(0.2)) assert.deepEqual(await client.get(key), [`${round}`])
        }
      }
      for (const { key } of writers) assert.deepEqual(await ring.client(ring.tab(3)).get(key), ['99'])
    },
  },
  {
    number: 2,
    name: 'interleaved-writers',
    shows: '100 writes of two clients who never see each other’s last one end with two siblings',
    visits: ['two versions stood side by side'],
    async run(ring) {
      const [x, y] = [ring.client(ring.tab(0)), ring.client(ring.tab(1))]
      for (let i = 0; i < 50; i++) {
        // Neither looks: each knows its own last write, and not the other's.
        await x.put('k', `x${i}`)
        await y.put('k', `y${i}`)
        const versions = await ring.client(ring.tab(2)).get('k')
        assert.ok(versions.length <= 2)
        if (versions.length === 2) ring.saw('two versions stood side by side')
      }
      assert.deepEqual(await ring.client(ring.tab(2)).get('k'), ['x49', 'y49'])
    },
  },
  {
    number: 3,
    name: 'k-concurrent-writers',
    shows: 'k blind writers make k siblings, and one that saw them all makes one',
    visits: ['sixteen versions lay on one disk'],
    async run(ring) {
      for (let k = 2; k <= 16; k++) {
        const key = `key ${k}`
        for (let i = 0; i < k; i++) await ring.client(ring.tab(i % 7)).blind(key, `${i}`)
        const reader = ring.client(ring.tab(k % 7))
        assert.equal((await reader.get(key)).length, k)
        if (ring.homes(key).some((home) => replicaAt(home, key).length === 16))
          ring.saw('sixteen versions lay on one disk')
        await reader.put(key, 'merged')
        assert.deepEqual(await ring.client(ring.tab(0)).get(key), ['merged'])
      }
    },
  },
  {
    number: 4,
    name: 'split-brain-cart',
    shows:
      'both halves of a split ring add to and remove from one cart; after the heal nothing added is missing (§4.4)',
    visits: ['a conflict was merged'],
    async run(ring) {
      const cart = orSet<string>()
      await edit(ring.client(ring.tab(0)), 'cart', cart, (value) => orSetAdd(value, 'baker', 'bread'))
      const sides = [ring.tabs.slice(0, 4), ring.tabs.slice(4)] as const
      ring.partition(...sides)
      await ring.pass(2000)
      for (const [s, side] of sides.entries()) {
        const client = ring.client(side[0] as (typeof side)[0])
        for (let i = 0; i < 10; i++)
          await edit(client, 'cart', cart, (value) => orSetAdd(value, `side ${s}`, `item ${s}.${i}`))
        await edit(client, 'cart', cart, (value) => orSetRemove(value, `item ${s}.0`))
      }
      ring.heal()
      await ring.pass(20_000)
      const client = ring.client(ring.tab(6))
      if ((await client.get('cart')).length === 2) ring.saw('a conflict was merged')
      const merged = cart((await client.get('cart')).map((text) => JSON.parse(text)))
      const expected = [
        'bread',
        ...[0, 1].flatMap((s) =>
          keys(10)
            .slice(1)
            .map((_, i) => `item ${s}.${i + 1}`),
        ),
      ]
      assert.deepEqual(orSetValues(merged).sort(), expected.sort())
    },
  },
  {
    number: 5,
    name: 'partial-failed-write',
    shows: 'a write that missed its quorum says so, and is everywhere later or nowhere, never half',
    visits: ['only one home held the write'],
    async run(ring) {
      const [a, b, c] = ring.homes('k')
      ring.partition(
        [a],
        ring.tabs.filter((tab) => tab !== a),
      )
      const outcome = await ring.client(a).put('k', 'lonely', { w: 2, strictQuorum: true })
      assert.equal(outcome.met, false)
      assert.deepEqual(outcome.acks, [a.id])
      const holders = [a, b, c].filter((home) => replicaAt(home, 'k').length > 0)
      if (holders.length === 1) ring.saw('only one home held the write')
      ring.heal()
      await ring.pass(15_000)
      for (const home of [a, b, c]) assert.deepEqual(replicaAt(home, 'k'), ['lonely'])
    },
  },
  {
    number: 6,
    name: 'retry-idempotent',
    shows: 'with every first acknowledgement lost, a retried put is one dot and one value',
    visits: ['an acknowledgement was lost'],
    async run(ring) {
      const lost = new Set<string>()
      ring.world.network.knobs.lose = (from, to, frame) => {
        const pair = `${from}${to}`
        if (typeOf(frame) !== 'Stored' || lost.has(pair)) return false
        lost.add(pair)
        ring.saw('an acknowledgement was lost')
        return true
      }
      for (const key of keys(10)) {
        lost.clear()
        assert.equal((await ring.client(ring.tab(0)).put(key, 'once', { w: 3 })).met, true)
        assert.deepEqual(await ring.client(ring.tab(4)).get(key), ['once'])
      }
      ring.world.network.knobs.lose = undefined
    },
  },
  {
    number: 7,
    name: 'multi-hop-forward',
    shows:
      'tabs with different views of the ring, slow answers, repeated sends: nothing lost, no dot twice (riak_kv#1754)',
    visits: ['the writer had other homes in mind'],
    async run(ring) {
      const writer = ring.tab(0)
      const joined = ring.world.addPlace()
      // The writer cannot know the newcomer, and has other homes in mind than the rest of the ring.
      ring.world.network.cut(writer.id, joined.id)
      ring.world.network.knobs.lose = (from, to, frame) =>
        [from, to].includes(writer.id) && typeOf(frame).startsWith('Gossip')
      await ring.world.start(joined)
      ring.world.network.knobs.maxLatencyMs = 600
      const client = ring.client(writer)
      for (let i = 0; i < 5; i++)
        for (const key of keys(20)) {
          if (ring.homes(key, writer).some((home) => !ring.homes(key, ring.tab(1)).includes(home)))
            ring.saw('the writer had other homes in mind')
          await client.put(key, `${i}`)
        }
      ring.world.network.knobs.maxLatencyMs = 30
      ring.world.network.knobs.lose = undefined
      ring.heal()
      await ring.pass(20_000)
      for (const key of keys(20)) assert.deepEqual(await ring.client(joined).get(key), ['4'])
    },
  },
  {
    number: 44,
    name: 'hot-key',
    shows:
      'half of all traffic on one key: blind writes of it are refused at the limit, and the latency of other keys stays as it was',
    visits: ['a put was refused', 'writes of the hot key overlapped'],
    async run(ring) {
      const { maxSiblings } = nodeOf(ring.tab(0)).options.tuning
      const client = ring.client(ring.tab(0))
      const probe = (i: number) => client.put(`k${i % 20}`, `${i}`)
      const calm = quantile(await ring.latencies(200, probe), 0.99)
      let hot = 0
      let underWay = 0
      let most = 0
      const heat = ring.latencies(200, async (i) => {
        for (const tab of ring.tabs) {
          most = Math.max(most, ++underWay)
          void ring
            .client(tab)
            .begin('hot', `${hot++}`)
            .then(({ refused }) => {
              if (refused) ring.saw('a put was refused')
            })
            .finally(() => underWay--)
        }
        await probe(i)
      })
      const busy = quantile(await heat, 0.99)
      assert.ok(busy <= 1.2 * calm, `p99 of other keys ${busy} ms, before ${calm} ms`)
      if (most > ring.tabs.length) ring.saw('writes of the hot key overlapped')
      await ring.pass(5000)
      const reader = ring.client(ring.tab(1))
      const siblings = (await reader.get('hot')).length
      assert.ok(siblings <= maxSiblings + most, `${siblings} siblings, with at most ${most} writes under way at once`)
      await reader.put('hot', 'merged')
      assert.deepEqual(await ring.client(ring.tab(2)).get('hot'), ['merged'])
    },
  },
  {
    number: 45,
    name: 'sibling-bomb',
    shows: 'blind writers for ever on one key are refused at the limit, and a merge is still possible',
    tuning: { maxSiblings: 20 },
    visits: ['a put was refused'],
    async run(ring) {
      let taken = 0
      for (let i = 0; i < 300; i++) {
        const { refused } = await ring.client(ring.tab(i % 7)).blind('k', `${i}`)
        if (refused) ring.saw('a put was refused')
        else taken++
      }
      assert.equal(taken, 20)
      await ring.pass(5000)
      const reader = ring.client(ring.tab(3))
      assert.equal((await reader.get('k', { r: 3 })).length, 20)
      // What was refused is nowhere: not in a replica, and in nobody's hints.
      for (const tab of ring.tabs)
        assert.ok(replicaAt(tab, 'k').length <= 20 && !hintAt(tab, 'k'), `${tab.id} keeps what was refused`)
      const { refused } = await reader.put('k', 'merged')
      assert.equal(refused, false)
      assert.deepEqual(await ring.client(ring.tab(5)).get('k'), ['merged'])
    },
  },
  {
    number: 51,
    name: 'buffered-crash',
    shows:
      'power cuts right after the acknowledgement lose nothing where the mode promises it, and may lose what was relaxed',
    visits: ['a relaxed write was lost'],
    async run(ring) {
      // The nodes' own copies apart: only what the put itself did may save it.
      for (const durability of ['all', 'strict', 'relaxed'] as const) {
        for (const key of keys(5).map((name) => `${durability} ${name}`)) {
          const homes = ring.homes(key)
          const { met, acks } = await ring.client(homes[0]).put(key, 'value', { w: 3, durability })
          // Three of them, or more where stand-ins joined a home that was slow.
          assert.ok(met && acks.length >= 3, `${key}: ${acks.length} acknowledged it`)
          for (const home of homes) ring.world.cutPower(home)
          const left = ring.tabs.filter((tab) => replicaAt(tab, key).length > 0 || hintAt(tab, key)).length
          if (durability === 'all') assert.ok(left >= 3)
          if (durability === 'strict') assert.ok(left >= 1)
          if (durability === 'relaxed' && left === 0) ring.saw('a relaxed write was lost')
          await ring.reopen(...homes)
          await ring.until('one ring', () => ring.isWhole())
        }
      }
    },
  },
  {
    number: 52,
    name: 'strict-vs-sloppy',
    shows:
      'across a split, sloppy quorums accept everything on both sides and reads miss it; strict ones accept where two homes are',
    tabs: 8,
    tuning: { standInAfterMs: 600_000 },
    visits: ['a strict put met its quorum', 'a strict put missed its quorum'],
    async run(ring) {
      const sides = [ring.tabs.slice(0, 4), ring.tabs.slice(4)] as const
      ring.partition(...sides)
      await ring.pass(5000)
      const [left, right] = sides.map((side) => ring.client(side[0] as (typeof side)[0])) as [Client, Client]
      for (const key of keys(30)) {
        const homesLeft = ring.homes(key).filter((home) => sides[0].includes(home)).length
        const strict = await left.put(`strict ${key}`, 'left', { strictQuorum: true })
        const strictLeft = ring.homes(`strict ${key}`).filter((home) => sides[0].includes(home)).length
        assert.equal(strict.met, strictLeft >= 2)
        ring.saw(strict.met ? 'a strict put met its quorum' : 'a strict put missed its quorum')
        assert.equal((await left.put(key, 'left')).met, true)
        assert.equal((await right.put(key, 'right')).met, true)
        assert.deepEqual(await right.get(key), ['right'], `${homesLeft} homes on the other side`)
      }
      ring.heal()
      await ring.pass(20_000)
      for (const key of keys(30)) assert.deepEqual(await right.get(key), ['left', 'right'])
    },
  },
  {
    number: 53,
    name: 'counters-sets-partition',
    shows:
      'counters and sets changed on both sides of a cut come out exact, also where a removal arrives before what it removes',
    // Nothing but the removal itself and the late hint tell a home of the addition.
    tuning: { merkleSync: false, readRepair: false },
    visits: ['a removal came before what it removes', 'a hint was delivered by a restarted holder'],
    async run(ring) {
      const sides = [ring.tabs.slice(0, 3), ring.tabs.slice(3)] as const
      // A side without a home of the key would begin with nothing.
      const onBothSides = (name: string) =>
        keys(100)
          .map((key) => `${name} ${key}`)
          .find((key) => sides.every((side) => ring.homes(key).some((home) => side.includes(home)))) as string
      const [clicksKey, tagsKey] = [onBothSides('clicks'), onBothSides('tags')]
      const clicks = counter()
      const tags = orSet<string>()
      await ring.client(ring.tab(0)).put(clicksKey, JSON.stringify(counterAdd(undefined, 'first', 5)))
      for (const tag of ['bread', 'milk', 'eggs', 'rice'])
        await edit(ring.client(ring.tab(0)), tagsKey, tags, (value) => orSetAdd(value, 'first', tag))
      await ring.pass(3000)
      const tagsAt = (texts: string[]) =>
        orSetValues(texts.length > 0 ? tags(texts.map((text) => JSON.parse(text))) : undefined)

      const [late, other] = ring.homes(tagsKey)
      ring.crash(late)
      await ring.pass(3000)
      await edit(ring.client(other), tagsKey, tags, (value) => orSetAdd(value, 'second', 'salt'))
      await ring.pass(3000)
      const holders = ring.tabs.filter((tab) => hintAt(tab, tagsKey) && tab !== other)
      ring.crash(...holders)
      other.disk.hints.clear()
      await ring.reopen(late)
      await ring.until('it to be reached', () => nodeOf(other).peers.reachable().includes(late.id))
      const knewOfIt = tagsAt(replicaAt(late, tagsKey)).includes('salt')
      await edit(ring.client(other), tagsKey, tags, (value) => orSetRemove(value, 'salt'))
      await ring.pass(3000)
      assert.deepEqual(tagsAt(replicaAt(late, tagsKey)), ['bread', 'eggs', 'milk', 'rice'])
      if (!knewOfIt) ring.saw('a removal came before what it removes')
      await ring.reopen(...holders)
      await ring.until('one ring', () => ring.isWhole())
      await ring.pass(5000)
      assert.deepEqual(tagsAt(replicaAt(late, tagsKey)), ['bread', 'eggs', 'milk', 'rice'], 'the hint came late')

      ring.partition(...sides)
      await ring.pass(2000)
      for (const [s, side] of sides.entries()) {
        const client = (i: number) => ring.client(side[i % side.length] as (typeof side)[0])
        for (let i = 1; i <= 10; i++) {
          await edit(client(i), clicksKey, clicks, (value) => counterAdd(value, `side ${s}`, s === 0 ? i : -1))
          await edit(client(i), tagsKey, tags, (value) => orSetAdd(value, `side ${s}`, `${s}.${i}`))
          if (i % 2 === 0) await edit(client(i + 1), tagsKey, tags, (value) => orSetRemove(value, `${s}.${i}`))
        }
        // One side removes what the other adds anew; one removes alone; both remove.
        if (s === 0) await edit(client(0), tagsKey, tags, (value) => orSetRemove(value, 'bread'))
        else await edit(client(0), tagsKey, tags, (value) => orSetAdd(value, 'side 1', 'bread'))
        if (s === 1) await edit(client(1), tagsKey, tags, (value) => orSetRemove(value, 'milk'))
        await edit(client(2), tagsKey, tags, (value) => orSetRemove(value, 'eggs'))
      }
      const left = (s: number) => [1, 3, 5, 7, 9].map((i) => `${s}.${i}`)
      const [one, two] = [ring.tab(0), ring.tab(3)].map((tab) => ring.client(tab)) as [Client, Client]
      assert.deepEqual(tagsAt(await one.get(tagsKey)), [...left(0), 'milk', 'rice'])
      assert.deepEqual(tagsAt(await two.get(tagsKey)), [...left(1), 'bread', 'rice'])
      const counted = async (client: Client) =>
        counterValue(clicks((await client.get(clicksKey)).map((text) => JSON.parse(text))))
      assert.deepEqual([await counted(one), await counted(two)], [5 + 55, 5 - 10])
      ring.heal()
      await ring.pass(20_000)
      for (const tab of ring.tabs) {
        const client = ring.client(tab)
        assert.equal(await counted(client), 5 + 55 - 10)
        assert.deepEqual(tagsAt(await client.get(tagsKey)), [...left(0), ...left(1), 'bread', 'rice'])
      }
    },
  },
  {
    number: 73,
    name: 'session-goes-forward',
    shows:
      'a failed write is in one read and not in the next: the store’s session shows it in both, and its next write replaces it (P15)',
    visits: ['a get lacked what the one before it had'],
    async run(ring) {
      const [home] = ring.homes('k')
      const [reader] = ring.others('k')
      const apart = (...side: Tab[]) =>
        ring.partition(
          side,
          ring.tabs.filter((tab) => !side.includes(tab)),
        )
      const key = named('k')
      const session = new Session()
      const read = async (): Promise<string[]> => {
        const { container } = await ring.client(reader).ask('k')
        if (textsOf(container).length < textsOf(session.foundOf(key) ?? EMPTY_CONTAINER).length)
          ring.saw('a get lacked what the one before it had')
        const shown = session.found(key, container)
        session.knew(key, shown.context)
        return textsOf(shown)
      }
      apart(home)
      await ring.pass(2000)
      const failed = await ring.client(home).put('k', 'failed', { strictQuorum: true })
      assert.deepEqual([failed.met, failed.acks], [false, [home.id]])
      ring.heal()
      apart(home, reader)
      await ring.until('their link', () => nodeOf(reader).peers.isReachable(home.id))
      assert.deepEqual(await read(), ['failed'])
      ring.crash(home)
      ring.heal()
      await ring.pass(5000)
      assert.deepEqual(await read(), ['failed'])
      const { outcome } = nodeOf(reader).coordinator.write(
        key,
        { value: new TextEncoder().encode('next'), expiresAt: 0 },
        session.contextOf(key),
        { w: 2, strictQuorum: false, durability: 'strict' },
      )
      assert.equal((await ring.await(outcome)).met, true)
      await ring.reopen(home)
      await ring.until('one ring', () => ring.isWhole())
      for (const tab of ring.tabs) assert.deepEqual(await ring.client(tab).get('k', { r: 3 }), ['next'])
    },
  },
]
