/**
 * A node's IndexedDB database: its layout, and a connection that comes back when the browser closes it. One database per node; a Web Lock (see
 * slots) keeps every other tab out, so what this tab has in memory of it stays true.
 */
import { type DBSchema, type IDBPDatabase, deleteDB, openDB } from 'idb'
import { type HintRow, StorageFailure } from '../../core/environment.js'

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
}

export type StoreName = 'records' | 'hints' | 'leaves' | 'journal' | 'meta'

const VERSION = 1
const REOPEN_ATTEMPTS = 3

export interface DatabaseEvents {
  /** Another connection wants to delete the database or to upgrade it; it has been let go. */
  onLost: (reason: 'deleted' | 'upgraded') => void
}

export class Database {
  private connection: Promise<IDBPDatabase<Schema>> | undefined
  private closed = false

  constructor(
    private readonly name: string,
    private readonly events: DatabaseEvents,
  ) {}

  /** Runs `work` on an open connection; once more on a new one when the browser had closed it. `work` must be repeatable. @throws StorageFailure */
  async run<T>(work: (db: IDBPDatabase<Schema>) => Promise<T>): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      this.checkOpen()
      const connection = this.open()
      try {
        return await work(await connection)
      } catch (error) {
        const lost = isConnectionLost(error)
        if (lost && this.connection === connection) this.connection = undefined
        if (!lost || attempt >= REOPEN_ATTEMPTS) throw toFailure(error)
      }
    }
  }

  /** @throws StorageFailure */
  checkOpen(): void {
    if (this.closed) throw new StorageFailure('closed', 'the database was closed')
  }

  async close(): Promise<void> {
    this.closed = true
    const db = await this.connection?.catch(() => undefined)
    db?.close()
  }

  async destroy(): Promise<void> {
    await this.close()
    await deleteDB(this.name).catch((error) => {
      throw toFailure(error)
    })
  }

  private open(): Promise<IDBPDatabase<Schema>> {
    this.connection ??= openDB<Schema>(this.name, VERSION, {
      upgrade: (db) => {
        db.createObjectStore('records').createIndex('live', 'k')
        for (const store of ['hints', 'leaves', 'journal', 'meta'] as const) db.createObjectStore(store)
      },
      blocking: (_current, blockedVersion) => {
        this.closed = true
        void this.connection?.then((db) => db.close())
        this.events.onLost(blockedVersion === null ? 'deleted' : 'upgraded')
      },
      terminated: () => {
        this.connection = undefined
      },
    })
    this.connection.catch(() => {
      this.connection = undefined
    })
    return this.connection
  }
}

/** The browser took the connection away (memory pressure, site data cleared, a crashed storage process). */
function isConnectionLost(error: unknown): boolean {
  return error instanceof DOMException && (error.name === 'InvalidStateError' || error.name === 'AbortError')
}

export function toFailure(error: unknown): StorageFailure {
  if (error instanceof StorageFailure) return error
  const name = error instanceof DOMException ? error.name : ''
  const message = error instanceof Error && error.message ? error.message : name || String(error)
  if (name === 'QuotaExceededError') return new StorageFailure('quota', message, { cause: error })
  if (name === 'VersionError')
    return new StorageFailure('blocked', 'the database belongs to a newer version of tabring', { cause: error })
  if (name === 'DataError' || name === 'NotReadableError')
    return new StorageFailure('corrupt', message, { cause: error })
  return new StorageFailure('unknown', message, { cause: error })
}
