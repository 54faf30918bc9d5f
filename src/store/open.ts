/** `openStore`: claims an identity, opens its disk, starts the node and lets the network come when it comes. The one place where the store meets the browser. */

import { watchAbandonedSlots } from '../browser/adopter.js'
import { openAttic } from '../browser/attic.js'
import { Links } from '../browser/links.js'
import { type Mesh, createMesh } from '../browser/mesh/mesh.js'
import { watchPage } from '../browser/page-life.js'
import { browserClock, browserRandom } from '../browser/platform.js'
import { createSignalingClient } from '../browser/signaling-client.js'
import { type Slot, claimSlot } from '../browser/slots.js'
import { type StorageEvents, openIndexedDbStorage } from '../browser/storage/indexeddb-storage.js'
import { type Storage, StorageFailure } from '../core/environment.js'
import type { ReplicationFactor } from '../core/ids.js'
import { Node } from '../core/node.js'
import { ConnectionError } from './errors.js'
import { Lifetime } from './lifetime.js'
import { type OpenOptions, type Settings, describeConfig, readOptions } from './options.js'
import { publicError } from './storage-errors.js'
import { Store } from './store.js'

const NOTE_SIZE_EVERY_MS = 10_000
/** A server may give ever new reasons. */
const MAX_WARNED = 20

/** The switchable links of each store, for `tabring/testing`. */
export const linksOf = new WeakMap<Store, Links>()

/** Stores of this page that are closing, and openings of it that were given up, by room. */
const closing = new Map<string, Set<Promise<unknown>>>()

function noteClosing(room: string, done: Promise<unknown>): void {
  const ofRoom = closing.get(room) ?? new Set()
  closing.set(room, ofRoom.add(done))
  const ended = () => ofRoom.delete(done)
  done.then(ended, ended)
}

/**
 * Opens a node of a room in this tab. Resolves as soon as its own disk is open; it never waits for the network. Where another connection
 * holds the disk, or a store of the room is closing in this page, it waits for that, and gives up with the reason of the signal.
 * @throws OptionError and other errors of bad options, StorageError when the disk cannot be opened or the platform lacks something
 */
export async function openStore(options: OpenOptions): Promise<Store> {
  const settings = readOptions(options)
  const { signal } = options
  signal?.throwIfAborted()
  const opening = open(settings, signal)
  const opened = new Lifetime().whileOpen(opening, signal)
  const forget = () => signal?.removeEventListener('abort', givenUp)
  // Opening a database cannot be taken back: what opens later is closed. Nobody is left to hear of failures.
  const over = opened.then(forget, () => opening.then((store) => store.close()).finally(forget)).catch(() => {})
  const givenUp = () => noteClosing(settings.room, over)
  signal?.addEventListener('abort', givenUp)
  return opened
}

async function open(settings: Settings, signal: AbortSignal | undefined): Promise<Store> {
  // Its slot is free then: the next store is the same node, and not another one beside it.
  await Promise.allSettled(closing.get(settings.room) ?? [])
  const slot = await claimSlot(settings.room, browserRandom, signal)
  const damage: StorageFailure[] = []
  const told: StorageEvents = { onUpgraded() {}, onDamaged: (failure) => void damage.push(failure) }
  const storage = openIndexedDbStorage(slot.databaseName, told)
  try {
    signal?.throwIfAborted()
    const store = await startStore(settings, slot, storage, told)
    // In the next turn: nobody listens to the store yet.
    setTimeout(() => damage.forEach(told.onDamaged))
    return store
  } catch (error) {
    await storage.close()
    slot.release()
    throw error
  }
}

async function startStore(settings: Settings, slot: Slot, storage: Storage, told: StorageEvents): Promise<Store> {
  const { node: self } = slot
  let mesh: Mesh | undefined
  const warned = new Set<string>()
  // Each once: what keeps a tab alone does so at every attempt. And in a later turn: nobody listens to the store yet.
  const onWarning = (message: string) => {
    if (warned.has(message) || warned.size >= MAX_WARNED) return
    warned.add(message)
    setTimeout(() => node.events.emit('error', new ConnectionError(message)))
  }
  const links = new Links(() => {
    mesh = createMesh({
      self,
      signaling: createSignalingClient({ urls: settings.signaling, room: settings.room, self, onWarning }),
      iceServers: settings.iceServers,
      maxPeers: settings.maxPeers,
      onWarning,
    })
    return mesh
  })
  const attic = openAttic(slot)
  const replication = new Set<ReplicationFactor>([
    settings.defaults.n,
    ...[...settings.buckets.values()].map((bucket) => bucket.n),
  ])
  const node = await Node.start(
    {
      node: self,
      device: slot.device,
      name: settings.name,
      capacity: settings.capacity,
      config: describeConfig(settings),
      replication: [...replication],
      tuning: settings.tuning,
    },
    { clock: browserClock, random: browserRandom, storage, transport: links, attic },
  )
  // Fuller slots are claimed first: the data of a reopened browser comes back first.
  const noting = setInterval(() => void slot.note(node.replica.forest.bytes).catch(() => {}), NOTE_SIZE_EVERY_MS)
  const endAdopting = watchAbandonedSlots({
    slot,
    afterMs: settings.tuning.adoptAfterMs,
    adopt: (orphan) => node.adopt(orphan),
    onError: (error) => node.report(error),
  })
  let wasConnected = false
  let takenOver: StorageFailure | undefined
  const endWatching = watchPage({
    hidden: (isHidden) => node.peers.setHidden(isHidden),
    frozen() {
      node.peers.suspend()
      // As long as it stands still, it would answer nobody who wants to delete what is open there.
      attic.close()
    },
    left(intoCache) {
      wasConnected = links.connected
      links.disconnect(intoCache)
    },
    cameBack: () => wasConnected && links.connect(),
    networkChanged: () => node.events.emit('status', undefined),
    room: (estimate) => node.replica.pressure.note(estimate),
    hasData: () => node.replica.forest.records > 0 || node.replica.hints.pending > 0,
  })
  const end = async () => {
    clearInterval(noting)
    endWatching()
    attic.close()
    await endAdopting()
  }
  const store = new Store(node, settings, {
    connect() {
      if (takenOver) throw publicError(takenOver)
      links.connect()
    },
    disconnect: () => links.disconnect(),
    isConnected: () => links.connected && navigator.onLine,
    presence: () => mesh?.presence() ?? new Map(),
    wallTime: () => browserClock.wallTime(),
    ending: (done) => noteClosing(settings.room, done),
    async close() {
      await end()
      await slot.note(node.replica.forest.bytes).catch(() => {})
      await storage.close()
      slot.release()
    },
    async forget() {
      await end()
      await storage.destroy()
      await slot.forget()
    },
  })
  linksOf.set(store, links)
  // With the data of this node, the registry may be gone that says whose they are.
  node.events.on('reborn', () => void slot.note(0).catch((error) => node.events.emit('error', error)))
  told.onDamaged = (failure) => node.events.emit('error', failure)
  told.onUpgraded = () => {
    // Without a disk it can promise nothing: the others take over, and the application is told.
    links.disconnect()
    takenOver = new StorageFailure('blocked', 'a newer version of this page has taken it over; reload')
    node.events.emit('error', takenOver)
  }
  return store
}
