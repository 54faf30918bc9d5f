/** A node's database through a second connection: what bit rot, or a stranger, does to a disk. */
import { type IDBPDatabase, openDB } from 'idb'
import type { StoreName } from '../../../../src/browser/storage/database.js'

export async function openDatabaseOf(node: string): Promise<IDBPDatabase> {
  const found = (await indexedDB.databases()).find(({ name }) => name?.endsWith(`/${node}`))
  if (!found?.name) throw new Error(`${node} has no database`)
  return openDB(found.name)
}

/** Replaces rows, or deletes them. `change` gets each row with its key; what it does not give stays. */
export async function changeRows(
  node: string,
  store: StoreName,
  change: (row: Record<string, unknown>, key: string) => unknown,
): Promise<void> {
  const db = await openDatabaseOf(node)
  const tx = db.transaction(store, 'readwrite')
  for (let cursor = await tx.store.openCursor(); cursor; cursor = await cursor.continue()) {
    const row = change(cursor.value, String(cursor.key))
    if (row === null) await cursor.delete()
    else if (row !== undefined) await cursor.update(row)
  }
  await tx.done
  db.close()
}

export async function countRows(node: string, store: StoreName): Promise<number> {
  const db = await openDatabaseOf(node)
  return db.count(store).finally(() => db.close())
}
