/**
 * Containers and contexts as bytes, and the digest by which two places compare a container without sending it.
 * A container is encoded once per merge and moved as bytes. Decoding checks everything: bytes may come from a peer,
 * from an application (contexts) or from a damaged disk.
 */
import { sha256 } from '@noble/hashes/sha2.js'
import { utf8ToBytes } from '@noble/hashes/utils.js'
import type { Digest } from '../environment.js'
import { type ActorId, NODE_ID_LENGTH } from '../ids.js'
import { type Container, type Sibling, compareDots } from './container.js'
import { type CausalContext, type Dot, compact, covers } from './context.js'
import { decodeMessagePack, encodeMessagePack } from './messagepack.js'

/** Bytes that do not hold what they should. */
export class MalformedError extends Error {
  override readonly name = 'MalformedError'
}

/** undefined where `work` met damaged bytes. */
export function ifPossible<T>(work: () => T): T | undefined {
  try {
    return work()
  } catch (error) {
    if (error instanceof MalformedError) return undefined
    throw error
  }
}

/** actors, their vector counters, cloud as (actor index, counter) pairs. */
type WireContext = [actors: string[], counters: number[], cloud: number[]]
/** actor index, counter, expiresAt, checksum, value or null. */
type WireSibling = [number, number, number, number, Uint8Array | null]

const MAX_ACTOR_LENGTH = 40
/** Behind each encoded container. */
const CHECKSUM_BYTES = 4

function contextToWire(context: CausalContext): WireContext {
  const actors = [...context.vector.keys()]
  for (const actor of context.cloud.keys()) if (!context.vector.has(actor)) actors.push(actor)
  actors.sort()
  const cloud: number[] = []
  if (context.cloud.size > 0)
    for (const [index, actor] of actors.entries()) {
      const counters = context.cloud.get(actor)
      if (counters) for (const counter of [...counters].sort((a, b) => a - b)) cloud.push(index, counter)
    }
  return [actors, actors.map((actor) => context.vector.get(actor) ?? 0), cloud]
}

function contextFromWire(wire: unknown): { context: CausalContext; actors: ActorId[] } {
  if (!Array.isArray(wire) || wire.length !== 3) throw new MalformedError('a context is three lists')
  const [actors, counters, cloudPairs] = wire as unknown[]
  if (!Array.isArray(actors) || !Array.isArray(counters) || !Array.isArray(cloudPairs))
    throw new MalformedError('a context is three lists')
  if (actors.length !== counters.length || cloudPairs.length % 2 !== 0)
    throw new MalformedError('lists of a context must match')
  const vector = new Map<ActorId, number>()
  actors.forEach((actor, index) => {
    if (index > 0 && !(actors[index - 1] < actor)) throw new MalformedError('actors twice or out of order')
    if (typeof actor !== 'string' || actor.length <= NODE_ID_LENGTH || actor.length > MAX_ACTOR_LENGTH)
      throw new MalformedError('not an actor')
    const counter = counters[index]
    if (!isCount(counter)) throw new MalformedError('not a counter')
    if (counter > 0) vector.set(actor as ActorId, counter)
  })
  const cloud = new Map<ActorId, Set<number>>()
  for (let i = 0; i < cloudPairs.length; i += 2) {
    const { actor, counter } = dotFromWire(actors as ActorId[], cloudPairs[i], cloudPairs[i + 1])
    const counters = cloud.get(actor) ?? new Set<number>()
    cloud.set(actor, counters.add(counter))
  }
  return { context: compact(vector, cloud), actors: actors as ActorId[] }
}

function dotFromWire(actors: readonly ActorId[], index: unknown, counter: unknown): Dot {
  // A list answers to more than its places ('length'), and counter 0 would count as covered by every context.
  const actor = isCount(index) ? actors[index] : undefined
  if (actor === undefined || !isCount(counter) || counter === 0) throw new MalformedError('not a dot')
  return { actor, counter }
}

/** What was worked out of a container, so that nobody need do it again. Containers never change. */
interface Memo {
  bytes: Uint8Array | undefined
  digest: Digest | undefined
  /** Whose key is in the digest. */
  key: string | undefined
}

/**
 * Where a container keeps its memo, and bytes the container that they hold: they never change either. Not a WeakMap: to keep a large one takes the
 * collector a tenth of the simulator's time. Nobody else sees it: it is not enumerable, so neither copies nor comparisons have it.
 */
const MEMO = Symbol('memo')

function remember<T>(of: object, value: T): T {
  Object.defineProperty(of, MEMO, { value })
  return value
}

function memoOf(container: Container & { [MEMO]?: Memo }): Memo {
  return container[MEMO] ?? remember(container, { bytes: undefined, digest: undefined, key: undefined })
}

/** In a buffer of their own: a disk stores the whole buffer behind its bytes. */
export function encodeContainer(container: Container): Uint8Array {
  const memo = memoOf(container)
  const { bytes } = memo
  if (bytes && bytes.length === bytes.buffer.byteLength) return bytes
  const own = bytes?.slice() ?? encodeAnew(container)
  memo.bytes = own
  remember(own, container)
  return own
}

function encodeAnew(container: Container): Uint8Array {
  const context = contextToWire(container.context)
  const siblings = container.siblings.map((sibling): WireSibling => {
    const { dot, expiresAt, checksum, value } = sibling
    return [context[0].indexOf(dot.actor), dot.counter, expiresAt, checksum, value ?? null]
  })
  const body = encodeMessagePack([context, siblings])
  const bytes = new Uint8Array(body.length + CHECKSUM_BYTES)
  bytes.set(body)
  new DataView(bytes.buffer).setUint32(body.length, checksumOf(body))
  return bytes
}

/** @throws MalformedError also when a bit has flipped since it was encoded: a wrong dot would be a version that nobody wrote. */
export function decodeContainer(bytes: Uint8Array & { [MEMO]?: Container }): Container {
  const found = bytes[MEMO]
  if (found) return found
  const container = remember(bytes, decodeAnew(bytes))
  memoOf(container).bytes = bytes
  return container
}

function decodeAnew(bytes: Uint8Array): Container {
  const body = bytes.subarray(0, Math.max(0, bytes.length - CHECKSUM_BYTES))
  if (readUint32(bytes, body.length) !== checksumOf(body)) throw new MalformedError('a damaged container')
  const wire = decodeOrThrow(body)
  if (!Array.isArray(wire) || wire.length !== 2 || !Array.isArray(wire[1]))
    throw new MalformedError('a container is a context and siblings')
  const { context, actors } = contextFromWire(wire[0])
  const siblings = (wire[1] as unknown[]).map((entry): Sibling => {
    if (!Array.isArray(entry) || entry.length !== 5) throw new MalformedError('not a sibling')
    const [index, counter, expiresAt, checksum, value] = entry as unknown[]
    const dot = dotFromWire(actors, index, counter)
    if (!isCount(checksum)) throw new MalformedError('not a checksum')
    if (typeof expiresAt !== 'number' || !(expiresAt >= 0)) throw new MalformedError('not an expiry time')
    if (value !== null && !(value instanceof Uint8Array)) throw new MalformedError('not a value')
    if (!covers(context, dot)) throw new MalformedError('a sibling outside its context')
    return { dot, value: value ?? undefined, checksum, expiresAt }
  })
  siblings.sort((a, b) => compareDots(a.dot, b.dot))
  siblings.forEach(({ dot }, i) => {
    const next = siblings[i + 1]
    if (next && compareDots(dot, next.dot) === 0) throw new MalformedError('a version twice')
  })
  return { context, siblings }
}

export function encodeContext(context: CausalContext): Uint8Array {
  return encodeMessagePack(contextToWire(context))
}

/** @throws MalformedError */
export function decodeContext(bytes: Uint8Array): CausalContext {
  return contextFromWire(decodeOrThrow(bytes)).context
}

/**
 * Digest of a key's versions, not of its bytes: equal exactly when both places hold the same dots with the same context
 * (hash clocks, not encodings: riak_kv#1656).
 */
export function digestOf(key: string, container: Container): Digest {
  const memo = memoOf(container)
  if (memo.digest && memo.key === key) return memo.digest
  const digest = digestAnew(key, container)
  memo.key = key
  memo.digest = digest
  return digest
}

function digestAnew(key: string, container: Container): Digest {
  const [actors, counters, cloud] = contextToWire(container.context)
  let text = `${key}\n`
  for (let i = 0; i < actors.length; i++) text += `${actors[i]}:${counters[i]},`
  text += `\n${cloud.join()}\n`
  for (const { dot } of container.siblings) text += `${dot.actor}:${dot.counter},`
  const hash = sha256(utf8ToBytes(text))
  return { high: readUint32(hash, 0), low: readUint32(hash, 4) }
}

export function readUint32(bytes: Uint8Array, at: number): number {
  return (
    (((bytes[at] ?? 0) << 24) | ((bytes[at + 1] ?? 0) << 16) | ((bytes[at + 2] ?? 0) << 8) | (bytes[at + 3] ?? 0)) >>> 0
  )
}

/** FNV-1a, 32 bits: notices flipped bits, promises nothing against an attacker. */
export function checksumOf(bytes: Uint8Array): number {
  let hash = 0x811c9dc5
  for (let i = 0; i < bytes.length; i++) hash = Math.imul(hash ^ (bytes[i] as number), 0x01000193)
  return hash >>> 0
}

/** @throws MalformedError */
export function decodeOrThrow(bytes: Uint8Array): unknown {
  try {
    return decodeMessagePack(bytes)
  } catch (cause) {
    throw new MalformedError('not MessagePack', { cause })
  }
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0
}
