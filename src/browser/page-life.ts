/**
 * What happens to the page of a node, told to it as it happens, since timers tell late or never (docs/design.md §8): hidden, frozen, kept in the
 * back/forward cache, online again; and how much room the browser leaves its site. The mesh listens by itself to what means 'dial again'.
 */
import type { StorageEstimate } from '../core/pressure.js'

export interface PageLife {
  /** Nobody looks at it: its timers are about to be slow. */
  hidden(isHidden: boolean): void
  /** It stops now, perhaps for good; the last moment for a word to the others. */
  frozen(): void
  /** It is unloaded, or goes into the back/forward cache. */
  left(intoCache: boolean): void
  /** It is back from there. */
  cameBack(): unknown
  /** The browser thinks otherwise of the network. */
  networkChanged(): void
  room(estimate: StorageEstimate): void
  /** Whether there is something to keep already. */
  hasData(): boolean
}

const ROOM_EVERY_MS = 10_000

/** @returns a function that ends it. */
export function watchPage(life: PageLife): () => void {
  const hidden = () => life.hidden(document.visibilityState === 'hidden')
  const listeners: [target: EventTarget, type: string, listener: (event: Event) => void][] = [
    [globalThis, 'pagehide', (event) => life.left((event as PageTransitionEvent).persisted)],
    [globalThis, 'pageshow', (event) => (event as PageTransitionEvent).persisted && life.cameBack()],
    [globalThis, 'online', () => life.networkChanged()],
    [globalThis, 'offline', () => life.networkChanged()],
    [document, 'visibilitychange', hidden],
    [document, 'freeze', () => life.frozen()],
  ]
  for (const [target, type, listener] of listeners) target.addEventListener(type, listener)
  hidden()

  let asked = false
  const measure = async () => {
    const { storage } = navigator
    // Asked for once there is something to keep, and never waited for: the user may have to answer.
    if (!asked && life.hasData()) {
      asked = true
      void storage.persist?.().catch(() => {})
    }
    const { usage, quota } = await storage.estimate()
    if (usage !== undefined && quota !== undefined) life.room({ usage, quota })
  }
  const look = () => void measure().catch(() => {})
  look()
  const timer = setInterval(look, ROOM_EVERY_MS)

  return () => {
    clearInterval(timer)
    for (const [target, type, listener] of listeners) target.removeEventListener(type, listener)
  }
}
