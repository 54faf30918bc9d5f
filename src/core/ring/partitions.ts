/**
 * From a key to its place (§4.2, §6.2 strategy 3): the key space is cut into Q equal partitions by the leading bits of a hash, and never cut
 * again. Every replication factor has partitions of its own (a 'class'), because its keys have other homes. Relied on by routing,
 * storage and the Merkle trees; the same on every node, forever: a change here moves all stored data.
 */
import { sha256 } from '@noble/hashes/sha2.js'
import { utf8ToBytes } from '@noble/hashes/utils.js'
import { type Address, LEAVES } from '../environment.js'
import { type Partition, type ReplicationFactor, type StoreKey, parseStoreKey } from '../ids.js'
import { invariant } from '../invariant.js'

/** Sixteen bits of the hash are read as partition and leaf: Q above this would leave less than a byte for the leaf's share. */
export const MAX_PARTITIONS = 4096
/** The largest n that a store key can carry. */
const MAX_CLASS = 99
/** No partition of any room reaches this number. */
export const PARTITION_BOUND = (MAX_CLASS + 1) * MAX_PARTITIONS

/** Q must be a power of two from 1 to {@link MAX_PARTITIONS}, equal on all nodes of a room. */
export function isPartitionCount(Q: number): boolean {
  return Number.isInteger(Q) && Q >= 1 && Q <= MAX_PARTITIONS && (Q & (Q - 1)) === 0
}

/**
 * Where a key lives: partition = class × Q + the leading log2(Q) bits of SHA-256 over the store key's UTF-8, leaf = the eight bits
 * behind them (§4.1 hashes with MD5; only the even spread matters here).
 */
export function addressOf(key: StoreKey, Q: number): Address {
  invariant(isPartitionCount(Q), `Q is a power of two from 1 to ${MAX_PARTITIONS}, not ${Q}`)
  const parsed = parseStoreKey(key)
  invariant(parsed !== undefined, 'only store keys have an address')
  const hash = sha256(utf8ToBytes(key))
  const leading = ((hash[0] ?? 0) << 16) | ((hash[1] ?? 0) << 8) | (hash[2] ?? 0)
  const bits = 31 - Math.clz32(Q)
  return {
    key,
    partition: (classBase(parsed.n, Q) + (leading >>> (24 - bits))) as Partition,
    leaf: (leading >>> (16 - bits)) & (LEAVES - 1),
  }
}

/** The first partition of a replication class; the class has Q of them. */
export function classBase(n: ReplicationFactor, Q: number): Partition {
  return ((n === 'all' ? 0 : n) * Q) as Partition
}

/** 0 to Q - 1: which of its class's partitions this is. */
export function partitionIndex(partition: Partition, Q: number): number {
  return partition % Q
}

/** The replication factor whose class the partition belongs to; undefined when there is no such class (it may come from a peer). */
export function replicationOf(partition: Partition, Q: number): ReplicationFactor | undefined {
  const factor = Math.floor(partition / Q)
  if (!(factor >= 0 && factor <= MAX_CLASS)) return undefined
  return factor === 0 ? 'all' : factor
}
