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

/** What a store that is opened in a worker says, and which databases are there then. */
export async function openInWorker(room: string): Promise<{ told: string; databases: string[] }> {
  const worker = new Worker(new URL('worker.ts', import.meta.url), { type: 'module' })
  const answer = new Promise<{ told: string; databases: string[] }>((resolve) => {
    worker.onmessage = ({ data }) => resolve(data)
  })
  worker.postMessage(room)
  return answer.finally(() => worker.terminate())
}
