/**
 * What a node decides by and rooms or machines may have reason to change; the defaults stand below. Applications rarely
 * touch it (`openStore({ tuning })`). All other numbers stand where they are used.
 */
export interface Tuning {
  /** Q, a power of two. All nodes of a room must agree. */
  partitions: number
  /** Gossip with one random peer this often (§4.8.1: every second). */
  gossipIntervalMs: number
  /** Heartbeat on a link that was silent this long. */
  heartbeatIntervalMs: number
  /** Suspicion at which a peer counts as unreachable (phi accrual; Cassandra's default). */
  suspicionPhi: number
  /** A get or put that cannot reach its quorum answers with what it has after this long. */
  requestTimeoutMs: number
  /** A home that has not answered by then is joined by the next node of the preference list: bounds of the adaptive wait. */
  patienceMinMs: number
  patienceMaxMs: number
  /** Unreachable or closed for this long: the member sleeps, and its partitions move. */
  replaceAfterMs: number
  /** Unreachable for this long: stand-ins fetch copies of its partitions, so that losing the other homes loses nothing. */
  standInAfterMs: number
  hintedHandoff: boolean
  /** Tries to deliver hints this often while a home is reachable. */
  handoffIntervalMs: number
  readRepair: boolean
  merkleSync: boolean
  /** Compares with one peer this often at rest. */
  syncIntervalMs: number
  /** A difference must last this long to be real: shorter ones are writes on their way. */
  syncSettleMs: number
  /**
   * One batch of hints, of a transfer or of a comparison holds at most so many keys, and ends once it has so many bytes. Of a page that came by
   * a transfer, so many keys are written at once.
   */
  batchKeys: number
  batchBytes: number
  /** Tombstones and long contexts younger than this are not offered for reaping. Longer than a frame lives (30 s), but in tests. */
  reapAfterMs: number
  /** Looks for tombstones, expired values and stray copies this often. */
  scrubIntervalMs: number
  /** A slot of this profile that no tab has had open for this long is adopted by one that lives. */
  adoptAfterMs: number
  /** Copies of keys that this node is no home of may take so many bytes of its disk. */
  maxCopiesBytes: number
  warnSiblings: number
  /** Of one key, without deleted and expired ones; of these and of bytes there are limits as well (see core/replica/sibling-limit.ts). */
  maxSiblings: number
}

export const DEFAULT_TUNING: Tuning = {
  partitions: 256,
  gossipIntervalMs: 1000,
  heartbeatIntervalMs: 1000,
  suspicionPhi: 8,
  requestTimeoutMs: 5000,
  patienceMinMs: 400,
  patienceMaxMs: 1500,
  replaceAfterMs: 600_000,
  standInAfterMs: 2500,
  hintedHandoff: true,
  handoffIntervalMs: 2000,
  readRepair: true,
  merkleSync: true,
  syncIntervalMs: 15_000,
  syncSettleMs: 400,
  batchKeys: 128,
  batchBytes: 256 * 1024,
  reapAfterMs: 60_000,
  scrubIntervalMs: 30_000,
  adoptAfterMs: 60_000,
  maxCopiesBytes: 16 * 1024 * 1024,
  warnSiblings: 25,
  maxSiblings: 100,
}
