/**
 * The identifiers that travel between nodes, branded so that they cannot be mixed up, and the one place where a
 * bucket and a user's key become a `StoreKey`. Relied on by everything; relies on nothing.
 */

declare const brand: unique symbol
type Branded<T, Name> = T & { readonly [brand]: Name }

/** One tab's node: 10 characters of base64url, kept for as long as its slot's database lives. */
export type NodeId = Branded<string, 'NodeId'>
/** One disk, that is one browser profile: the 'physical node' of §4.3. 10 characters of base64url. */
export type DeviceId = Branded<string, 'DeviceId'>
/**
 * Who mints dots: a node during one life of its process. `<NodeId>.<8 random characters>`. A new one at every start, so
 * that no dot is ever issued twice, whatever happened to the disk in between (rolled back, copied, swapped).
 */
export type ActorId = Branded<string, 'ActorId'>
/** Replication, bucket and key in one string; see {@link storeKey}. */
export type StoreKey = Branded<string, 'StoreKey'>
/**
 * A partition of one replication class: `class * Q + index`, with class = n (0 for 'all'). Keys of buckets with different
 * n live at different homes, so they never share a Merkle tree.
 */
export type Partition = Branded<number, 'Partition'>

/** How many homes a key has; 'all' is every member. */
export type ReplicationFactor = number | 'all'

/** The largest n that a room may use. */
export const MAX_REPLICATION = 20

export const NODE_ID_LENGTH = 10
export const MAX_KEY_BYTES = 1024
export const MAX_BUCKET_BYTES = 64

const ID = /^[\w-]{1,16}$/

/** Ids are base64url, and as long as the messages between nodes take them: whoever has another one could not speak to anybody. */
export function isId(value: unknown): value is NodeId {
  return typeof value === 'string' && ID.test(value)
}

/** The separator between bucket and key; bucket names must not contain it. */
const SEPARATOR = '\0'

/**
 * The full name of a key: `<n>/<bucket>\0<key>`, with `*` for n = 'all'. It carries the replication factor so that any
 * node can place a key without knowing the bucket's options.
 */
export function storeKey(n: ReplicationFactor, bucket: string, key: string): StoreKey {
  return (bucketPrefix(n, bucket) + key) as StoreKey
}

/** Takes a `StoreKey` apart; undefined when it is not one (it may come from a peer). */
export function parseStoreKey(text: string): { n: ReplicationFactor; bucket: string; key: string } | undefined {
  const slash = text.indexOf('/')
  const separator = text.indexOf(SEPARATOR)
  if (slash < 1 || slash > 3 || separator < slash || separator === text.length - 1) return undefined
  const factor = text.slice(0, slash)
  if (factor !== '*' && !/^[1-9]\d?$/.test(factor)) return undefined
  return {
    n: factor === '*' ? 'all' : Number(factor),
    bucket: text.slice(slash + 1, separator),
    key: text.slice(separator + 1),
  }
}

/** All store keys of one bucket begin with this. */
export function bucketPrefix(n: ReplicationFactor, bucket: string): string {
  return `${n === 'all' ? '*' : n}/${bucket}${SEPARATOR}`
}

export function actorOf(node: NodeId, random: string): ActorId {
  return `${node}.${random}` as ActorId
}

/** The node behind an actor: its own earlier lives included. */
export function nodeOfActor(actor: ActorId): NodeId {
  return actor.slice(0, NODE_ID_LENGTH) as NodeId
}
