/**
 * A node's IndexedDB database: its layout, and a connection that comes back when the browser closes it. One database per node; a Web Lock (see
 * slots) keeps every other tab out, so what this tab has in memory of it stays true.
 */
import { type DBSchema, type IDBPDatabase, deleteDB, openDB } from 'idb'
import { type HintRow, StorageFailure, isQuota } from '../../core/environment.js'

export interface RecordRow {
  /** The encoded container. */
  c: Uint8Array
  /** Its digest. */
  h: number
  l: number
  /** The store key, while the key has a value; without it, a tombstone is not in the index of live keys. */
  k?: string
}

/** All leaves of one partition, as of the last folding of the journal. */
export interface LeafRow {
  /** LEAVES × (high, low). */
  digests: Uint32Array
  /** Per group. */
  records: Uint32Array
  live: Uint32Array
  bytes: Float64Array
}

export interface Schema extends DBSchema {
  /** By partition, leaf and key, so that a leaf is one range. */
  records: { key: string; value: RecordRow; indexes: { live: string } }
  hints: { key: string; value: HintRow }
  /** By partition. */
  leaves: { key: number; value: LeafRow }
  /** What transactions have changed in the leaves since: one row each, see leaves.ts. */
  journal: { key: number; value: Float64Array }
  meta: { key: string; value: Uint8Array }
  /** Encoded containers of keys that belong elsewhere, by names that the core gives. */
  copies: { key: string; value: Uint8Array }
}

export type StoreName = 'records' | 'hints' | 'leaves' | 'journal' | 'meta' | 'copies'

/** 2: with copies. */
const VERSION = 2
const REOPEN_ATTEMPTS = 3
/** A browser that is clearing site data or restarting its storage process refuses to open anything for a moment. */
const REOPEN_PAUSE_MS = 100

export interface DatabaseEvents {
  /** A newer version of the page wants to upgrade the database; it has been let go, for good. */
  onUpgraded: () => void
  /** It was deleted, by itself or with the site's data, and is made anew. Comes before anything else on the new one. */
  onEmptied: () => void
}

interface Connection {
  readonly opened: Promise<IDBPDatabase<Schema>>
  /** Called when the browser has taken it away. */
  readonly lost: Set<() => void>
}

export class Database {
  private connection: Connection | undefined
  /** The database has been open before. */
  private known = false
  /** It was made anew after that, and nobody has been told yet: a connection may be lost before. */
  private emptied = false
  private closed = false

  constructor(
    private readonly name: string,
    private readonly events: DatabaseEvents,
    /** Comes before anything else on a connection that replaces a lost one: what is remembered of the disk may be wrong. */
    private readonly onReopened: (db: IDBPDatabase<Schema>) => Promise<void>,
  ) {}

  /**
   * Runs `work` on an open connection; again on a new one when the browser had closed it. Then a transaction of the former attempt may
   * have completed all the same, so `work` must be repeatable.
   * @throws StorageFailure
   */
  async run<T>(work: (db: IDBPDatabase<Schema>, attempt: number) => Promise<T>): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      this.checkOpen()
      const connection = this.open()
      try {
        const db = await connection.opened
        return await whileOpen(connection, work(db, attempt))
      } catch (error) {
        const lost = isConnectionLost(error) || isUnknown(error)
        if (lost) this.drop(connection)
        if (!lost || attempt >= REOPEN_ATTEMPTS) throw toFailure(error)
        if (attempt > 1) await new Promise((resolve) => setTimeout(resolve, REOPEN_PAUSE_MS))
      }
    }
  }

  /** @throws StorageFailure */
  checkOpen(): void {
    if (this.closed) throw new StorageFailure('closed', 'the database was closed')
  }

  async close(): Promise<void> {
    this.closed = true
    const db = await this.connection?.opened.catch(() => undefined)
    db?.close()
  }

  async destroy(): Promise<void> {
    await this.close()
    await deleteDB(this.name).catch((error) => {
      throw toFailure(error)
    })
  }

  private open(): Connection {
    if (this.connection !== undefined) return this.connection
    const reopening = this.known
    const lost: Connection['lost'] = new Set()
    const opening = openDB<Schema>(this.name, VERSION, {
      upgrade: (db, from, _to, tx) => {
        quiet(tx)
        if (reopening && from === 0) this.emptied = true
        if (from < 1) {
          db.createObjectStore('records').createIndex('live', 'k')
          for (const store of ['hints', 'leaves', 'journal', 'meta'] as const) db.createObjectStore(store)
        }
        if (from < 2) db.createObjectStore('copies')
      },
      blocking: (_current, blockedVersion) => {
        if (blockedVersion !== null) return this.stepAside()
        this.drop(connection)
        this.reopen()
      },
      terminated: () => {
        // In a later turn: what its transactions came to is told first, where it is told at all.
        setTimeout(() => {
          for (const end of lost) end()
        })
        if (this.connection !== connection || this.closed) return
        this.connection = undefined
        this.reopen()
      },
    })
    const opened = opening.then(async (db) => {
      try {
        if (reopening) await whileOpen(connection, this.onReopened(db))
        if (this.emptied) this.events.onEmptied()
      } catch (error) {
        // Nobody gets it, and it would block every deletion.
        db.close()
        throw error
      }
      this.emptied = false
      this.known = true
      return db
    })
    const connection: Connection = { opened, lost }
    this.connection = connection
    opened.catch(() => this.drop(connection))
    return connection
  }

  /** Forgets a connection that does not work any more; closes it too, or it would block a deletion that nobody answers. */
  private drop(connection: Connection): void {
    if (this.connection === connection) this.connection = undefined
    connection.opened.then(
      (db) => db.close(),
      () => {},
    )
  }

  /** At once, to hear whether the data are still there. Whether it works is for who needs the disk next to find out. */
  private reopen(): void {
    this.run(async () => {}).catch(() => {})
  }

  private stepAside(): void {
    if (this.closed) return
    void this.close()
    this.events.onUpgraded()
  }
}

/**
 * idb makes a promise of every transaction's end. Where nobody waits for it, its failure must not count as unhandled: the requests, or opening, tell
 * of it too.
 */
export function quiet<T extends { done: Promise<void> }>(tx: T): T {
  tx.done.catch(() => {})
  return tx
}

interface Writable {
  done: Promise<void>
  abort(): void
}

/**
 * Waits for the end of a transaction whose last requests `write` makes, and gives to `send`: they fail together with it. Where `write` throws in the midst
 * of them (no memory for a copy, say), the browser would commit those that it has made by then.
 */
export async function writeAll<T>(tx: Writable, write: (send: (request: Promise<unknown>) => void) => T): Promise<T> {
  let full: unknown
  const send = (request: Promise<unknown>) =>
    void request.catch((error) => {
      if (isQuota(toFailure(error))) full ??= error
    })
  try {
    const written = write(send)
    await tx.done
    return written
  } catch (error) {
    try {
      tx.abort()
    } catch {
      // It has ended already.
    }
    // Of a transaction that ends by a request, idb says no more than of one whose connection was lost.
    throw full ?? error
  }
}

/** What goes on on a connection ends with it: Chromium, when it closes one by force, does not tell every transaction of its end. */
function whileOpen<T>({ lost }: Connection, work: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const end = () => reject(new DOMException('The connection was lost.', 'AbortError'))
    lost.add(end)
    work.then(resolve, reject).finally(() => lost.delete(end))
  })
}

/** The browser took the connection away (memory pressure, site data cleared, a crashed storage process). */
export function isConnectionLost(error: unknown): boolean {
  return error instanceof DOMException && (error.name === 'InvalidStateError' || error.name === 'AbortError')
}

/** So Chromium calls what ends with some connections that it closes by force. A disk that fails says the same, and may answer on another one. */
function isUnknown(error: unknown): boolean {
  return error instanceof DOMException && error.name === 'UnknownError'
}

export function toFailure(error: unknown): StorageFailure {
  if (error instanceof StorageFailure) return error
  const name = error instanceof DOMException ? error.name : ''
  const message = error instanceof Error && error.message ? error.message : name || String(error)
  if (name === 'QuotaExceededError') return new StorageFailure('quota', message, { cause: error })
  if (name === 'VersionError')
    return new StorageFailure('blocked', 'the database belongs to a newer version of tabring', { cause: error })
  // So says Firefox where the user lets the site store nothing.
  if (name === 'SecurityError') return new StorageFailure('unavailable', message, { cause: error })
  if (name === 'DataError' || name === 'NotReadableError')
    return new StorageFailure('corrupt', message, { cause: error })
  return new StorageFailure('unknown', message, { cause: error })
}
