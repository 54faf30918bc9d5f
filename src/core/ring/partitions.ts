/** Key → partition and Merkle leaf (§6.2, strategy 3: Q equal partitions, fixed for the room). */
import { sha256 } from '@noble/hashes/sha2.js'
import { utf8ToBytes } from '@noble/hashes/utils.js'
import type { Address } from '../environment.js'
import { type Partition, type ReplicationFactor, type StoreKey, parseStoreKey } from '../ids.js'
import { invariant } from '../invariant.js'

export function addressOf(key: StoreKey, Q: number): Address {
  const parsed = parseStoreKey(key)
  invariant(parsed, 'a store key')
  const hash = sha256(utf8ToBytes(key))
  const bits = Math.log2(Q)
  const word = (((hash[0] as number) << 24) | ((hash[1] as number) << 16) | ((hash[2] as number) << 8) | (hash[3] as number)) >>> 0
  const index = bits === 0 ? 0 : word >>> (32 - bits)
  return { key, partition: (classBase(parsed.n, Q) + index) as Partition, leaf: (word << bits) >>> 24 }
}
export function classBase(n: ReplicationFactor, Q: number): number {
  return (n === 'all' ? 0 : n) * Q
}
export function partitionIndex(partition: Partition, Q: number): number {
  return partition % Q
}
export function replicationOf(partition: Partition, Q: number): ReplicationFactor {
  const n = Math.floor(partition / Q)
  return n === 0 ? 'all' : n
}
