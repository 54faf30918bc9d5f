/**
 * Who this tab is. A browser profile keeps numbered slots per room, each with its own node id and database; a tab claims a free one under an
 * exclusive Web Lock and only makes a new one when all are taken. So reloading, closing and reopening, or duplicating a tab never
 * shares an identity and never strands one: the lock is released by the browser whatever becomes of the tab.
 */
import { type DBSchema, type IDBPDatabase, openDB } from 'idb'
import { type Random, StorageFailure } from '../core/environment.js'
import { type DeviceId, NODE_ID_LENGTH, type NodeId } from '../core/ids.js'
import { quiet, toFailure } from './storage/database.js'

interface SlotRow {
  room: string
  slot: number
  node: NodeId
  /** What its database held when it was last used, in bytes. */
  bytes: number
}

interface RegistrySchema extends DBSchema {
  /** By [room, slot]. */
  slots: { key: [string, number]; value: SlotRow }
  /** 'device': this profile's DeviceId. */
  profile: { key: string; value: string }
}

/** A slot whose tab is closed, under its lock: nobody else has its database open. */
export interface AbandonedSlot {
  node: NodeId
  databaseName: string
  /** All that was on that disk is on this tab's: nobody need look there any more. */
  emptied(): void
  /** Removes the identity for good. */
  forget(): Promise<void>
  /** Leaves it to the next tab. */
  release(): void
}

export interface Slot {
  node: NodeId
  device: DeviceId
  databaseName: string
  /** Remembers how much this slot holds: fuller slots are claimed first. And whose it is, if the registry was deleted, with the site's data perhaps. */
  note(bytes: number): Promise<void>
  /** Lets the next tab have it. */
  release(): void
  /** The databases of the slots of this room and profile that no tab has open, and of those that this one is just taking over. */
  freeDatabases(): Promise<string[]>
  /** Locks one of the slots of this room and profile that no tab has open: the one that `choose` picks, by its node. */
  claimAbandoned(choose: (free: NodeId[]) => NodeId | undefined): Promise<AbandonedSlot | undefined>
  /** Removes the identity for good. */
  forget(): Promise<void>
}

const REGISTRY = 'tabring'

/**
 * Claims a slot of this room for as long as the page lives. An opening that was given up tries for none: the next one, which may be under way
 * already, would find this tab's own taken.
 * @throws StorageFailure when the platform lacks something.
 */
export async function claimSlot(room: string, random: Random, signal?: AbortSignal): Promise<Slot> {
  if (typeof indexedDB === 'undefined')
    throw new StorageFailure('unavailable', 'IndexedDB is missing; private windows of some browsers have none')
  if (typeof navigator === 'undefined' || !navigator.locks) {
    throw new StorageFailure(
      'unavailable',
      // Undefined where the platform is no browser.
      globalThis.isSecureContext === false
        ? 'this page is no secure context, so Web Locks and WebCrypto are missing: open it over https or from localhost'
        : 'Web Locks are missing: open the page over https or from localhost, in a current browser',
    )
  }
  if (typeof document === 'undefined')
    throw new StorageFailure('unavailable', 'a worker has no page whose life a store could follow: open it in the page')
  return withRegistry(async (registry) => {
    const device = await deviceOf(registry, random)
    const known = await slotsOf(registry, room)
    const own = slotsOfThisTab(room)
    const rank = ({ slot }: SlotRow) => (own.includes(slot) ? own.indexOf(slot) : own.length)
    known.sort((a, b) => rank(a) - rank(b) || b.bytes - a.bytes || a.slot - b.slot)
    for (const row of known) {
      signal?.throwIfAborted()
      const release = await tryLock(lockName(room, row.slot))
      if (!release) {
        // What a duplicated tab was born with is the original's.
        if (!heldHere.has(lockName(room, row.slot)))
          noteSlots(
            room,
            slotsOfThisTab(room).filter((slot) => slot !== row.slot),
          )
        continue
      }
      // It may have been forgotten between the look at the registry and the lock.
      const still = await orRelease(release, () => slotIn(registry, room, row.slot))
      if (still) return slotOf(still, device, release)
      release()
    }
    for (let slot = known.reduce((next, row) => Math.max(next, row.slot + 1), 0); ; slot++) {
      signal?.throwIfAborted()
      const release = await tryLock(lockName(room, slot))
      if (!release) continue
      const row = await orRelease(release, async () => {
        // Another tab may have made, used and left this very slot since the list was read.
        const known = await slotIn(registry, room, slot)
        const own = known ?? { room, slot, node: random.id(NODE_ID_LENGTH) as NodeId, bytes: 0 }
        await registry.put('slots', own, [room, slot])
        return own
      })
      return slotOf(row, device, release)
    }
  })
}

function slotOf(row: SlotRow, device: DeviceId, release: () => void): Slot {
  const { room, slot, node } = row
  /** Under this tab's lock, and not empty yet. */
  const takenOver = new Set<string>()
  let isHeld = true
  const own = slotsOfThisTab(room)
  if (!own.includes(slot)) noteSlots(room, [...own, slot])
  return {
    node,
    device,
    databaseName: databaseName(row),
    note: (bytes) =>
      withRegistry(async (registry) => {
        const tx = quiet(registry.transaction(['slots', 'profile'], 'readwrite'))
        const slots = tx.objectStore('slots')
        const known = await slots.get([room, slot])
        // A note that comes late must not bring back an identity that was forgotten.
        if (known ? known.node === node : isHeld) await slots.put({ ...row, bytes }, [room, slot])
        if (!known && isHeld) await tx.objectStore('profile').put(device, 'device')
        await tx.done
      }),
    release() {
      isHeld = false
      release()
    },
    freeDatabases: async () => [...new Set([...(await freeSlots(room)).map(databaseName), ...takenOver])],
    async claimAbandoned(choose) {
      const free = await freeSlots(room)
      const chosen = choose(free.map((other) => other.node))
      const wanted = free.find((other) => other.node === chosen)
      if (!wanted) return undefined
      const name = databaseName(wanted)
      // Before it is locked: from then on it is not free any more, and who looks into the attic must not miss it.
      takenOver.add(name)
      const claimed = await claimAgain(wanted).catch((error) => {
        takenOver.delete(name)
        throw error
      })
      if (!claimed) {
        takenOver.delete(name)
        return undefined
      }
      return {
        ...claimed,
        emptied: () => void takenOver.delete(name),
        forget: () => claimed.forget().finally(() => takenOver.delete(name)),
        release() {
          takenOver.delete(name)
          claimed.release()
        },
      }
    },
    forget() {
      isHeld = false
      return forgetSlot(row, release)
    },
  }
}

async function freeSlots(room: string): Promise<SlotRow[]> {
  const rows = await withRegistry((registry) => slotsOf(registry, room))
  const locks = await navigator.locks.query().catch((error) => {
    if (error.name !== 'SecurityError') throw error
  })
  // To a page that another site embeds, Firefox lends locks but does not say who has them: there, a slot is free only for who claims it.
  if (!locks) return []
  const taken = new Set(locks.held?.map(({ name }) => name))
  return rows.filter(({ slot }) => !taken.has(lockName(room, slot)))
}

/** @returns undefined when somebody else has it now, or when it is gone. */
async function claimAgain(row: SlotRow): Promise<Omit<AbandonedSlot, 'emptied'> | undefined> {
  const release = await tryLock(lockName(row.room, row.slot))
  if (!release) return undefined
  const still = await orRelease(release, () => withRegistry((registry) => slotIn(registry, row.room, row.slot)))
  if (still?.node === row.node)
    return { node: row.node, databaseName: databaseName(row), release, forget: () => forgetSlot(row, release) }
  release()
  return undefined
}

async function forgetSlot({ room, slot }: SlotRow, release: () => void): Promise<void> {
  await withRegistry((registry) => registry.delete('slots', [room, slot])).finally(release)
}

function slotsOf(registry: IDBPDatabase<RegistrySchema>, room: string): Promise<SlotRow[]> {
  return quiet(registry.transaction('slots')).store.getAll(IDBKeyRange.bound([room], [room, []]))
}

function slotIn(registry: IDBPDatabase<RegistrySchema>, room: string, slot: number): Promise<SlotRow | undefined> {
  return quiet(registry.transaction('slots')).store.get([room, slot])
}

function databaseName({ room, node }: SlotRow): string {
  return `tabring/${encodeURIComponent(room)}/${node}`
}

/** @throws StorageFailure */
async function withRegistry<T>(work: (registry: IDBPDatabase<RegistrySchema>) => Promise<T>): Promise<T> {
  try {
    const registry = await openRegistry()
    return await work(registry).finally(() => registry.close())
  } catch (error) {
    throw toFailure(error)
  }
}

function openRegistry(): Promise<IDBPDatabase<RegistrySchema>> {
  return openDB<RegistrySchema>(REGISTRY, 1, {
    upgrade(db, _from, _to, tx) {
      quiet(tx)
      db.createObjectStore('slots')
      db.createObjectStore('profile')
    },
    // It is open for moments only, and never in the way of a newer version or of a deletion.
    blocking: (_current, _blocked, event) => (event.target as IDBDatabase).close(),
  })
}

/** The first tab of a profile names it; two at once agree through the transaction. */
async function deviceOf(registry: IDBPDatabase<RegistrySchema>, random: Random): Promise<DeviceId> {
  const tx = quiet(registry.transaction('profile', 'readwrite'))
  const known = await tx.store.get('device')
  const device = known ?? random.id(NODE_ID_LENGTH)
  if (!known) await tx.store.put(device, 'device')
  await tx.done
  return device as DeviceId
}

function lockName(room: string, slot: number): string {
  return `tabring/${room}/${slot}`
}

/** The locks that this page has, for one store or another. */
const heldHere = new Set<string>()

/** @returns a function that gives the lock back, or undefined when somebody else has it. */
function tryLock(name: string): Promise<(() => void) | undefined> {
  return new Promise((resolve, reject) => {
    navigator.locks
      .request(name, { ifAvailable: true }, (lock) => {
        if (!lock) {
          resolve(undefined)
          return undefined
        }
        heldHere.add(name)
        return new Promise<void>((release) => resolve(release)).finally(() => heldHere.delete(name))
      })
      .catch(reject)
  })
}

/** A lock that nobody hears of is held as long as the page lives, and strands what is in its slot: a failure gives it back. */
async function orRelease<T>(release: () => void, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    release()
    throw error
  }
}

/**
 * A reload claims its old slots in the order in which it claimed them before: the first store that it opens is the first again. Only a preference,
 * the lock decides (a duplicated tab has the same note).
 */
function slotsOfThisTab(room: string): number[] {
  try {
    const noted = sessionStorage.getItem(noteName(room))
    return noted ? noted.split(',').map(Number) : []
  } catch {
    // Some embeddings forbid sessionStorage; then any free slot will do.
    return []
  }
}

function noteSlots(room: string, slots: number[]): void {
  try {
    sessionStorage.setItem(noteName(room), slots.join())
  } catch {
    // As above.
  }
}

/** The frames of a tab share its sessionStorage. Each has a note of its own, by its place in the page: what another one holds is not its own. */
function noteName(room: string): string {
  // As no slot is numbered: locks have names like these.
  const path: number[] = [-1]
  for (let frame: Window = window; frame !== frame.parent; frame = frame.parent) {
    const { parent } = frame
    path.push(Array.from({ length: parent.length }, (_, i) => parent[i]).indexOf(frame))
  }
  return `tabring/${room}/${path.join('.')}`
}
