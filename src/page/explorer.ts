/** The page's main part: the keys of the room, where a selected one lives, and the ring. */
import type { Entry, Store } from '../index.js'
import type { Directory } from './directory.js'
import { find, gathered } from './elements.js'
import { wireForm } from './form.js'
import { Keys } from './keys.js'
import type { Log } from './log.js'
import { Ring } from './ring.js'
import { TraceView } from './trace.js'

/** While some partitions could not be reached, they are asked again this often. */
const SURVEY_AGAIN_MS = 5000

/** Starts it. @returns what shows the present state of the ring */
export function explore(store: Store, directory: Directory, log: Log): () => void {
  const report = (work: Promise<unknown>) => void work.catch((error) => log.error(error))
  const ring = new Ring(store, directory, find('ring', HTMLElement), find('ring-caption', HTMLElement))
  let selected: string | undefined
  const select = (key: string | undefined) => {
    selected = key
    keys.select(key)
    trace.select(key)
  }
  const trace = new TraceView(
    store,
    directory,
    log,
    find('trace', HTMLElement),
    (place) => ring.select(place),
    () => {
      keys.focus(selected)
      select(undefined)
    },
  )
  /** Entries that were acted on. Pressed once more, a button would put another version beside the one it has put. */
  const settled = new WeakSet<Entry>()
  const settle = (entry: Entry, act: () => Promise<void>) => {
    if (settled.has(entry)) return
    settled.add(entry)
    act().catch((error) => {
      settled.delete(entry)
      log.error(error)
    })
  }
  const keys = new Keys(store, find('key-rows', HTMLElement), find('keys-note', HTMLElement), {
    select: (key) => select(key === selected ? undefined : key),
    keep: (entry: Entry, sibling: unknown) =>
      settle(entry, async () => log.receipt('put', await store.put(entry.key, sibling, { context: entry.context }))),
    delete: (entry: Entry) =>
      settle(entry, async () => log.receipt('delete', await store.delete(entry.key, { context: entry.context }))),
    changed: (key) => {
      if (key === selected) trace.refresh()
    },
  })
  wireForm(store, log, select)
  const surveySoon = gathered(1000, () => report(keys.survey()))
  store.addEventListener('member', surveySoon)
  setInterval(() => keys.isComplete || surveySoon(), SURVEY_AGAIN_MS)
  keys.follow()
  report(keys.survey())
  return () => {
    ring.render()
    trace.refresh()
  }
}
