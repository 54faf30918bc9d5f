/** Containers as applications see them: entries with decoded values, and the tokens that stand for causal contexts. */
import { type StoreKey, parseStoreKey } from '../core/ids.js'
import { invariant } from '../core/invariant.js'
import { type Container, isLiveSibling } from '../core/versions/container.js'
import type { CausalContext } from '../core/versions/context.js'
import { MalformedError } from '../core/versions/encoding.js'
import { decodeToken, encodeToken } from '../core/versions/token.js'
import { ContextError, ValueError } from './errors.js'
import type { Merge } from './options.js'
import { type AnyValue, decodeValue } from './values.js'

/** The name of a node, that is of one tab's disk: 10 characters of base64url. */
export type NodeId = string

/** An opaque causal context: bytes that may be stored and given back to a put of the same key. */
export type Context = Uint8Array

export interface Quorum {
  /** r (or w) answers were obtained. */
  met: boolean
  /** Some of them came from stand-ins, not from the key's home nodes. */
  sloppy: boolean
  answers: number
  needed: number
  /**
   * Of a get: too few homes answered, or this tab is on its own, and something in the answer is known only from a copy on this device, from when the key
   * last passed through here, or from the disk of a closed tab. It may be old.
   */
  cached: boolean
}

export interface Entry<V = AnyValue> {
  key: string
  /** One version, or the bucket's merge of all; undefined when absent or deleted. Without a merge, the first sibling. */
  value: V | undefined
  /** Every concurrent version, in an order that is the same everywhere. */
  siblings: V[]
  conflict: boolean
  context: Context
  quorum: Quorum
}

export interface Receipt {
  key: string
  context: Context
  quorum: Quorum
  /** Nodes whose disk holds it at this moment. */
  acks: NodeId[]
  /** Home nodes that will get it by hinted handoff; not those that the put itself is still on its way to. */
  hintedFor: NodeId[]
}

const expiries = new WeakMap<Entry, number>()
const failedMerges = new WeakMap<Entry, unknown>()

/** When the first version of the entry expires, in milliseconds since 1970; undefined where none does. */
export function expiryOf(entry: Entry): number | undefined {
  return expiries.get(entry)
}

/** What the application's merge threw at these siblings: the entry shows the first of them, and all of them as a conflict. */
export function mergeErrorOf(entry: Entry): unknown {
  return failedMerges.get(entry)
}

/** @throws ValueError where a version cannot be read */
export function toEntry(
  room: string,
  storeKey: StoreKey,
  container: Container,
  quorum: Quorum,
  merge: Merge | undefined,
  wallTime: number,
): Entry {
  const live = container.siblings.filter((sibling) => isLiveSibling(sibling, wallTime))
  const key = userKey(storeKey)
  const versions = () => live.map((sibling) => decodeValue(sibling.value as Uint8Array, key))
  const siblings = versions()
  const [first] = siblings
  const entry: Entry = {
    key,
    value: first,
    siblings,
    conflict: siblings.length > 1,
    context: encodeToken(room, storeKey, container.context),
    quorum,
  }
  if (merge && siblings.length > 1) {
    try {
      // Of its own: it may sort the list and change what is in it.
      entry.value = merged(merge, versions())
    } catch (error) {
      failedMerges.set(entry, error)
    }
  }
  const expiring = live.map((sibling) => sibling.expiresAt).filter((expiresAt) => expiresAt > 0)
  if (expiring.length > 0) expiries.set(entry, Math.min(...expiring))
  return entry
}

function merged(merge: Merge, siblings: AnyValue[]): AnyValue {
  const value: unknown = merge(siblings)
  if (value instanceof Promise) {
    value.catch(() => {})
    throw new ValueError(
      'The merge of this bucket gave a Promise. It has to give the value at once: every read calls it.',
    )
  }
  if (value === undefined)
    throw new ValueError(
      'The merge of this bucket gave undefined, which stands for an absent key. Does it return its result?',
    )
  if (typeof value === 'function')
    throw new ValueError(
      'The merge of this bucket gave a function. Ready-made ones are made by a call: union(), and not union.',
    )
  return value
}

export function userKey(storeKey: StoreKey): string {
  const parsed = parseStoreKey(storeKey)
  invariant(parsed, 'a store key has the form <n>/<bucket>\\0<key>')
  return parsed.key
}

/** @throws ContextError */
export function readContext(room: string, storeKey: StoreKey, given: unknown): CausalContext {
  try {
    return decodeToken(room, storeKey, asBytes(given))
  } catch (cause) {
    if (!(cause instanceof MalformedError)) throw cause
    throw new ContextError(`The context given for the key ${JSON.stringify(userKey(storeKey))} is ${cause.message}.`, {
      cause,
    })
  }
}

function asBytes(given: unknown): Uint8Array {
  // Of a buffer that was transferred, no view can be made.
  if ((ArrayBuffer.isView(given) || given instanceof ArrayBuffer) && given.byteLength === 0) return new Uint8Array(0)
  if (ArrayBuffer.isView(given)) return new Uint8Array(given.buffer, given.byteOffset, given.byteLength)
  if (given instanceof ArrayBuffer) return new Uint8Array(given)
  // An array, or what JSON makes of bytes: an object with the properties 0, 1, and so on.
  if (typeof given === 'object' && given !== null && Object.keys(given).every((name, i) => name === String(i))) {
    const bytes: unknown[] = Object.values(given)
    if (bytes.every((byte) => Number.isInteger(byte) && (byte as number) >= 0 && (byte as number) < 256))
      return Uint8Array.from(bytes as number[])
  }
  throw new MalformedError('no context: it must be the bytes that a get or a receipt gave')
}
