/**
 * Merkle trees, one per partition (§4.7): 256 leaves, 16 groups, one root. A leaf is the XOR of the digests of its records, a group the
 * XOR of its leaves: order-independent, so one changed record changes each level by one XOR. The leaves are kept true by
 * the storage, in the transaction that writes the record; this is their copy in memory, and a restart rebuilds nothing.
 *
 * A fixed number of partitions means that trees survive every membership change (§6.2, strategy 3).
 */
import { type Address, type Digest, GROUPS, LEAVES_PER_GROUP, type LeafGroup } from '../environment.js'
import type { Partition } from '../ids.js'
import { mix, scattered } from '../ring/scores.js'
import { readUint32 } from '../versions/encoding.js'

export const NOTHING: Digest = { high: 0, low: 0 }

export class MerkleForest {
  private readonly trees = new Map<Partition, (LeafGroup | undefined)[]>()
  private readonly roots = new Map<Partition, Digest>()
  records = 0
  live = 0
  bytes = 0

  clear(): void {
    this.trees.clear()
    this.roots.clear()
    this.records = this.live = this.bytes = 0
  }

  /** Takes over the leaf groups as the storage has them now. */
  update(groups: LeafGroup[]): void {
    for (const group of groups) {
      const tree = this.trees.get(group.partition) ?? new Array<LeafGroup | undefined>(GROUPS).fill(undefined)
      const former = tree[group.group]
      this.records += group.records - (former?.records ?? 0)
      this.live += group.live - (former?.live ?? 0)
      this.bytes += group.bytes - (former?.bytes ?? 0)
      tree[group.group] = group
      this.trees.set(group.partition, tree)
      this.roots.delete(group.partition)
    }
  }

  root(partition: Partition): Digest {
    const tree = this.trees.get(partition)
    // A peer may ask for any partition: nothing is kept of those that are not here.
    if (!tree) return NOTHING
    let root = this.roots.get(partition)
    if (!root) {
      root = tree.reduce<Digest>((sum, group) => xor(sum, groupDigest(group)), NOTHING)
      this.roots.set(partition, root)
    }
    return root
  }

  /** The XOR of several roots: one number to compare two nodes by. */
  combinedRoot(partitions: Iterable<Partition>): Digest {
    let sum = NOTHING
    // Mixing in the partition keeps equal changes in two partitions from cancelling out.
    for (const partition of partitions) sum = xor(sum, mixed(this.root(partition), partition))
    return sum
  }

  groupDigests(partition: Partition): Digest[] {
    const tree = this.trees.get(partition)
    return Array.from({ length: GROUPS }, (_, group) => groupDigest(tree?.[group]))
  }

  leafDigests(partition: Partition, group: number): Digest[] {
    return Array.from({ length: LEAVES_PER_GROUP }, (_, i) => this.leafDigest(partition, LEAVES_PER_GROUP * group + i))
  }

  leafDigest(partition: Partition, leaf: number): Digest {
    const digests = this.trees.get(partition)?.[Math.floor(leaf / LEAVES_PER_GROUP)]?.digests
    const at = 2 * (leaf % LEAVES_PER_GROUP)
    return digests ? { high: digests[at] as number, low: digests[at + 1] as number } : NOTHING
  }

  /** True when this node certainly holds no record at that place: saves looking on the disk. */
  certainlyAbsent({ partition, leaf }: Address): boolean {
    return isZero(this.leafDigest(partition, leaf))
  }

  recordsIn(partition: Partition): number {
    return this.trees.get(partition)?.reduce((sum, group) => sum + (group?.records ?? 0), 0) ?? 0
  }

  /** The partitions of which this node holds any record. */
  held(): Partition[] {
    return [...this.trees.keys()].filter((partition) => this.recordsIn(partition) > 0)
  }
}

function groupDigest(group: LeafGroup | undefined): Digest {
  if (!group) return NOTHING
  const { digests } = group
  let high = 0
  let low = 0
  for (let i = 0; i < digests.length; i += 2) {
    high ^= digests[i] as number
    low ^= digests[i + 1] as number
  }
  return { high: high >>> 0, low: low >>> 0 }
}

/** One to one for each partition, and unlike any other's: no change of a root has the same effect in two of them. */
function mixed({ high, low }: Digest, partition: Partition): Digest {
  const a = mix(low, partition)
  const b = scattered(high ^ a)
  return { high: b, low: (a ^ scattered(b)) >>> 0 }
}

export function xor(a: Digest, b: Digest): Digest {
  return { high: (a.high ^ b.high) >>> 0, low: (a.low ^ b.low) >>> 0 }
}

export function sameDigest(a: Digest, b: Digest): boolean {
  return a.high === b.high && a.low === b.low
}

export function isZero(digest: Digest): boolean {
  return digest.high === 0 && digest.low === 0
}

/** Digests as they travel: 8 bytes each. */
export function digestsToBytes(digests: readonly Digest[]): Uint8Array {
  const bytes = new Uint8Array(8 * digests.length)
  let at = 0
  for (const { high, low } of digests)
    for (const word of [high, low]) for (let shift = 24; shift >= 0; shift -= 8) bytes[at++] = word >>> shift
  return bytes
}

export function digestsFromBytes(bytes: Uint8Array): Digest[] {
  const digests: Digest[] = []
  for (let at = 0; at + 8 <= bytes.length; at += 8)
    digests.push({ high: readUint32(bytes, at), low: readUint32(bytes, at + 4) })
  return digests
}
