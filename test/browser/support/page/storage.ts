/** Storage on IndexedDB, driven inside a page: the conformance cases, and what only a real database can do. */
import { deleteDB, openDB } from 'idb'
import { openIndexedDbStorage } from '../../../../src/browser/storage/indexeddb-storage.js'
import { type Address, type Storage, StorageFailure } from '../../../../src/core/environment.js'
import type { Partition, StoreKey } from '../../../../src/core/ids.js'
import { storageCases } from '../../../conformance/storage.js'

/** Six megabytes that no compression makes smaller. */
const RECORDS = 60
const RECORD_BYTES = 100_000
let name = ''
let storage: Storage

function open(onUpgraded = () => {}): Storage {
  return openIndexedDbStorage(name, { onUpgraded, onDamaged: (failure) => console.error(failure) })
}

function fresh(): void {
  name = `storage-test-${crypto.randomUUID()}`
}

const address = (key: string): Address => ({ key: key as StoreKey, partition: 1 as Partition, leaf: 3 })
const text = (bytes: Uint8Array | undefined) => bytes && new TextDecoder().decode(bytes)

function commit(to: Storage, key: string, value: string) {
  const container = new TextEncoder().encode(value)
  return to.commit(
    {
      records: [
        { address: address(key), apply: () => ({ container, digest: { high: 5, low: key.length }, live: true }) },
      ],
    },
    'strict',
  )
}

export async function runStorageCase(wanted: string): Promise<void> {
  fresh()
  const opened: Storage[] = []
  await storageCases
    .find((one) => one.name === wanted)
    ?.run(async () => {
      const next = open()
      opened.push(next)
      await next.load()
      return next
    })
  for (const one of opened) await one.close()
  await deleteDB(name)
}

/** Closes the connection that the storage holds, as a browser under pressure does, and goes on. */
export async function reopensLostConnection(): Promise<(string | undefined)[]> {
  fresh()
  const connections: IDBDatabase[] = []
  const { transaction } = IDBDatabase.prototype
  IDBDatabase.prototype.transaction = function (...parameters) {
    connections.push(this)
    return transaction.apply(this, parameters)
  }
  try {
    storage = open()
    await commit(storage, 'k', 'before')
    const before = text((await storage.get([address('k')]))[0])
    connections.at(-1)?.close()
    await commit(storage, 'k', 'after')
    connections.at(-1)?.close()
    return [before, text((await storage.get([address('k')]))[0])]
  } finally {
    IDBDatabase.prototype.transaction = transaction
  }
}

/** Every reading of the disk, while the browser ends each transaction once, as it does when site data are cleared. @returns what was read. */
export async function readsThroughAborts(): Promise<unknown[]> {
  fresh()
  await commit(open(), 'k', 'v')
  storage = open()
  const { transaction } = IDBDatabase.prototype
  const range = { from: '', to: '\uffff', limit: 10, reverse: false }
  const reads = [
    () => storage.load().then(({ leafGroups }) => leafGroups.length),
    () => storage.get([address('k')]).then(([found]) => text(found)),
    () => storage.getHints(['k' as StoreKey]),
    () => storage.getCopies(['k']),
    () => storage.scanPartition(1 as Partition, { maxBytes: 1000 }).then(({ records }) => records.length),
    () => storage.scanKeys(range),
    () => storage.scanKeys({ ...range, reverse: true }),
  ]
  const found: unknown[] = []
  try {
    for (const read of reads) {
      let aborted = false
      IDBDatabase.prototype.transaction = function (...parameters) {
        const tx = transaction.apply(this, parameters)
        if (!aborted) queueMicrotask(() => tx.abort())
        aborted = true
        return tx
      }
      found.push(await read(), aborted)
    }
  } finally {
    IDBDatabase.prototype.transaction = transaction
  }
  return found
}

export async function beginQuotaTest(): Promise<void> {
  fresh()
  storage = open()
  await storage.load()
  await commit(storage, 'small', 'x')
}

export async function writeALot(): Promise<string> {
  try {
    for (let i = 0; i < RECORDS; i++) {
      const container = new Uint8Array(RECORD_BYTES)
      for (let at = 0; at < RECORD_BYTES; at += 50_000) crypto.getRandomValues(container.subarray(at, at + 50_000))
      const apply = () => ({ container, digest: { high: i, low: i }, live: true })
      await storage.commit({ records: [{ address: address(`large ${i}`), apply }] }, 'relaxed')
    }
    return 'written'
  } catch (error) {
    return error instanceof StorageFailure ? error.kind : String(error)
  }
}

/** One batch that does not fit between two that do, all in one transaction; what became of them, and what is there. */
export async function fullBetweenSmall(): Promise<{ ends: string[]; found: (string | undefined)[]; isTrue: boolean }> {
  await commit(storage, 'old', 'x')
  const container = new Uint8Array(RECORDS * RECORD_BYTES)
  for (let at = 0; at < container.length; at += 50_000) crypto.getRandomValues(container.subarray(at, at + 50_000))
  const large = () => ({ container, digest: { high: 1, low: 1 }, live: true })
  const commits = [
    commit(storage, 'before', 'y'),
    storage.commit({ records: [{ address: address('large'), apply: large }] }, 'relaxed'),
    commit(storage, 'after', 'z'),
    storage.commit({ records: [{ address: address('old'), apply: () => 'remove' }] }, 'relaxed'),
  ]
  const ends = await Promise.all(
    commits.map((done) =>
      done.then(
        () => 'written',
        (error) => (error instanceof StorageFailure ? error.kind : String(error)),
      ),
    ),
  )
  const found = await storage.get(['before', 'large', 'after', 'old'].map(address))
  return { ends, found: found.map(text), isTrue: await leavesAreTrue() }
}

/** How many records were written in each transaction of 50 batches of ten, all committed in one turn; and what each found of a key that all of them write. */
export async function manyBatches(): Promise<{ perTransaction: number[]; found: (string | undefined)[] }> {
  const { put } = IDBObjectStore.prototype
  const records = new Map<IDBTransaction, number>()
  IDBObjectStore.prototype.put = function (...parameters) {
    if (this.name === 'records') records.set(this.transaction, (records.get(this.transaction) ?? 0) + 1)
    return put.apply(this, parameters)
  }
  const found: (string | undefined)[] = []
  const write = (batch: number, i: number) => ({
    address: address(i === 0 ? 'common' : `${batch}/${i}`),
    apply: (current: Uint8Array | undefined) => {
      if (i === 0) found[batch] = text(current)
      return { container: new TextEncoder().encode(`${batch}`), digest: { high: batch + 1, low: i }, live: true }
    },
  })
  const batches = Array.from({ length: 50 }, (_, batch) => Array.from({ length: 10 }, (_, i) => write(batch, i)))
  await Promise.all(batches.map((all) => storage.commit({ records: all }, 'relaxed')))
  Object.assign(IDBObjectStore.prototype, { put })
  return { perTransaction: [...records.values()], found }
}

/** What the storage believes of its leaves is what a fresh look at the disk gives. */
export async function leavesAreTrue(): Promise<boolean> {
  const [told] = await commit(storage, 'small', 'y')
  await storage.close()
  const { leafGroups } = await open().load()
  return JSON.stringify([told]) === JSON.stringify(leafGroups)
}

/** What is told, and what is there: before, and after the database was deleted from outside and once more written to. */
export async function deletedFromOutside(): Promise<{ told: string[]; found: (string | undefined)[] }> {
  fresh()
  const told: string[] = []
  storage = open()
  storage.onEmptied(() => told.push('emptied'))
  await commit(storage, 'k', 'v')
  const found = [text((await storage.get([address('k')]))[0])]
  await deleteDB(name)
  // What is in memory needs no disk; this does.
  await storage.getHints([])
  found.push(text((await storage.get([address('k')]))[0]))
  told.push('answered')
  await commit(storage, 'k', 'new')
  found.push(text((await storage.get([address('k')]))[0]))
  const { leafGroups } = await storage.load()
  found.push(`${leafGroups.reduce((sum, { records }) => sum + records, 0)} record`)
  await storage.destroy()
  return { told, found }
}

/** As above, but the first look at what is there now fails. @returns also what its reads said in turn, and whether it can be deleted afterwards. */
export async function deletedAndUnreadable(): Promise<{ told: string[]; reads: string[]; isDeleted: boolean }> {
  fresh()
  const told: string[] = []
  const reads: string[] = []
  storage = open()
  storage.onEmptied(() => told.push('emptied'))
  await commit(storage, 'k', 'v')
  const { getAll } = IDBObjectStore.prototype
  IDBObjectStore.prototype.getAll = function (...parameters) {
    if (this.name !== 'journal') return getAll.apply(this, parameters)
    IDBObjectStore.prototype.getAll = getAll
    throw new DOMException('the disk cannot be read just now', 'UnknownError')
  }
  try {
    await deleteDB(name)
    while (reads.at(-1) !== 'read' && reads.length < 3)
      reads.push(
        await storage.getHints([]).then(
          () => 'read',
          (error: StorageFailure) => error.kind,
        ),
      )
  } finally {
    IDBObjectStore.prototype.getAll = getAll
  }
  const isDeleted = await Promise.race([
    storage.destroy().then(() => true),
    new Promise<boolean>((resolve) => setTimeout(resolve, 5000, false)),
  ])
  return { told, reads, isDeleted }
}

/** A page of a newer version opens the database. @returns whether this one was told, and what its reads say then. */
export async function upgradedFromOutside(): Promise<{ told: boolean; after: string; opening: string }> {
  fresh()
  let told = false
  storage = open(() => {
    told = true
  })
  await commit(storage, 'k', 'v')
  const newer = await openDB(name, 99)
  const kindOf = (work: Promise<unknown>) =>
    work.then(
      () => 'answered',
      (error: StorageFailure) => error.kind,
    )
  const after = await kindOf(storage.get([address('k')]))
  const opening = await kindOf(open().load())
  newer.close()
  await deleteDB(name)
  return { told, after, opening }
}

/** A database as the first version made it, with one record, opened by this one. */
export async function migratesFirstVersion(): Promise<{ records: number; copies: string[]; version: number }> {
  fresh()
  const old = await openDB(name, 1, {
    upgrade(db) {
      db.createObjectStore('records').createIndex('live', 'k')
      for (const store of ['hints', 'leaves', 'journal', 'meta']) db.createObjectStore(store)
    },
  })
  old.close()
  storage = open()
  await storage.load()
  await commit(storage, 'k', 'v')
  await storage.commit({ copies: [['name', new Uint8Array(1)]] }, 'relaxed')
  const { leafGroups, copies } = await storage.load()
  await storage.close()
  const db = await openDB(name)
  const { version } = db
  db.close()
  await deleteDB(name)
  return { records: leafGroups.reduce((sum, { records }) => sum + records, 0), copies, version }
}

/** Bit rot in the leaves: a journal row that no transaction wrote. @returns digests of the group before, damaged, recounted, and reopened. */
export async function recountsDamagedLeaves(): Promise<number[][]> {
  fresh()
  const digests = async (from: Storage) => {
    const { leafGroups } = await from.load()
    return leafGroups.flatMap((group) => [...group.digests.slice(6, 8), group.records, group.live, group.bytes])
  }
  storage = open()
  await storage.load()
  await commit(storage, 'a', 'value')
  await commit(storage, 'bc', 'another value')
  const before = await digests(storage)
  await storage.close()
  const db = await openDB(name)
  await db.put('journal', new Float64Array([1, 3, 77, 5, 1, 0, 9]), 1000)
  db.close()
  storage = open()
  const damaged = await digests(storage)
  const [group] = await storage.commit({ recount: [1 as Partition] }, 'relaxed')
  const recounted = group ? [...group.digests.slice(6, 8), group.records, group.live, group.bytes] : []
  await commit(storage, 'a', 'value')
  await storage.close()
  storage = open()
  const reopened = await digests(storage)
  await storage.destroy()
  return [before, damaged, recounted, reopened]
}

/** Leaves that do not know of a record, and a recount in one transaction with a write of that. @returns what the write found. */
export async function recountsBesideWrite(): Promise<string | undefined> {
  fresh()
  storage = open()
  await commit(storage, 'k', 'value')
  await storage.close()
  const db = await openDB(name)
  await db.clear('journal')
  db.close()
  storage = open()
  await storage.load()
  let found: string | undefined
  const apply = (current: Uint8Array | undefined) => {
    found = text(current)
    return 'keep' as const
  }
  await Promise.all([
    storage.commit({ recount: [1 as Partition] }, 'relaxed'),
    storage.commit({ records: [{ address: address('k'), apply }] }, 'relaxed'),
  ])
  await storage.destroy()
  return found
}

/** A record that somebody made larger, and that then became small again: the bytes of its partition are fewer than none. @returns what a scan finds. */
export async function scansBelowNoBytes(): Promise<(string | undefined)[]> {
  fresh()
  storage = open()
  await commit(storage, 'k', 'v')
  await storage.close()
  const db = await openDB(name)
  for (const key of await db.getAllKeys('records'))
    await db.put('records', { ...(await db.get('records', key)), c: new Uint8Array(1000) }, key)
  db.close()
  storage = open()
  await storage.load()
  const [group] = await commit(storage, 'k', 'w')
  if (!group || group.bytes >= 0) throw new Error(`its bytes are ${group?.bytes}`)
  const { records } = await storage.scanPartition(1 as Partition, { maxBytes: 1_000_000 })
  await storage.destroy()
  return records.map(({ container }) => text(container))
}

/** A write of a hint that throws behind those of a record and its leaf, as where there is no memory for a copy. @returns what became of it, and what is there. */
export async function throwsInTheMidst(): Promise<{ end: string; found: string | undefined; isTrue: boolean }> {
  fresh()
  storage = open()
  await storage.load()
  await commit(storage, 'small', 'x')
  const { put } = IDBObjectStore.prototype
  IDBObjectStore.prototype.put = function (...parameters) {
    if (this.name === 'hints') throw new DOMException('Data cannot be cloned, out of memory.', 'DataCloneError')
    return put.apply(this, parameters)
  }
  const container = new TextEncoder().encode('v')
  const records = [{ address: address('k'), apply: () => ({ container, digest: { high: 1, low: 2 }, live: true }) }]
  const hints = [{ key: 'k' as StoreKey, apply: () => ({ homes: [], own: true, container }) }]
  let end = 'written'
  try {
    await storage.commit({ records, hints }, 'strict')
  } catch (error) {
    end = error instanceof StorageFailure ? error.kind : String(error)
  } finally {
    IDBObjectStore.prototype.put = put
  }
  const found = text((await storage.get([address('k')]))[0])
  return { end, found, isTrue: await leavesAreTrue() }
}

/** Damaged leaves that cannot be made anew, since a write of them throws the first time. @returns how many records the leaves tell of at each opening. */
export async function throwsWhileMakingLeavesAnew(): Promise<(number | string)[]> {
  fresh()
  storage = open()
  await commit(storage, 'k', 'v')
  await storage.close()
  const db = await openDB(name)
  await db.put('journal', 'damaged', 1000)
  db.close()
  const told: (number | string)[] = []
  const { put } = IDBObjectStore.prototype
  IDBObjectStore.prototype.put = function (...parameters) {
    if (this.name !== 'leaves') return put.apply(this, parameters)
    IDBObjectStore.prototype.put = put
    throw new DOMException('Data cannot be cloned, out of memory.', 'DataCloneError')
  }
  try {
    for (let i = 0; i < 2; i++) {
      storage = open()
      told.push(
        await storage.load().then(
          ({ leafGroups }) => leafGroups.reduce((sum, { records }) => sum + records, 0),
          (error: StorageFailure) => error.kind,
        ),
      )
      await storage.close()
    }
  } finally {
    IDBObjectStore.prototype.put = put
  }
  await deleteDB(name)
  return told
}

/**
 * Fills the disk to the last byte, and opens a storage whose leaves, or hints, are damaged, as large as those of a large store; writes, makes room and opens it
 * again. @returns how many records the leaves tell of at each opening, and whether they are true.
 */
export async function mendsOnFullDisk(what: 'leaves' | 'hints'): Promise<unknown[]> {
  const container = new Uint8Array(1)
  const digest = { high: 1, low: 1 }
  const apply = () => ({ container, digest, live: true })
  const addresses = Array.from({ length: 300 }, (_, i) => ({ ...address(`of ${i}`), partition: (i + 2) as Partition }))
  await storage.commit({ records: addresses.map((one) => ({ address: one, apply })) }, 'strict')
  await storage.close()
  const db = await openDB(name)
  if (what === 'leaves') await db.put('journal', 'damaged', 1000)
  else await db.put('hints', 'damaged', 'k')
  let fillers = 0
  for (let bytes = 1_000_000; bytes > 100; ) {
    const filler = new Uint8Array(bytes)
    for (let at = 0; at < bytes; at += 50_000) crypto.getRandomValues(filler.subarray(at, at + 50_000))
    await db.put('meta', filler, `filler ${fillers}`).then(
      () => fillers++,
      () => {
        bytes /= 2
      },
    )
  }
  const { put } = IDBObjectStore.prototype
  IDBObjectStore.prototype.put = function (row, ...parameters) {
    const padding = this.name === 'leaves' && crypto.getRandomValues(new Uint8Array(40_000))
    return put.call(this, padding ? { ...row, padding } : row, ...parameters)
  }
  const load = async () => {
    storage = openIndexedDbStorage(name, { onUpgraded() {}, onDamaged: () => told.push('damaged') })
    const { leafGroups } = await storage.load()
    told.push(leafGroups.reduce((sum, { records }) => sum + records, 0))
  }
  const told: unknown[] = []
  try {
    await load()
    for (let i = 0; i < fillers; i++) await db.delete('meta', `filler ${i}`)
    db.close()
    await storage.commit({ records: addresses.map((one) => ({ address: one, apply: () => 'remove' })) }, 'strict')
    await storage.close()
    await load()
  } catch (error) {
    told.push(error instanceof StorageFailure ? error.kind : String(error))
  } finally {
    IDBObjectStore.prototype.put = put
    db.close()
  }
  told.push(await leavesAreTrue())
  await storage.destroy()
  return told
}
