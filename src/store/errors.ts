/** Every error that applications meet: one class per cause that a caller can act on, with a stable `code`. */

/** Of each class below, in their order. */
export type ErrorCode =
  | 'quorum'
  | 'value'
  | 'value-too-large'
  | 'key'
  | 'context'
  | 'config-mismatch'
  | 'sibling-limit'
  | 'storage'
  | 'closed'
  | 'connection'
  | 'secret'
  | 'option'

export class TabringError extends Error {
  // Literally, here and below: a minifier changes the names of classes.
  override readonly name: string = 'TabringError'
  constructor(
    /** Stable, for programs; messages are for people and may change. */
    readonly code: ErrorCode,
    message: string,
    options?: { cause?: unknown },
  ) {
    super(message, options)
  }
}

/**
 * With `quorum: 'strict'`: fewer home nodes answered than asked for. For a put the outcome is unknown, never 'failed': the version may
 * survive and show up later.
 */
export class QuorumError extends TabringError {
  override readonly name = 'QuorumError'
  constructor(
    message: string,
    readonly answers: number,
    readonly needed: number,
    readonly outcome: 'unknown' | 'none',
  ) {
    super('quorum', message)
  }
}

/** A value that cannot be kept as it is: a function, a class instance, a cycle, … */
export class ValueError extends TabringError {
  override readonly name = 'ValueError'
  constructor(message: string, options?: { cause?: unknown }) {
    super('value', message, options)
  }
}

/** A value of more than 1 MiB when encoded. */
export class ValueTooLargeError extends TabringError {
  override readonly name = 'ValueTooLargeError'
  constructor(
    readonly bytes: number,
    readonly limit: number,
    what = 'the value',
  ) {
    super('value-too-large', `${what} takes ${bytes} bytes; at most ${limit} are possible. Split it over several keys.`)
  }
}

/** A key or bucket name that is not one: empty, too long, not text. */
export class KeyError extends TabringError {
  override readonly name = 'KeyError'
  constructor(message: string) {
    super('key', message)
  }
}

/** A context of another key or room, or a damaged one. */
export class ContextError extends TabringError {
  override readonly name = 'ContextError'
  constructor(message: string, options?: { cause?: unknown }) {
    super('context', message, options)
  }
}

/** A peer of the same room runs with other room parameters (n, buckets, partitions, protocol): no link to it is possible. */
export class ConfigMismatchError extends TabringError {
  override readonly name = 'ConfigMismatchError'
  constructor(message: string) {
    super('config-mismatch', message)
  }
}

/** A key has so many concurrent versions, or so large ones, that another one is refused; put with the context of a get to resolve them. */
export class SiblingLimitError extends TabringError {
  override readonly name = 'SiblingLimitError'
  constructor(key: string, limit: number) {
    super(
      'sibling-limit',
      `The key ${JSON.stringify(key)} has ${limit} unresolved versions, or 8 MB of them. Get it and put the merged value.`,
    )
  }
}

/** This tab's disk failed. `reason` says how; `cause` holds the DOMException, if there was one. */
export class StorageError extends TabringError {
  override readonly name = 'StorageError'
  constructor(
    readonly reason: 'quota' | 'blocked' | 'corrupt' | 'closed' | 'lost' | 'unavailable' | 'unknown',
    message: string,
    options?: { cause?: unknown },
  ) {
    super('storage', message, options)
  }
}

/** The store was closed. */
export class ClosedError extends TabringError {
  override readonly name = 'ClosedError'
  constructor(message = 'The store is closed.') {
    super('closed', message)
  }
}

/**
 * Peers cannot be reached, for a reason that waiting seldom ends: the signaling server refuses this tab, or the page or its browser does not let
 * it connect. Comes as an 'error' event, each reason once.
 */
export class ConnectionError extends TabringError {
  override readonly name = 'ConnectionError'
  constructor(message: string) {
    super('connection', message)
  }
}

/** A `secret` was given: rooms with one are not supported yet. */
export class SecretError extends TabringError {
  override readonly name = 'SecretError'
  constructor(message: string) {
    super('secret', message)
  }
}

/** An option that makes no sense. `option` is its path, e.g. 'replication.n'. */
export class OptionError extends TabringError {
  override readonly name = 'OptionError'
  constructor(
    readonly option: string,
    message: string,
  ) {
    super('option', `Option '${option}': ${message}`)
  }
}
