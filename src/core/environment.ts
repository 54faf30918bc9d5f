/**
 * The four seams of the protocol core: time, chance, disk and network. A node is given one of each and touches nothing
 * else, so that the same core runs in a tab (IndexedDB, WebRTC), in the simulator (virtual time, simulated disks and
 * links) and later in Node. (A fifth is optional: what closed tabs have left on this device, `Attic` in requests/copies.ts.)
 * The suites under `test/conformance` hold every implementation of Storage and Transport to what is promised here.
 */
import type { NodeId, Partition, StoreKey } from './ids.js'

export type CancelTimer = () => void

export interface Clock {
  /** Monotonic milliseconds since an arbitrary start. */
  now(): number
  /** Milliseconds since 1970. May jump both ways: nothing but TTL may decide by it. */
  wallTime(): number
  /** Calls back once, not before `delayMs` have passed; a hidden tab may be called much later. */
  setTimer(delayMs: number, callback: () => void): CancelTimer
}

export interface Random {
  /** Uniform in [0, 1). */
  next(): number
  /** `length` characters of base64url, unpredictable in production. */
  id(length: number): string
}

/** 'strict': flushed to the disk before it is confirmed, with all that was committed before. 'relaxed': handed to the operating system. */
export type Durability = 'strict' | 'relaxed'

/** Where a key lives on disk and in the Merkle trees. */
export interface Address {
  key: StoreKey
  partition: Partition
  /** 0 to LEAVES - 1: the leaf of the partition's Merkle tree. */
  leaf: number
}

/** Leaves per partition, and how they are grouped in storage rows and in the tree's middle level. */
export const LEAVES = 256
export const LEAVES_PER_GROUP = 16
export const GROUPS = LEAVES / LEAVES_PER_GROUP

/** Eight bytes as two unsigned 32-bit halves: combined with XOR, compared by both. */
export interface Digest {
  high: number
  low: number
}

/** What an update leaves in the record's place. */
export type RecordWrite =
  | 'keep'
  | 'remove'
  /** `live` is false when the key is deleted: a tombstone. */
  | { container: Uint8Array; digest: Digest; live: boolean }

/**
 * One atomic read-modify-write. `apply` is pure and synchronous; it gets the stored container inside the transaction and
 * may be called again when the transaction had to be repeated (a closed connection).
 */
export interface RecordUpdate {
  address: Address
  apply(current: Uint8Array | undefined): RecordWrite
}

/** A write that waits here for homes that have not confirmed it (§4.6): one row per key, merged. */
export interface HintRow {
  homes: NodeId[]
  /** True while it contains a write that was issued at this node: `flush` waits for it. */
  own: boolean
  container: Uint8Array
}

export interface HintUpdate {
  key: StoreKey
  /** As `RecordUpdate.apply`; undefined removes the row. Returning `current` itself leaves it as it is. */
  apply(current: HintRow | undefined): HintRow | undefined
}

export interface Batch {
  records?: RecordUpdate[]
  hints?: HintUpdate[]
  /** Small named values of the node itself (members, incarnation); undefined removes. At most a few hundred KiB each. */
  meta?: [name: string, value: Uint8Array | undefined][]
  /** Copies of keys that belong elsewhere, by name; undefined removes. In this order. */
  copies?: [name: string, container: Uint8Array | undefined][]
  /** Partitions whose leaf groups are to be made anew from their records: a scrub found them wrong. In a batch of its own. */
  recount?: Partition[]
}

export interface StoredRecord {
  key: StoreKey
  container: Uint8Array
  digest: Digest
}

/** The 16 leaf digests of one group of one partition, with what it holds. `digests` = 16 × (high, low). */
export interface LeafGroup {
  partition: Partition
  group: number
  digests: Uint32Array
  records: number
  live: number
  bytes: number
}

/** What a node needs in memory at start; its size does not grow with the values. */
export interface StoredState {
  meta: Map<string, Uint8Array>
  leafGroups: LeafGroup[]
  hints: { key: StoreKey; homes: NodeId[]; own: boolean }[]
  /** Names of the copies, in UTF-16 order. */
  copies: string[]
}

export interface KeyRange {
  /** Inclusive lower and exclusive upper bound, in UTF-16 order; both are store keys or prefixes of them. */
  from: string
  to: string
  limit: number
  reverse: boolean
}

/**
 * A node's disk. Every promise of `commit` resolves only when the transaction has **completed**; it rejects, with nothing
 * applied, when it aborted, and with an unknown outcome when the connection to the disk was lost for good. All commits
 * called in one turn share a transaction (group commit), in call order, as long as they are not more than one task of the page should write.
 * Leaf groups are updated in the same transaction as the records, so that they are true after any crash.
 * Failures reject with a `StorageFailure`; reads never return 'absent' for a read that failed (P41).
 */
export interface Storage {
  /**
   * Calls back when a disk that was in use is found empty: somebody deleted the site's data. It comes before any answer about the empty
   * disk. What is asked for at that time is done on it.
   */
  onEmptied(listener: () => void): void
  /** Comes before everything else. */
  load(): Promise<StoredState>
  /** Applies a batch atomically. Resolves with the leaf groups that changed, as they are now. */
  commit(batch: Batch, durability: Durability): Promise<LeafGroup[]>
  /** The stored containers, in the order of the keys asked for. */
  get(addresses: Address[]): Promise<(Uint8Array | undefined)[]>
  getHints(keys: StoreKey[]): Promise<(HintRow | undefined)[]>
  getCopies(names: string[]): Promise<(Uint8Array | undefined)[]>
  /**
   * The records of one partition in leaf order, from `fromLeaf` through `toLeaf` (inclusive), tombstones included; stops
   * once `maxBytes` are reached (at least one record). `after` goes on behind the page whose `cursor` it was.
   */
  scanPartition(
    partition: Partition,
    options: { fromLeaf?: number; toLeaf?: number; after?: string; maxBytes: number },
  ): Promise<{ records: StoredRecord[]; cursor: string | undefined }>
  /** Live keys (no tombstones) in key order. */
  scanKeys(range: KeyRange): Promise<StoreKey[]>
  close(): Promise<void>
  /** Closes and deletes everything. */
  destroy(): Promise<void>
}

/** What every Storage rejects with; the store turns it into the public `StorageError`. */
export class StorageFailure extends Error {
  override readonly name = 'StorageFailure'
  constructor(
    readonly kind: 'quota' | 'blocked' | 'corrupt' | 'closed' | 'lost' | 'unavailable' | 'unknown',
    message: string,
    options?: { cause?: unknown },
  ) {
    super(message, options)
  }
}

/** Whether the disk failed for lack of room. */
export function isQuota(error: unknown): boolean {
  return error instanceof StorageFailure && error.kind === 'quota'
}

/** What a transport carries in one piece. */
export const MAX_FRAME_BYTES = 16 * 1024 * 1024
/** Longer than any frame may live. */
export const MAX_TTL_MS = 30_000

/** Foreground frames overtake background frames on the wire. */
export type Lane = 'foreground' | 'background'

export interface Moving {
  in: boolean
  out: boolean
}

export const STILL: Moving = { in: false, out: false }

export interface TransportHandlers {
  /** There is a path to this node now, direct or relayed. Never called twice without `onDown` between. */
  onUp(node: NodeId): void
  /** The last path is gone. */
  onDown(node: NodeId): void
  /**
   * A whole frame, as it was sent. Frames of one lane from one node arrive in order, at most once. It may be a view of a larger
   * buffer: copy what is kept for long.
   */
  onFrame(from: NodeId, frame: Uint8Array): void
}

/** A node's links to other nodes. Hides offers, chunks, credits, relays and reconnects. */
export interface Transport {
  start(handlers: TransportHandlers): void
  /**
   * Queues a frame (at most MAX_FRAME_BYTES). False when there is no path or the queue to that node is full: then the frame is gone.
   * True promises nothing about arrival; what has waited here for `ttlMs` is not sent any more. The frame must not be changed afterwards.
   */
  send(to: NodeId, frame: Uint8Array, lane: Lane, ttlMs?: number): boolean
  /**
   * Whether parts of a frame from (`in`) or to (`out`) this node have moved in the last moments and more is to come: then no answer only
   * means that the link is slow. Left out by a transport whose frames arrive whole.
   */
  moving?(node: NodeId): Moving
  /** Members that the node knows of and wants links to; replaces the former list. */
  want(nodes: NodeId[]): void
  /** Drops the link to a peer that misbehaves or does not fit, and does not dial it for a while. */
  reject(node: NodeId): void
  /** Closes everything; reports `onDown` for all that is up, and nothing after that. */
  stop(): void
}
