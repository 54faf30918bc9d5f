/**
 * `watch`: the present state, then changes. Changes are digests of keys; the entry is read when the consumer asks for the next one, so a
 * slow consumer gets the latest state per key and never a queue of old ones.
 */
import type { StoreKey } from '../core/ids.js'
import { type Interest, isAbout } from '../core/requests/interests.js'
import { type Entry, expiryOf } from './entry.js'
import { StorageError, ValueError } from './errors.js'
import type { StoreInside } from './inside.js'
import { MAX_TIMER_MS, checkKey, checkKeyPart, readCall } from './options.js'

/** One key, or all keys with a prefix. */
export type WatchTarget = string | { prefix: string }

export interface WatchContext {
  interest: Interest
  inside: StoreInside
  /** What it gives is about to be shown; rejects when the store closes or the signal aborts. */
  read: (key: StoreKey, signal: AbortSignal) => Promise<Entry>
  scan: (signal: AbortSignal) => AsyncIterable<Entry> & { covered: boolean }
  storeKey: (key: string) => StoreKey
  /** Whether a failure of the own disk is told as an error event, and the watch goes on after a while. */
  outlivesFailure: boolean
}

/** After this long the watch looks again at what could not be read; twice as long after each time that is in vain. */
const LOOK_AGAIN_MS = 1000
const MAX_LOOK_AGAIN_MS = 300_000

/** @throws KeyError, OptionError */
export function readWatchTarget(target: WatchTarget): { key?: string; prefix: string } {
  if (typeof target === 'object' && target !== null) {
    readCall(target, ['prefix'])
    checkKeyPart('prefix', target.prefix)
    return { prefix: target.prefix }
  }
  checkKey(target)
  return { key: target, prefix: '' }
}

/** All keys with the prefix. */
const ALL = Symbol('all')

/** Why a watch ends that its reader does not read on. */
const RETURNED = Symbol('returned')

export function watch(context: WatchContext, signal: AbortSignal | undefined): AsyncGenerator<Entry, void, undefined> {
  const end = new AbortController()
  const entries = follow(context, signal, end)
  // By itself a generator queues both behind a `next` that waits, for a change that may never come.
  const { return: returned, throw: thrown } = entries
  return Object.assign(entries, {
    return() {
      end.abort(RETURNED)
      return returned.call(entries)
    },
    throw(error: unknown) {
      end.abort(RETURNED)
      return thrown.call(entries, error)
    },
  })
}

/** What is there cannot be read: by this application, or by anybody. */
function isUnreadable(error: unknown): boolean {
  return error instanceof ValueError || (error instanceof StorageError && error.reason === 'corrupt')
}

async function* follow(
  context: WatchContext,
  signal: AbortSignal | undefined,
  end: AbortController,
): AsyncGenerator<Entry, void, undefined> {
  const { interest, inside, read, scan, storeKey, outlivesFailure } = context
  const { lifetime } = inside
  const { interests, events } = inside.node
  /** Keys that may have changed since they were last yielded. */
  const pending = new Set<StoreKey>()
  /** What was last yielded, by its context and the versions that had not expired: equal ones are an equal state. */
  const yielded = new Map<StoreKey, string>()
  /** When the first of the versions that were yielded expires, by the wall clock: nobody tells of that. */
  const expiries = new Map<StoreKey, number>()
  /** What too few homes answered for, or the own disk failed to give: to be looked at again. */
  const doubtful = new Set<StoreKey | typeof ALL>()
  let lookAgainMs = LOOK_AGAIN_MS
  let rescan = interest.prefix !== undefined
  let wake: () => void = () => {}
  const add = (key: StoreKey) => {
    pending.add(key)
    wake()
  }
  const changed = ({ key }: { key: StoreKey }) => {
    if (isAbout(interest, key)) add(key)
  }
  if (interest.key !== undefined) pending.add(interest.key)
  const abort = () => end.abort(signal?.reason)
  if (signal?.aborted) abort()
  signal?.addEventListener('abort', abort)
  end.signal.addEventListener('abort', () => wake())
  const stops = [
    () => signal?.removeEventListener('abort', abort),
    lifetime.onEnd(() => wake()),
    interests.add(interest),
    interests.events.on('changed', changed),
    // A put of this tab was shown while it was under way, perhaps, and is nowhere.
    events.on('refused', changed),
    // A link was down for a while, or this tab stood still: what changed behind its back was not told.
    interests.events.on('missed', () => {
      if (interest.key !== undefined) add(interest.key)
      else rescan = true
      wake()
    }),
  ]

  const lookAgain = (what: StoreKey | typeof ALL) => {
    doubtful.add(what)
    if (doubtful.size > 1) return
    void inside.node.pause(lookAgainMs).then(() => {
      if (doubtful.delete(ALL)) rescan = true
      for (const key of doubtful as Set<StoreKey>) pending.add(key)
      doubtful.clear()
      wake()
    })
    lookAgainMs = Math.min(2 * lookAgainMs, MAX_LOOK_AGAIN_MS)
  }
  /** Somebody who is in reach did not answer, and may do so soon. Of who is not, the link will tell. */
  const doubt = (what: StoreKey | typeof ALL) => {
    if (inside.node.peers.reachable().length > 0) lookAgain(what)
  }
  /** Told once for all that fails until it is looked at again. */
  const outlive = (error: unknown, what: StoreKey | typeof ALL) => {
    if (!outlivesFailure || !(error instanceof StorageError)) throw error
    if (doubtful.size === 0) inside.onError(error)
    lookAgain(what)
  }

  function* fresh(entry: Entry): Generator<Entry> {
    const key = storeKey(entry.key)
    const state = `${entry.context} ${entry.siblings.length}`
    const expiresAt = expiryOf(entry)
    if (expiresAt === undefined) expiries.delete(key)
    else expiries.set(key, expiresAt)
    // A key that was never there is shown once, when it alone is watched; under a prefix only keys that are, or were, there.
    const isDeleted = interest.key === undefined && entry.siblings.length === 0
    if (yielded.get(key) === state || (isDeleted && !yielded.has(key))) return
    // Once its deletion is shown, a key is as one that was never there: nothing is kept of it, and it is not asked for again.
    if (isDeleted) yielded.delete(key)
    else yielded.set(key, state)
    yield entry
  }

  try {
    for (;;) {
      end.signal.throwIfAborted()
      lifetime.check()
      if (rescan) {
        rescan = false
        const unseen = new Set(yielded.keys())
        const scanned = scan(end.signal)
        try {
          for await (const entry of scanned) {
            unseen.delete(storeKey(entry.key))
            yield* fresh(entry)
          }
          if (!scanned.covered) doubt(ALL)
        } catch (error) {
          outlive(error, ALL)
          continue
        }
        // A scan shows no deleted keys: what it did not bring has to be asked for.
        for (const key of unseen) pending.add(key)
        continue
      }
      const [key] = pending
      if (key !== undefined) {
        pending.delete(key)
        const entry = await read(key, end.signal).catch((error) => {
          if (!isUnreadable(error)) return outlive(error, key)
          // It may be written anew, and others go on to change: the watch is not over.
          inside.onError(error)
        })
        // A home may have more than who stood in for it: that is no change of its disk, and nobody tells.
        if (entry && (!entry.quorum.met || entry.quorum.sloppy)) doubt(key)
        if (entry) yield* fresh(entry)
        continue
      }
      const now = inside.wallTime()
      let firstExpiry = Number.POSITIVE_INFINITY
      for (const [name, expiresAt] of expiries) {
        if (expiresAt > now) firstExpiry = Math.min(firstExpiry, expiresAt)
        else if (expiries.delete(name)) pending.add(name)
      }
      if (pending.size > 0) continue
      if (doubtful.size === 0) lookAgainMs = LOOK_AGAIN_MS
      let timer: ReturnType<typeof setTimeout> | undefined
      await new Promise<void>((resolve) => {
        wake = resolve
        if (firstExpiry < Number.POSITIVE_INFINITY)
          timer = setTimeout(resolve, Math.min(firstExpiry - now, MAX_TIMER_MS))
      })
      clearTimeout(timer)
    }
  } catch (error) {
    if (error !== RETURNED) throw error
  } finally {
    for (const stop of stops) stop()
  }
}
