/**
 * What every `Storage` promises, as cases that run anywhere: in Node against the simulated disk, in a real browser against IndexedDB. A case opens
 * storages on one disk as often as it likes; opening again is what a reload does.
 */
import {
  type Address,
  LEAVES_PER_GROUP,
  type LeafGroup,
  type RecordWrite,
  type Storage,
} from '../../src/core/environment.js'
import type { NodeId, Partition, StoreKey } from '../../src/core/ids.js'
import { SeededRandom } from '../sim/random.js'
import { check } from './check.js'

export interface StorageCase {
  name: string
  run(open: () => Promise<Storage>): Promise<void>
}

function same(actual: unknown, expected: unknown, what: string): void {
  const [a, b] = [JSON.stringify(actual), JSON.stringify(expected)]
  check(a === b, `${what}: got ${a}, expected ${b}`)
}

function address(key: string, partition = 1, leaf = 0): Address {
  return { key: key as StoreKey, partition: partition as Partition, leaf }
}

function write(text: string, digest = text.length, live = true): Exclude<RecordWrite, 'keep' | 'remove'> {
  return { container: new TextEncoder().encode(text), digest: { high: digest, low: digest * 7 }, live }
}

const text = (bytes: Uint8Array | undefined) => bytes && new TextDecoder().decode(bytes)
const put = (at: Address, what: RecordWrite) => ({ records: [{ address: at, apply: () => what }] })
const read = async (storage: Storage, ...at: Address[]) => (await storage.get(at)).map(text)

/** The leaf groups as they follow from the records themselves. */
async function recomputed(storage: Storage, partitions: number): Promise<Map<string, LeafGroup>> {
  const groups = new Map<string, LeafGroup>()
  for (let p = 0; p < partitions; p++) {
    for (let leaf = 0; leaf < 256; leaf++) {
      const { records } = await storage.scanPartition(p as Partition, { fromLeaf: leaf, toLeaf: leaf, maxBytes: 1e9 })
      for (const { digest, container } of records) {
        const group = Math.floor(leaf / LEAVES_PER_GROUP)
        const name = `${p}/${group}`
        const entry = groups.get(name) ?? {
          partition: p as Partition,
          group,
          digests: new Uint32Array(32),
          records: 0,
          live: 0,
          bytes: 0,
        }
        const at = 2 * (leaf % LEAVES_PER_GROUP)
        entry.digests[at] = (entry.digests[at] as number) ^ digest.high
        entry.digests[at + 1] = (entry.digests[at + 1] as number) ^ digest.low
        entry.records++
        entry.bytes += container.length
        groups.set(name, entry)
      }
    }
  }
  return groups
}

export const storageCases: StorageCase[] = [
  {
    name: 'what was committed is read, also after opening again; what was not is absent',
    async run(open) {
      const storage = await open()
      await storage.commit(put(address('a'), write('one')), 'strict')
      same(await read(storage, address('b'), address('a')), [null, 'one'], 'in the order asked for')
      await storage.close()
      same(await read(await open(), address('a')), ['one'], 'after opening again')
    },
  },
  {
    name: 'updates of one key in one turn see each other, in the order of the calls',
    async run(open) {
      const storage = await open()
      const append = (letter: string) =>
        storage.commit(
          { records: [{ address: address('k'), apply: (current) => write(`${text(current) ?? ''}${letter}`) }] },
          'relaxed',
        )
      await Promise.all(['a', 'b', 'c', 'd'].map(append))
      same(await read(storage, address('k')), ['abcd'], 'chained')
      await storage.commit(
        {
          records: ['e', 'f'].map((letter) => ({
            address: address('k'),
            apply: (current) => write(`${text(current) ?? ''}${letter}`),
          })),
        },
        'relaxed',
      )
      same(await read(storage, address('k')), ['abcdef'], 'chained within one batch')
    },
  },
  {
    name: 'an update that throws rejects its own commit, leaves no trace, and harms no other of the same turn',
    async run(open) {
      const storage = await open()
      const fail = storage.commit(
        {
          records: [
            { address: address('x'), apply: () => write('half') },
            {
              address: address('y'),
              apply: () => {
                throw new Error('no')
              },
            },
          ],
          meta: [['m', new Uint8Array([1])]],
        },
        'strict',
      )
      const good = storage.commit(put(address('z'), write('whole')), 'strict')
      const outcome = await fail.then(
        () => 'resolved',
        (error: Error) => error.message,
      )
      same(outcome, 'no', 'the failing commit')
      await good
      same(await read(storage, address('x'), address('y'), address('z')), [null, null, 'whole'], 'only the good one')
      same([...(await storage.load()).meta.keys()].includes('m'), false, 'nothing of the batch')
    },
  },
  {
    name: 'keep leaves a record as it is, remove takes it away',
    async run(open) {
      const storage = await open()
      await storage.commit(put(address('a'), write('one')), 'relaxed')
      same(await storage.commit(put(address('a'), 'keep'), 'relaxed'), [], 'no leaf changes')
      same(await read(storage, address('a')), ['one'], 'kept')
      await storage.commit(put(address('a'), 'remove'), 'relaxed')
      same(await read(storage, address('a')), [null], 'removed')
      const { leafGroups } = await storage.load()
      check(
        leafGroups.every((group) => group.records === 0 && group.digests.every((half) => half === 0)),
        'its digest is out of the leaf',
      )
    },
  },
  {
    name: 'leaf groups follow from the records after any sequence of operations, in memory and on disk',
    async run(open) {
      const random = new SeededRandom(7)
      let storage = await open()
      const told = new Map<string, LeafGroup>()
      for (let round = 0; round < 40; round++) {
        await Promise.all(
          Array.from({ length: 5 }, async () => {
            const n = random.below(30)
            const at = address(`k${n}`, n % 3, (n * 11) % 256)
            const what = random.chance(0.2)
              ? 'remove'
              : write(`v${random.below(1e6)}`, random.below(2 ** 32), random.chance(0.7))
            for (const group of await storage.commit(put(at, what), 'relaxed'))
              told.set(`${group.partition}/${group.group}`, group)
          }),
        )
        if (round % 13 === 12) {
          await storage.close()
          storage = await open()
          await storage.load()
        }
      }
      const truth = await recomputed(storage, 3)
      const loaded = new Map(
        (await storage.load()).leafGroups.map((group) => [`${group.partition}/${group.group}`, group]),
      )
      for (const [name, group] of [...told, ...loaded]) {
        const expected = truth.get(name)
        same([...group.digests], [...(expected?.digests ?? new Uint32Array(32))], `digests of ${name}`)
        same([group.records, group.bytes], [expected?.records ?? 0, expected?.bytes ?? 0], `counts of ${name}`)
      }
      for (const name of truth.keys()) check(loaded.has(name), `${name} is on disk`)
    },
  },
  {
    name: 'leaf groups count the live keys, through deletions, removals and returns, in memory and on disk',
    async run(open) {
      const storage = await open()
      const told = new Map<string, number>()
      const [a, b, elsewhere] = [address('a', 1, 2), address('b', 1, 3), address('c', 2, 200)]
      const steps: [Address, RecordWrite][] = [
        [a, write('one', 1)],
        [b, write('two', 2)],
        [elsewhere, write('three', 3)],
        [a, write('', 4, false)],
        [a, 'keep'],
        [a, write('', 5, false)],
        [a, write('back', 6)],
        [b, 'remove'],
        [elsewhere, write('', 7, false)],
        [elsewhere, 'remove'],
      ]
      const sum = (counts: Iterable<number>) => [...counts].reduce((total, n) => total + n, 0)
      for (const [i, [at, what]] of steps.entries()) {
        for (const { partition, group, live } of await storage.commit(put(at, what), 'relaxed'))
          told.set(`${partition}/${group}`, live)
        const keys = await storage.scanKeys({ from: '', to: '\uffff', limit: 100, reverse: false })
        same(sum(told.values()), keys.length, `after step ${i}`)
      }
      await storage.close()
      const { leafGroups } = await (await open()).load()
      same(sum(leafGroups.map(({ live }) => live)), 1, 'after opening again')
    },
  },
  {
    name: 'leaf groups stay true through very many small commits',
    async run(open) {
      const storage = await open()
      await storage.load()
      for (let i = 0; i < 1100; i++) {
        const n = i % 90
        await storage.commit(put(address(`k${n}`, n % 2, (n * 7) % 256), write(`v${i}`, i)), 'relaxed')
      }
      await storage.close()
      const again = await open()
      const { leafGroups } = await again.load()
      const truth = await recomputed(again, 2)
      for (const group of leafGroups) {
        const expected = truth.get(`${group.partition}/${group.group}`)
        same(
          [[...group.digests], group.records, group.bytes],
          [[...(expected?.digests ?? [])], expected?.records, expected?.bytes],
          'a group',
        )
      }
      same(leafGroups.length, truth.size, 'all groups')
    },
  },
  {
    name: 'hints are rows of their own, merged by update, listed at load and removed by undefined',
    async run(open) {
      const storage = await open()
      const home = 'HOME______' as NodeId
      const row = { homes: [home], own: true, container: new Uint8Array([1, 2]) }
      await storage.commit({ hints: [{ key: 'h' as StoreKey, apply: () => row }] }, 'strict')
      await storage.commit(
        { hints: [{ key: 'h' as StoreKey, apply: (current) => current && { ...current, own: false } }] },
        'strict',
      )
      await storage.close()
      const again = await open()
      const { hints } = await again.load()
      same(hints, [{ key: 'h', homes: [home], own: false }], 'listed without their containers')
      const [stored, absent] = await again.getHints(['h' as StoreKey, 'other' as StoreKey])
      same([[...(stored?.container ?? [])], absent ?? null], [[1, 2], null], 'read')
      same(await read(again, address('h')), [null], 'a hint is no record')
      await again.commit({ hints: [{ key: 'h' as StoreKey, apply: () => undefined }] }, 'relaxed')
      same((await again.load()).hints, [], 'removed')
    },
  },
  {
    name: 'meta values are kept, replaced and removed',
    async run(open) {
      const storage = await open()
      await storage.commit(
        {
          meta: [
            ['a', new Uint8Array([1])],
            ['b', new Uint8Array([2])],
          ],
        },
        'strict',
      )
      await storage.commit(
        {
          meta: [
            ['a', new Uint8Array([3])],
            ['b', undefined],
          ],
        },
        'strict',
      )
      await storage.close()
      const { meta } = await (await open()).load()
      same(
        [...meta].map(([name, value]) => [name, ...value]),
        [['a', 3]],
        'meta',
      )
    },
  },
  {
    name: 'a partition is scanned in pages, in leaf order, with everything exactly once',
    async run(open) {
      const storage = await open()
      const all = Array.from({ length: 300 }, (_, i) => address(`key ${i}`, 5, (i * 37) % 256))
      await storage.commit(
        { records: all.map((at) => ({ address: at, apply: () => write('x'.repeat(100)) })) },
        'relaxed',
      )
      await storage.commit(put(address('elsewhere', 6), write('no')), 'relaxed')
      await storage.commit(put(address('before', 4, 255), write('no')), 'relaxed')
      const seen: string[] = []
      let after: string | undefined
      do {
        const page = await storage.scanPartition(5 as Partition, { after, maxBytes: 1000 })
        check(page.records.length > 0 && page.records.length <= 10, `a page of ${page.records.length}`)
        seen.push(...page.records.map((record) => record.key))
        after = page.cursor
      } while (after !== undefined)
      same(seen.length, 300, 'each once')
      same(new Set(seen).size, 300, 'none twice')
      const leafOf = new Map(all.map((at) => [at.key as string, at.leaf]))
      check(
        seen.every((key, i) => i === 0 || (leafOf.get(seen[i - 1] as string) as number) <= (leafOf.get(key) as number)),
        'in leaf order',
      )
      const some = await storage.scanPartition(5 as Partition, { fromLeaf: 10, toLeaf: 20, maxBytes: 1e9 })
      same(
        some.records.map((record) => record.key).sort(),
        all
          .filter(({ leaf }) => leaf >= 10 && leaf <= 20)
          .map(({ key }) => key)
          .sort(),
        'a range of leaves',
      )
      const one = await storage.scanPartition(5 as Partition, { maxBytes: 1 })
      same(one.records.length, 1, 'at least one record, however small the page')
    },
  },
  {
    name: 'live keys are scanned in UTF-16 order, within bounds, up to a limit, both ways',
    async run(open) {
      const storage = await open()
      const keys = ['b', 'a', 'ba', 'B', 'é', '\u{1F600}', '\uffee', 'c', 'dead']
      for (const [i, key] of keys.entries())
        await storage.commit(put(address(key, i % 4, i), write('v', i, key !== 'dead')), 'relaxed')
      const scan = (from: string, to: string, limit = 100, reverse = false) =>
        storage.scanKeys({ from, to, limit, reverse })
      const live = keys.filter((key) => key !== 'dead').sort()
      same(await scan('', '\uffff'), live, 'all, tombstones left out')
      same(await scan('', '\uffff', 100, true), live.slice().reverse(), 'reverse')
      same(await scan('a', 'b'), ['a'], 'from inclusive, to exclusive')
      same(await scan('b', 'd', 2), ['b', 'ba'], 'limit')
      same(await scan('b', 'd', 2, true), ['c', 'ba'], 'limit from the end')
      for (const reverse of [false, true]) same(await scan('b', 'b', 2, reverse), [], 'an empty range')
      await storage.commit(put(address('a', 1, 1), write('gone', 1, false)), 'relaxed')
      same(await scan('a', 'b'), [], 'a key that died')
      await storage.commit(put(address('a', 1, 1), write('back', 1, true)), 'relaxed')
      same(await scan('a', 'b'), ['a'], 'and came back')
    },
  },
  {
    name: 'copies are kept by name, listed in order at the next load, and gone once removed',
    async run(open) {
      const storage = await open()
      const bytes = (value: string) => new TextEncoder().encode(value)
      await storage.commit(
        {
          copies: [
            ['2b', bytes('two')],
            ['1a', bytes('one')],
          ],
        },
        'relaxed',
      )
      await storage.commit(
        {
          copies: [
            ['3c', bytes('three')],
            ['2b', undefined],
            ['3c', bytes('later')],
          ],
        },
        'relaxed',
      )
      const [one, two, three] = await storage.getCopies(['1a', '2b', '3c'])
      same([text(one), text(two), text(three)], ['one', undefined, 'later'], 'what is read')
      same((await (await open()).load()).copies, ['1a', '3c'], 'what is listed')
    },
  },
  {
    name: 'after close, calls are refused as closed; after destroy, nothing is left',
    async run(open) {
      const storage = await open()
      await storage.commit(put(address('a'), write('one')), 'strict')
      await storage.close()
      const kind = await storage.get([address('a')]).then(
        () => 'answered',
        (error: { kind: string }) => error.kind,
      )
      same(kind, 'closed', 'a read after close')
      const again = await open()
      await again.destroy()
      same(await read(await open(), address('a')), [null], 'after destroy')
    },
  },
]
