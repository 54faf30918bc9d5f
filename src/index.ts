export type { MetricsSnapshot } from './core/metrics.js'
export type { Trace, TracedPlace, TracedVersion } from './core/trace.js'
export type { Tuning } from './core/tuning.js'
export { Bucket, type CallOptions, type GetCallOptions, type PutCallOptions } from './store/bucket.js'
export type { Context, Entry, NodeId, Quorum, Receipt } from './store/entry.js'
export {
  ClosedError,
  ConfigMismatchError,
  ConnectionError,
  ContextError,
  type ErrorCode,
  KeyError,
  OptionError,
  QuorumError,
  SecretError,
  SiblingLimitError,
  StorageError,
  TabringError,
  ValueError,
  ValueTooLargeError,
} from './store/errors.js'
export { openStore } from './store/open.js'
export type { BucketOptions, Merge, OpenOptions, Replication } from './store/options.js'
export type { Scan, ScanOptions } from './store/scan.js'
export type { Member, Status } from './store/status.js'
export { Store, type StoreEvents } from './store/store.js'
export type { VerifyReport } from './store/verify.js'
export type { WatchTarget } from './store/watch.js'
