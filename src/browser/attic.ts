/**
 * What lies on the disks of closed tabs of this profile, as long as nobody has adopted them: read there in place when no home of a key answers. Without
 * their locks, so that their tabs can come back at any moment; nothing is ever written.
 */
import { type IDBPDatabase, openDB } from 'idb'
import type { Address } from '../core/environment.js'
import type { StoreKey } from '../core/ids.js'
import type { Attic } from '../core/requests/copies.js'
import type { Slot } from './slots.js'
import { type Schema, isConnectionLost, quiet } from './storage/database.js'
import { recordKey, storeKeyOf } from './storage/layout.js'

/** No get waits for longer until a disk can be looked into. */
const OPENED_WITHIN_MS = 1000
/** Which slots are free may change; until then their databases stay open. */
const LOOK_EVERY_MS = 500

export function openAttic(slot: Slot): Attic & { close(): void } {
  let opening: Promise<IDBPDatabase<Schema>[]> | undefined
  let timer: ReturnType<typeof setTimeout> | undefined

  function databases(): Promise<IDBPDatabase<Schema>[]> {
    opening ??= slot.freeDatabases().then(async (names) => {
      const found = await Promise.all(names.map(openExisting))
      return found.filter((db) => db !== undefined)
    })
    timer ??= setTimeout(close, LOOK_EVERY_MS)
    return opening
  }

  function close(): void {
    clearTimeout(timer)
    const former = opening
    opening = timer = undefined
    former?.then(
      (open) => {
        for (const db of open) db.close()
      },
      () => {},
    )
  }

  return {
    async read(address: Address): Promise<Uint8Array[]> {
      const open = await databases()
      const found = await Promise.all(
        open.map((db) =>
          unlessLost(async () => {
            const tx = quiet(db.transaction(['records', 'hints']))
            const [record, hint] = await Promise.all([
              tx.objectStore('records').get(recordKey(address)),
              tx.objectStore('hints').get(address.key),
            ])
            return [record?.c, hint?.container]
          }),
        ),
      )
      return found.flat().filter((container) => container instanceof Uint8Array)
    },

    async keysIn(from: string, to: string): Promise<StoreKey[]> {
      const open = await databases()
      const range = IDBKeyRange.bound(from, to, false, true)
      const found = await Promise.all(
        open.map((db) =>
          unlessLost(async () => {
            const tx = quiet(db.transaction(['records', 'hints']))
            const [records, hints] = await Promise.all([
              tx.objectStore('records').index('live').getAllKeys(range),
              tx.objectStore('hints').getAllKeys(range),
            ])
            return [...records.map(storeKeyOf), ...(hints as StoreKey[])]
          }),
        ),
      )
      return found.flat()
    },

    close,
  }
}

/** Nothing, where the connection was taken away: whoever adopted that tab has deleted its database. The others are read all the same. */
async function unlessLost<T>(read: () => Promise<T[]>): Promise<T[]> {
  try {
    return await read()
  } catch (error) {
    if (isConnectionLost(error)) return []
    throw error
  }
}

/**
 * undefined when there is none, or one of another version of tabring, or where it takes too long: who opens a database waits behind its deletion, and
 * that for as long as somebody (a frozen tab, say) is in the way. What is about to be deleted is elsewhere already.
 */
async function openExisting(name: string): Promise<IDBPDatabase<Schema> | undefined> {
  const opening = openNow(name)
  let timer: ReturnType<typeof setTimeout> | undefined
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => resolve(undefined), OPENED_WITHIN_MS)
  })
  const db = await Promise.race([opening, late]).finally(() => clearTimeout(timer))
  if (!db)
    opening.then(
      (opened) => opened?.close(),
      () => {},
    )
  return db
}

async function openNow(name: string): Promise<IDBPDatabase<Schema> | undefined> {
  try {
    const db = await openDB<Schema>(name, undefined, {
      // It would make an empty one.
      upgrade: (_db, _from, _to, tx) => quiet(tx).abort(),
      blocking: (_current, _blocked, event) => (event.target as IDBDatabase).close(),
    })
    if (db.objectStoreNames.contains('records') && db.objectStoreNames.contains('hints')) return db
    db.close()
  } catch {
    // Gone meanwhile, or in the middle of an upgrade.
  }
  return undefined
}
