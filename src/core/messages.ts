/**
 * Every message between two nodes, declared once: its code on the wire, its fields with their limits, and by that its type.
 * Containers travel as the bytes that are stored.
 */
import { GROUPS, LEAVES, LEAVES_PER_GROUP, type Lane, MAX_FRAME_BYTES } from './environment.js'
import { type DeviceId, MAX_REPLICATION, type NodeId, type Partition, type StoreKey, parseStoreKey } from './ids.js'
import { MAX_PARTITIONS, PARTITION_BOUND } from './ring/partitions.js'
import {
  type Body,
  type Field,
  type Shape,
  between,
  bytes,
  count,
  flag,
  list,
  oneOf,
  optional,
  pair,
  real,
  record,
  shape,
  text,
  where,
} from './wire.js'

/** A container of many large siblings, and a little room in its frame for the rest. */
export const MAX_CONTAINER_BYTES = MAX_FRAME_BYTES - 256 * 1024

/**
 * One that has grown beyond that, on many sides of a cut at once, stays where it is until somebody who sees it resolves it. It is in no other key's way,
 * and nobody denies it: whoever is asked for it says that there is something, by its digest or by no bytes in its place.
 */
export function mayTravel(container: Uint8Array): boolean {
  return container.length <= MAX_CONTAINER_BYTES
}
/** More than the smallest containers of one batch. */
export const MAX_ENTRIES = 16_384
/** All that a room can have: each n has its own, and 'all' as well. */
const MAX_LISTED_PARTITIONS = (MAX_REPLICATION + 1) * MAX_PARTITIONS
/** Several times what one step of a descent asks for (see Exchange): each of these costs the asked one more than who asks. */
const MAX_COMPARED_PARTITIONS = 128
const MAX_COMPARED_GROUPS = 2048
const MAX_LISTED_LEAVES = 512
const DIGEST_BYTES = 8
/** With all that sleep. */
const MAX_MEMBERS = 65_536

const node = text<NodeId>(16)
const device = text<DeviceId>(16)
/** Only well-formed store keys: anything else cannot be placed, and would fail later at whoever has to send it on. */
const key = where(text<StoreKey>(1200), (read) => parseStoreKey(read) !== undefined, 'not a store key')
const container = bytes(MAX_CONTAINER_BYTES)
const digest = bytes(DIGEST_BYTES)
const below = (bound: number) => where(count, (read) => read < bound, 'not in its range')
const partition = below(PARTITION_BOUND) as Field<Partition>
const entries = list(pair(key, container), MAX_ENTRIES)
const keyDigests = list(pair(key, digest), MAX_ENTRIES)
export const partitions = list(partition, MAX_LISTED_PARTITIONS)

/** Its gossip version is a small multiple of it and must be a count as well. */
const MAX_INCARNATION = 2 ** 48

/** A member record as gossip carries it (§4.8.1). Everybody keeps it and places by it: what nobody could compute with must not get in. */
const member = record({
  node,
  device,
  incarnation: (value) => between(0, MAX_INCARNATION)(count(value)),
  state: oneOf('up', 'asleep', 'leaving', 'left'),
  capacity: between(0.01, 1000),
  name: text(256),
})
export const members = list(member, MAX_MEMBERS)
/** An incarnation for each of some members, as a disk keeps them. */
export const incarnations = list(pair(node, count), MAX_MEMBERS)

/** Characters of the room parameters that all peers must share. */
export const MAX_CONFIG = 4096

export const shapes = {
  /** First frame in each direction; nothing else is read before it (docs/design.md §9). `config` must match. */
  Hello: shape(1, {
    protocol: pair(count, count),
    node,
    incarnation: count,
    device,
    config: text(MAX_CONFIG),
    /** The sender lacks the receiver's Hello and wants it. */
    answer: flag,
    /** The sender's own record: who is connected is a member, without waiting for gossip. */
    member: optional(member),
    /** New in each life of the sender's process, also where its disk went back and counts an incarnation once more. */
    life: text(16),
    /**
     * The latest incarnation of the receiver that the sender has known as asleep, leaving or left: it was replaced then, and has to know, even where it is loaded
     * anew and its present record overrides that one before it ever sees it. Older builds do not say.
     */
    replaced: optional(count),
    /** The sender holds no record and no hint. Older builds do not say. */
    empty: optional(flag),
  }),
  /** The sender closes: a page that goes away says so if it can. */
  Bye: shape(2, {}),
  /** Heartbeat. `lag`: by how many milliseconds the sender's own timers run late (a hidden tab). */
  Ping: shape(3, { lag: real }),
  Pong: shape(4, { lag: real }),

  /** Store these containers: a put, a hint, a read repair or a sync push; they only differ in lane and `hintFor`. */
  Store: shape(10, {
    entries,
    /** When not empty: hold them as hints for these homes (§4.6). */
    hintFor: list(node, 64),
    /** Flush to disk before answering. */
    strict: flag,
    /** A user's new write: subject to the sibling limit. Copies of old writes never are. */
    fresh: flag,
  }),
  /** Durable now. `refused`: keys whose sibling limit is reached. `home`: as far as it knows, it is a home of all that was sent; older builds do not say. */
  Stored: shape(11, { refused: list(key, MAX_ENTRIES), home: optional(flag) }),
  Read: shape(13, { key, full: flag }),
  /**
   * `digest` is empty when there is nothing. No container, though it was asked for: it is too large to travel. `complete`: this node would know if there
   * were something. `home`: as far as it knows, it is a home of the key; older builds do not say.
   */
  ReadResult: shape(14, { digest, container: optional(container), complete: flag, home: optional(flag) }),
  /** A read or a write that the disk refused, or an answer that is too large for a frame: no answer is not 'absent' (P41). */
  Failed: shape(15, { kind: text(16) }),
  Fetch: shape(16, { keys: list(key, MAX_ENTRIES) }),
  /**
   * `cursor`: where the next page goes on; undefined at the end. Of a whole partition, no bytes stand for a container that is too large to travel; what
   * was asked for by its key is left out.
   */
  Entries: shape(17, { entries, cursor: optional(text(1300)) }),
  /** The live keys from `from` up to `to` (exclusive), in key order. */
  Scan: shape(18, { from: text(1300), to: text(1300), limit: count, reverse: flag }),
  /**
   * No bytes stand for a container that is damaged, or too large to travel: a read has to decide what there is.
   * `lacking`: partitions of the range's replication class of which this node may lack data. Those of others too: who asks may take it for a home
   * that it does not know to be one.
   */
  ScanPage: shape(19, { entries, more: flag, lacking: partitions }),

  Gossip: shape(20, {
    digests: list(pair(node, count), MAX_MEMBERS),
    /** Milliseconds since the last sign of life, per digest; -1 is never. */
    heard: list(real, MAX_MEMBERS),
    hash: digest,
  }),
  /** `empty`: of these members, the ones that have just come and hold nothing. Older builds do not say. */
  GossipReply: shape(21, { members, wanted: list(node, MAX_MEMBERS), empty: optional(list(node, MAX_MEMBERS)) }),
  Members: shape(22, { members, empty: optional(list(node, MAX_MEMBERS)) }),

  /**
   * `digest`: XOR of the roots of these partitions. `heir`: the sender gives its copies up where the receiver holds the same, which one that leaves does not
   * confirm. Older builds do not say.
   */
  CompareRoots: shape(30, { partitions, digest, heir: optional(flag) }),
  /** 8 bytes a partition; empty when all are equal. */
  Roots: shape(31, { roots: bytes(DIGEST_BYTES * MAX_LISTED_PARTITIONS) }),
  /** Asks for the group digests of some partitions, or for the leaf digests of (partition, group) pairs. */
  CompareGroups: shape(32, { partitions: list(partition, MAX_COMPARED_PARTITIONS) }),
  CompareLeaves: shape(33, { groups: list(pair(partition, below(GROUPS)), MAX_COMPARED_GROUPS) }),
  Digests: shape(34, { digests: bytes(DIGEST_BYTES * LEAVES_PER_GROUP * MAX_COMPARED_GROUPS) }),
  ListLeaves: shape(35, { leaves: list(pair(partition, below(LEAVES)), MAX_LISTED_LEAVES) }),
  /** `whole`: false when the list was cut. */
  KeyDigests: shape(36, { entries: keyDigests, whole: flag }),
  CheckKeys: shape(37, { keys: list(key, MAX_ENTRIES) }),
  /** The sender holds these partitions and the receiver is now a home of them: come and get them (§4.9). */
  OfferPartitions: shape(38, { partitions }),
  /** All records of these partitions, in pages; `after` is the cursor of the page before. */
  FetchPartitions: shape(39, { partitions, after: optional(text(1300)) }),
  /** Which of these, that the sender lacks, does the receiver have whole? */
  AskComplete: shape(40, { partitions }),
  /** `distrusted`: how often the sender has been without its data, or without what others wrote meanwhile. Older builds do not say. */
  Complete: shape(41, { partitions, distrusted: optional(count) }),

  /**
   * Do you hold exactly these (or nothing), and no older hint? `left`: of those that live, what will be left. Older builds do not say, and then nobody
   * keeps a copy.
   */
  Reap: shape(50, { entries: keyDigests, commit: flag, left: optional(keyDigests) }),
  ReapReply: shape(51, { agreed: list(key, MAX_ENTRIES) }),

  /** What the sender's applications watch: store keys (exact) and prefixes of them. `added`: besides what it told before. */
  Interest: shape(60, { keys: list(key, MAX_ENTRIES), prefixes: list(text(1300), 1024), added: flag }),
  /** No entries: there were some that could not be sent. */
  Changed: shape(61, { entries: keyDigests }),
} satisfies Record<string, Shape>

export type MessageType = keyof typeof shapes
export type Message = { [K in MessageType]: { type: K } & Body<(typeof shapes)[K]> }[MessageType]
export type MessageOf<K extends MessageType> = Extract<Message, { type: K }>

export const shapesByCode: ReadonlyMap<number, { type: MessageType; shape: Shape }> = new Map(
  (Object.keys(shapes) as MessageType[]).map((type) => [shapes[type].code, { type, shape: shapes[type] }]),
)

const REPLIES: ReadonlySet<MessageType> = new Set<MessageType>([
  'Pong',
  'Stored',
  'ReadResult',
  'Failed',
  'Entries',
  'ScanPage',
  'GossipReply',
  'Roots',
  'Digests',
  'KeyDigests',
  'Complete',
  'ReapReply',
])

/** Whether it answers a request. */
export function isReply(type: MessageType): boolean {
  return REPLIES.has(type)
}

/** What they say has not become wrong by waiting; and whoever is told late looks late, but whoever is never told never does. */
const TIMELESS: ReadonlySet<MessageType> = new Set<MessageType>(['Interest', 'Changed'])

/** Whether it is worth as much to its receiver however long it was on its way. */
export function isTimeless(type: MessageType): boolean {
  return TIMELESS.has(type)
}

const URGENT: ReadonlySet<MessageType> = new Set<MessageType>(['Store', 'Read', 'Scan', 'Gossip'])

/** Replies to what a user waits for overtake; all other replies go with the background. */
export function laneOfReply(request: MessageType): Lane {
  return URGENT.has(request) ? 'foreground' : 'background'
}
