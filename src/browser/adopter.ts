/**
 * Watches the slots of this profile that no tab has open, and has those that stay so taken over, one after the other (docs/design.md §8): nothing is stranded
 * in a closed tab while another one lives. A page that reloads, or a browser that is opened again, claims its slots long before.
 */
import type { NodeId } from '../core/ids.js'
import type { Orphan } from '../core/requests/adoption.js'
import type { AbandonedSlot, Slot } from './slots.js'
import { toFailure } from './storage/database.js'
import { openIndexedDbStorage } from './storage/indexeddb-storage.js'

/** At most; it costs a look at the locks and at the registry. */
const LOOK_EVERY_MS = 5000
/** How long a store that closes waits for a deletion that has begun. */
const DELETED_WITHIN_MS = 1000

export interface AdopterOptions {
  slot: Slot
  /** How long a slot must have been free, in milliseconds. */
  afterMs: number
  adopt(orphan: Orphan): Promise<void>
  onError(error: unknown): void
}

/** @returns a function that ends it, and resolves when no other slot is held any more. */
export function watchAbandonedSlots({ slot, afterMs, adopt, onError }: AdopterOptions): () => Promise<void> {
  const freeSince = new Map<NodeId, number>()
  let stopped = false
  let giveUp = (_isDeleted: false) => {}
  const whenImpatient = new Promise<false>((resolve) => {
    giveUp = resolve
  })
  let running: Promise<void> = Promise.resolve()
  const interval = Math.min(afterMs / 4, LOOK_EVERY_MS)
  let timer = setTimeout(look, interval)

  function longestFree(free: NodeId[]): NodeId | undefined {
    const now = performance.now()
    for (const node of [...freeSince.keys()]) if (!free.includes(node)) freeSince.delete(node)
    for (const node of free) if (!freeSince.has(node)) freeSince.set(node, now)
    return free.find((node) => now - (freeSince.get(node) ?? now) >= afterMs)
  }

  function look(): void {
    running = takeOver()
      .catch(onError)
      .then(() => {
        if (!stopped) timer = setTimeout(look, interval)
      })
  }

  async function takeOver(): Promise<void> {
    for (;;) {
      const abandoned = stopped ? undefined : await slot.claimAbandoned(longestFree)
      if (!abandoned) return
      // If it fails, it is tried again after as long a time.
      freeSince.delete(abandoned.node)
      await drain(abandoned)
    }
  }

  async function drain(abandoned: AbandonedSlot): Promise<void> {
    const storage = openIndexedDbStorage(abandoned.databaseName, { onUpgraded() {}, onDamaged: onError })
    try {
      await adopt({ node: abandoned.node, storage })
      abandoned.emptied()
      // A frozen tab, say, with a connection to it is in the way for as long as it stands still. Who closes does not wait for that.
      const isDeleted = await Promise.race([storage.destroy().then(() => true), whenImpatient])
      // What is left is an empty disk: somebody else's turn.
      if (isDeleted) await abandoned.forget()
      else abandoned.release()
    } catch (error) {
      await storage.close()
      abandoned.release()
      if (!stopped) throw toFailure(error)
    }
  }

  return () => {
    stopped = true
    setTimeout(giveUp, DELETED_WITHIN_MS, false)
    clearTimeout(timer)
    return running
  }
}
