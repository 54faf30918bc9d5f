/** Keys of the record store: partition (6 hex digits), leaf (2 hex digits), then the store key. Texts sort as these numbers do. */
import type { Address } from '../../core/environment.js'
import type { StoreKey } from '../../core/ids.js'

const PREFIX_LENGTH = 8

export function recordKey({ key, partition, leaf }: Address): string {
  return leafPrefix(partition, leaf) + key
}

export function leafPrefix(partition: number, leaf: number): string {
  return partition.toString(16).padStart(6, '0') + leaf.toString(16).padStart(2, '0')
}

export function partitionOf(recordKey: string): number {
  return Number.parseInt(recordKey.slice(0, 6), 16)
}

export function leafOf(recordKey: string): number {
  return Number.parseInt(recordKey.slice(6, PREFIX_LENGTH), 16)
}

export function storeKeyOf(recordKey: string): StoreKey {
  return recordKey.slice(PREFIX_LENGTH) as StoreKey
}
