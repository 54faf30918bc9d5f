/** The trees in memory against trees that are computed anew from all records (§4.7). */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Digest, GROUPS, LEAVES_PER_GROUP, type LeafGroup } from '../../src/core/environment.js'
import type { Partition, StoreKey } from '../../src/core/ids.js'
import { MerkleForest, digestsFromBytes, digestsToBytes, sameDigest, xor } from '../../src/core/replica/merkle.js'

const NOTHING: Digest = { high: 0, low: 0 }
const KEY = 'any' as StoreKey
const word = fc.integer({ min: 0, max: 0xffff_ffff })
const digest: fc.Arbitrary<Digest> = fc.record({ high: word, low: word })
/** Few partitions and leaves, so that records meet. */
const record = fc.record({
  partition: fc.nat(2).map((i) => i as Partition),
  leaf: fc.nat(40),
  digest,
  live: fc.boolean(),
  bytes: fc.nat(1000),
})
type Record = typeof record extends fc.Arbitrary<infer R> ? R : never

/** Leaf groups as a storage gives them, from all records there are. */
function groupsOf(records: readonly Record[]): LeafGroup[] {
  const groups = new Map<string, LeafGroup>()
  for (const { partition, leaf, digest: own, live, bytes } of records) {
    const number = Math.floor(leaf / LEAVES_PER_GROUP)
    const id = `${partition}/${number}`
    const digests = new Uint32Array(2 * LEAVES_PER_GROUP)
    const group = groups.get(id) ?? { partition, group: number, digests, records: 0, live: 0, bytes: 0 }
    const at = 2 * (leaf % LEAVES_PER_GROUP)
    group.digests[at] = (group.digests[at] as number) ^ own.high
    group.digests[at + 1] = (group.digests[at + 1] as number) ^ own.low
    group.records++
    group.live += live ? 1 : 0
    group.bytes += bytes
    groups.set(id, group)
  }
  return [...groups.values()]
}

function forestOf(records: readonly Record[]): MerkleForest {
  const forest = new MerkleForest()
  forest.update(groupsOf(records))
  return forest
}

const recordWith = (low: number): Record => ({
  partition: 2 as Partition,
  leaf: 0,
  digest: { high: 0, low },
  live: false,
  bytes: 0,
})
const sum = (digests: readonly Digest[]) => digests.reduce(xor, NOTHING)
const PARTITIONS = [0, 1, 2] as Partition[]

describe('a forest', () => {
  test('remembers nothing of partitions that it was only asked for', () => {
    const forest = forestOf([recordWith(1)])
    const asked = Array.from({ length: 1000 }, (_, i) => i as Partition)
    forest.combinedRoot(asked)
    // What it keeps shows in nothing but its memory.
    const { roots } = forest as unknown as { roots: Map<Partition, Digest> }
    expect([...roots.keys()]).toEqual([2])
  })

  test('that followed single changes is the same as one that is computed from all records', () => {
    fc.assert(
      fc.property(fc.array(record, { maxLength: 40 }), (records) => {
        const followed = new MerkleForest()
        // A storage tells after each change the group that changed, as it is now.
        records.forEach((one, i) => {
          const group = Math.floor(one.leaf / LEAVES_PER_GROUP)
          const now = groupsOf(records.slice(0, i + 1))
          followed.update(now.filter((other) => other.partition === one.partition && other.group === group))
          followed.root(one.partition)
        })
        const anew = forestOf(records)
        for (const partition of PARTITIONS) {
          expect(followed.root(partition)).toEqual(anew.root(partition))
          expect(followed.groupDigests(partition)).toEqual(anew.groupDigests(partition))
          expect(followed.recordsIn(partition)).toBe(anew.recordsIn(partition))
        }
        expect([followed.records, followed.live, followed.bytes]).toEqual([anew.records, anew.live, anew.bytes])
        expect(followed.held().sort()).toEqual(anew.held().sort())
      }),
    )
  })

  test('has roots and groups that are the sums of the records below, in any order', () => {
    fc.assert(
      fc.property(fc.array(record, { maxLength: 40 }), (records) => {
        const forest = forestOf(records.slice().reverse())
        for (const partition of PARTITIONS) {
          const inside = records.filter((one) => one.partition === partition)
          expect(forest.root(partition)).toEqual(sum(inside.map((one) => one.digest)))
          expect(sum(forest.groupDigests(partition))).toEqual(forest.root(partition))
          for (let group = 0; group < GROUPS; group++)
            expect(sum(forest.leafDigests(partition, group))).toEqual(forest.groupDigests(partition)[group])
        }
        expect(forest.records).toBe(records.length)
      }),
    )
  })

  test('differs from another exactly in the leaves whose records differ', () => {
    fc.assert(
      fc.property(fc.array(record, { maxLength: 30 }), record, (records, one) => {
        fc.pre(!sameDigest(one.digest, NOTHING))
        const [mine, theirs] = [forestOf(records), forestOf([...records, one])]
        const differing = PARTITIONS.flatMap((partition) =>
          Array.from({ length: GROUPS }, (_, group) => group).flatMap((group) =>
            mine
              .leafDigests(partition, group)
              .flatMap((leafDigest, i) =>
                sameDigest(leafDigest, theirs.leafDigests(partition, group)[i] as Digest)
                  ? []
                  : [{ partition, leaf: group * LEAVES_PER_GROUP + i }],
              ),
          ),
        )
        expect(differing).toEqual([{ partition: one.partition, leaf: one.leaf }])
      }),
    )
  })

  test('calls absent only what has an empty leaf', () => {
    fc.assert(
      fc.property(fc.array(record, { maxLength: 30 }), (records) => {
        const forest = forestOf(records)
        for (const partition of PARTITIONS) {
          for (let leaf = 0; leaf < 64; leaf++) {
            const inside = records.filter((one) => one.partition === partition && one.leaf === leaf)
            const empty = sameDigest(sum(inside.map((one) => one.digest)), NOTHING)
            expect(forest.certainlyAbsent({ key: KEY, partition, leaf })).toBe(empty)
          }
        }
      }),
    )
  })

  test('notices one difference in any of many partitions by one number, and the same difference in two of them', () => {
    fc.assert(
      fc.property(fc.array(record, { maxLength: 20 }), digest, (records, own) => {
        fc.pre(!sameDigest(own, NOTHING))
        const change = (partition: number) => ({
          partition: partition as Partition,
          leaf: 7,
          digest: own,
          live: true,
          bytes: 1,
        })
        const before = forestOf(records).combinedRoot(PARTITIONS)
        expect(forestOf([...records, change(1)]).combinedRoot(PARTITIONS)).not.toEqual(before)
        expect(forestOf([...records, change(0), change(2)]).combinedRoot(PARTITIONS)).not.toEqual(before)
      }),
      // Once, both changes cancelled out.
      { examples: [[[62332582, 556384989, 1280243786].map(recordWith), { high: 0, low: 30 }]] },
    )
  })

  test('is empty where nothing is: no partition is held, all roots are nothing', () => {
    const forest = new MerkleForest()
    expect(forest.root(5 as Partition)).toEqual(NOTHING)
    expect(forest.held()).toEqual([])
    const one = { partition: 5 as Partition, leaf: 1, digest: { high: 1, low: 2 }, live: true, bytes: 3 }
    forest.update(groupsOf([one]))
    expect(forest.held()).toEqual([5])
    forest.update([
      { ...(groupsOf([one])[0] as LeafGroup), digests: new Uint32Array(32), records: 0, live: 0, bytes: 0 },
    ])
    expect(forest.held()).toEqual([])
    expect([forest.records, forest.live, forest.bytes]).toEqual([0, 0, 0])
  })
})

test('digests travel as eight bytes each', () => {
  fc.assert(
    fc.property(fc.array(digest, { maxLength: 20 }), fc.nat(7), (digests, offset) => {
      const bytes = digestsToBytes(digests)
      expect(bytes).toHaveLength(8 * digests.length)
      // Frames are views of larger buffers.
      const view = new Uint8Array([...new Uint8Array(offset), ...bytes]).subarray(offset)
      expect(digestsFromBytes(view)).toEqual(digests)
    }),
  )
})
