/** The node's disk in a tab: `Storage` on IndexedDB. Reads here, writes in group-commit, the connection in database. */
import type { IDBPDatabase } from 'idb'
import {
  type Address,
  type Batch,
  type Durability,
  type HintRow,
  type KeyRange,
  LEAVES,
  type Storage,
  StorageFailure,
  type StoredRecord,
  type StoredState,
  isQuota,
} from '../../core/environment.js'
import type { Partition, StoreKey } from '../../core/ids.js'
import { Database, type Schema, quiet, toFailure, writeAll } from './database.js'
import { GroupCommit } from './group-commit.js'
import { leafPrefix, recordKey, storeKeyOf } from './layout.js'
import { Leaves } from './leaves.js'
import { RowCache } from './row-cache.js'
import { containerBytes, eachRow, hintRow, isHintRow, recordRow } from './rows.js'

/** Rows read at once, at most, while looking for the end of a page. */
const ROWS_AT_ONCE = 128

export interface StorageEvents {
  /** A newer version of the page has taken the database over; nothing works any more then. */
  onUpgraded(): void
  /** Something on the disk was damaged, and has been dropped or made anew. */
  onDamaged(failure: StorageFailure): void
}

/** Events come as long as it is open, from its opening on. */
export function openIndexedDbStorage(name: string, told: StorageEvents): Storage {
  const onEmptied: (() => void)[] = []
  const leaves = new Leaves()
  const cache = new RowCache()
  const events = {
    onUpgraded: () => told.onUpgraded(),
    onEmptied: () => {
      for (const listener of onEmptied) listener()
    },
  }
  const database = new Database(name, events, (db) => {
    cache.clear()
    return loadLeaves(db)
  })
  const group = new GroupCommit(database, leaves, cache)

  async function loadLeaves(db: IDBPDatabase<Schema>): Promise<void> {
    if (!(await leaves.load(db)))
      told.onDamaged(new StorageFailure('corrupt', 'Merkle leaves were damaged; they have been made anew'))
  }

  async function dropHints(db: IDBPDatabase<Schema>, keys: IDBValidKey[]): Promise<void> {
    const tx = quiet(db.transaction('hints', 'readwrite'))
    const isWritten = await writeAll(tx, (send) => {
      // Only the schema says that it is a text.
      for (const key of keys) send(tx.store.delete(key as string))
      return true
    }).catch((error) => {
      if (!isQuota(toFailure(error))) throw error
      return false
    })
    const became = isWritten ? 'have been dropped' : 'are passed over, until there is room to drop them'
    told.onDamaged(new StorageFailure('corrupt', `damaged hints ${became}: ${keys.length}`))
  }

  return {
    onEmptied: (listener) => void onEmptied.push(listener),

    load: () =>
      database.run(async (db): Promise<StoredState> => {
        await loadLeaves(db)
        const tx = quiet(db.transaction(['meta', 'hints', 'copies']))
        const [copies, names, values] = await Promise.all([
          tx.objectStore('copies').getAllKeys(),
          tx.objectStore('meta').getAllKeys(),
          tx.objectStore('meta').getAll(),
        ])
        const hints: StoredState['hints'] = []
        const damaged: IDBValidKey[] = []
        await eachRow(tx.objectStore('hints'), (key, row) => {
          if (typeof key === 'string' && isHintRow(row))
            hints.push({ key: key as StoreKey, homes: row.homes, own: row.own })
          else damaged.push(key)
        })
        // For whom it was, nobody knows.
        if (damaged.length > 0) await dropHints(db, damaged)
        return {
          meta: new Map(names.map((metaName, i) => [metaName, values[i] as Uint8Array])),
          leafGroups: leaves.groups(),
          hints,
          copies: copies.filter((copy) => typeof copy === 'string'),
        }
      }),

    commit: (batch: Batch, durability: Durability) => group.commit(batch, durability),

    async get(addresses: Address[]) {
      database.checkOpen()
      const keys = addresses.map(recordKey)
      const rows = new Map(keys.map((key) => [key, cache.get(key)]))
      const unknown = keys.filter((key) => !rows.get(key))
      if (unknown.length > 0) {
        await database.run(async (db) => {
          const store = quiet(db.transaction('records')).objectStore('records')
          const found = await Promise.all(unknown.map((key) => store.get(key)))
          for (const [i, key] of unknown.entries()) rows.set(key, recordRow(found[i], key))
        })
      }
      return keys.map((key) => rows.get(key)?.c)
    },

    getHints: (keys: StoreKey[]): Promise<(HintRow | undefined)[]> =>
      database.run((db) => {
        const store = quiet(db.transaction('hints')).objectStore('hints')
        return Promise.all(keys.map(async (key) => hintRow(await store.get(key))))
      }),

    getCopies: (names: string[]): Promise<(Uint8Array | undefined)[]> =>
      database.run((db) => {
        const store = quiet(db.transaction('copies')).objectStore('copies')
        return Promise.all(names.map(async (copy) => containerBytes(await store.get(copy))))
      }),

    scanPartition: (partition: Partition, { fromLeaf = 0, toLeaf = LEAVES - 1, after, maxBytes }) =>
      database.run(async (db) => {
        const store = quiet(db.transaction('records')).objectStore('records')
        const end = toLeaf === LEAVES - 1 ? leafPrefix(partition + 1, 0) : leafPrefix(partition, toLeaf + 1)
        const records: StoredRecord[] = []
        let bytes = 0
        // What a page probably takes, and the row that ends it: whole containers are read, and those beyond the page in vain.
        // A miscounted partition may have a mean below zero, or none; its records are read all the same.
        const mean = leaves.meanBytes(partition)
        const count = mean > 0 ? Math.min(ROWS_AT_ONCE, Math.ceil(maxBytes / mean) + 1) : ROWS_AT_ONCE
        for (let from = after ?? leafPrefix(partition, fromLeaf), open = after !== undefined; ; open = true) {
          const range = IDBKeyRange.bound(from, end, open, true)
          const [keys, rows] = await Promise.all([store.getAllKeys(range, count), store.getAll(range, count)])
          for (let i = 0; i < keys.length; i++) {
            const key = keys[i] as string
            const row = recordRow(rows[i], key)
            if (!row) continue
            if (records.length > 0 && bytes + row.c.length > maxBytes) return { records, cursor: from }
            from = key
            bytes += row.c.length
            records.push({ key: storeKeyOf(from), container: row.c, digest: { high: row.h, low: row.l } })
          }
          if (keys.length < count) return { records, cursor: undefined }
        }
      }),

    scanKeys: ({ from, to, limit, reverse }: KeyRange) =>
      database.run(async (db) => {
        // IndexedDB takes an empty range for a mistake. Who has read as far as a range goes may still ask for the rest of it.
        if (from >= to) return []
        const index = quiet(db.transaction('records')).objectStore('records').index('live')
        const range = IDBKeyRange.bound(from, to, false, true)
        if (!reverse) return (await index.getAllKeys(range, limit)).map(storeKeyOf)
        const keys: StoreKey[] = []
        for (
          let cursor = await index.openKeyCursor(range, 'prev');
          cursor && keys.length < limit;
          cursor = await cursor.continue()
        )
          keys.push(cursor.key as StoreKey)
        return keys
      }),

    close: () => database.close(),
    destroy: () => database.destroy(),
  }
}
