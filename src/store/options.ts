/** What `openStore` and the verbs accept, with defaults and checks. A bad option is named in the error. */
import { MAX_BUCKET_BYTES, MAX_KEY_BYTES, MAX_REPLICATION, type ReplicationFactor } from '../core/ids.js'
import { MAX_CONFIG, MAX_ENTRIES } from '../core/messages.js'
import { MAX_PARTITIONS, isPartitionCount } from '../core/ring/partitions.js'
import { DEFAULT_TUNING, type Tuning } from '../core/tuning.js'
import { KeyError, OptionError, SecretError } from './errors.js'
import type { AnyValue } from './values.js'

export interface Replication {
  /**
   * Homes of each key; 'all': every member. Part of where a key lives: with another n, what was written before is not seen. To change it,
   * copy the data from a bucket with the old n into a bucket of another name with the new one.
   */
  n: ReplicationFactor
  /** Answers that a get waits for. */
  r: number
  /** Confirmations that a put waits for. */
  w: number
}

/** What is left out, or undefined, has its default. */
type Given<T> = { [K in keyof T]?: T[K] | undefined }

/** Commutative, associative, idempotent, total: any order of siblings gives the same value. */
export type Merge<V = AnyValue> = (siblings: V[]) => V

export interface BucketOptions<V = AnyValue> extends Given<Replication> {
  /** Makes one value of several versions; without it, `entry.value` is the first of them. */
  merge?: Merge<V> | undefined
  /** Milliseconds after which a written value expires; null: never. */
  ttl?: number | null | undefined
}

export interface OpenOptions {
  /** Peers with the same room form one ring. At most 256 bytes in UTF-8. */
  room: string
  /** Not supported yet: a SecretError. */
  secret?: string | undefined
  /**
   * Addresses of signaling servers: ws:// or wss://, http:// or https:// for the same, or relative to the page's own. Default: /signal at the page's
   * origin. null: never connect.
   */
  signaling?: string | readonly string[] | null | undefined
  /** STUN and TURN servers for peers behind routers. Default: none, which is enough within one network. */
  iceServers?: readonly RTCIceServer[] | undefined
  /** A label that other peers see, of at most 256 characters. */
  name?: string | undefined
  /** Of the unnamed bucket, and of others that say nothing else. Default: n 3, r 2, w 2; n is at most 20, or 'all'. All peers of a room must agree on n. */
  replication?: Given<Replication> | undefined
  /** What named buckets do otherwise, by their names of at most 64 bytes in UTF-8. */
  buckets?: Record<string, BucketOptions> | undefined
  /** Relative weight in the placement, 0.1 to 10. Default: 1. */
  capacity?: number | undefined
  /** Links to this many peers; others are reached through common neighbours. Default: 24. */
  maxPeers?: number | undefined
  /** Inner timings, for tests and unusual networks. Defaults: `DEFAULT_TUNING` in core/tuning.ts. */
  tuning?: Given<Tuning> | undefined
  /** Aborts the opening. */
  signal?: AbortSignal | undefined
}

export interface BucketSettings extends Replication {
  name: string
  merge: Merge | undefined
  ttl: number | null
}

export interface Settings {
  room: string
  name: string
  signaling: string[] | null
  iceServers: RTCIceServer[]
  capacity: number
  maxPeers: number
  tuning: Tuning
  defaults: Replication
  buckets: Map<string, BucketSettings>
}

/** Characters of the handshake for what all peers must share; the number of partitions comes on top. */
const MAX_DESCRIBED = MAX_CONFIG - 16
/** With the u flag, a pair is one character and no surrogate. */
const LONE_SURROGATE = /\p{Surrogate}/u

const OPEN_OPTIONS = [
  'room',
  'secret',
  'signaling',
  'iceServers',
  'name',
  'replication',
  'buckets',
  'capacity',
  'maxPeers',
  'tuning',
  'signal',
]

const REPLICATION_OPTIONS = ['n', 'r', 'w']
const BUCKET_OPTIONS = [...REPLICATION_OPTIONS, 'merge', 'ttl']

/** A misspelt option is worse than none: nobody notices. */
function checkNames(given: object, known: readonly string[], path: string): void {
  for (const name of Object.keys(given))
    if (!known.includes(name)) throw new OptionError(`${path}${name}`, 'there is no such option.')
}

/** Neither a list nor a Map: what is in those has no names. */
function isRecord(given: unknown): given is object {
  return typeof given === 'object' && given !== null && !(Symbol.iterator in given)
}

/** The options of one call, as they were given; none for undefined and null. @throws OptionError */
export function readCall<O extends object>(given: O | null | undefined, known: readonly string[]): Partial<O> {
  if (given === undefined || given === null) return {}
  if (!isRecord(given)) throw new OptionError('options', `give an object, or nothing. This is ${typeName(given)}.`)
  checkNames(given, known, '')
  checkSignal((given as { signal?: unknown }).signal)
  return given
}

function checkSignal(signal: unknown): void {
  // By its name: it may come from another realm (an iframe).
  if (signal !== undefined && Object.prototype.toString.call(signal) !== '[object AbortSignal]')
    throw new OptionError('signal', 'give the signal of an AbortController.')
}

function typeName(given: unknown): string {
  if (given === null || given === undefined) return String(given)
  return Array.isArray(given) ? 'an array' : typeof given === 'object' ? 'an object' : `a ${typeof given}`
}

/** As given at opening. A bucket that was not, like the unnamed one, has the store's defaults. */
export function bucketSettings({ buckets, defaults }: Settings, name: string): BucketSettings {
  return buckets.get(name) ?? { name, merge: undefined, ttl: null, ...defaults }
}

/** @throws OptionError */
export function readOptions(options: OpenOptions): Settings {
  if (typeof options !== 'object' || options === null)
    throw new OptionError('options', 'openStore needs an object like { room: "my-app" }.')
  checkNames(options, OPEN_OPTIONS, '')
  const { room, name = '', capacity = 1, maxPeers = 24, iceServers = [] } = options
  if (typeof room !== 'string' || room.length === 0 || byteLength(room) > 256 || LONE_SURROGATE.test(room))
    throw new OptionError('room', 'give a text of 1 to 256 bytes.')
  if (options.secret !== undefined)
    throw new SecretError('Rooms with a secret are not supported yet. Leave `secret` out to open a public room.')
  if (typeof name !== 'string' || name.length > 256 || LONE_SURROGATE.test(name))
    throw new OptionError('name', 'give a text of at most 256 characters, without half a surrogate pair.')
  if (typeof capacity !== 'number' || !(capacity >= 0.1 && capacity <= 10))
    throw new OptionError('capacity', 'give a number from 0.1 to 10.')
  if (!Number.isInteger(maxPeers) || maxPeers < 1 || maxPeers > 100)
    throw new OptionError('maxPeers', 'give a whole number from 1 to 100.')
  checkIceServers(iceServers)
  checkSignal(options.signal)
  if (options.buckets !== undefined && !isRecord(options.buckets))
    throw new OptionError('buckets', 'give an object like { carts: { n: 3 } }.')
  if (isRecord(options.replication)) checkNames(options.replication, REPLICATION_OPTIONS, 'replication.')
  const defaults = readReplication(options.replication, { n: 3, r: 2, w: 2 }, 'replication')
  const buckets = new Map<string, BucketSettings>()
  for (const [bucket, bucketOptions] of Object.entries(options.buckets ?? {})) {
    try {
      checkBucketName(bucket)
    } catch (error) {
      throw new OptionError('buckets', (error as KeyError).message)
    }
    buckets.set(bucket, readBucket(bucket, bucketOptions, defaults))
  }
  const settings: Settings = {
    room,
    name,
    capacity,
    maxPeers,
    iceServers: [...iceServers],
    defaults,
    buckets,
    signaling: readSignaling(options.signaling),
    tuning: readTuning(options.tuning),
  }
  if (describeConfig(settings).length > MAX_DESCRIBED)
    throw new OptionError(
      'buckets',
      'so many of them have another n than `replication` that no handshake holds their names. Use fewer or shorter names.',
    )
  return settings
}

function readBucket(name: string, options: BucketOptions, defaults: Replication): BucketSettings {
  const path = `buckets.${name}`
  if (!isRecord(options)) throw new OptionError(path, 'give an object.')
  checkNames(options, BUCKET_OPTIONS, `${path}.`)
  const { merge, ttl = null } = options
  if (merge !== undefined && typeof merge !== 'function')
    throw new OptionError(`${path}.merge`, 'give a function from siblings to one value.')
  if (ttl !== null && (typeof ttl !== 'number' || !(ttl > 0)))
    throw new OptionError(`${path}.ttl`, 'give milliseconds above 0, or null.')
  return { name, merge, ttl, ...readReplication(options, defaults, path) }
}

function readReplication(given: Given<Replication> | undefined, defaults: Replication, path: string): Replication {
  if (given !== undefined && !isRecord(given)) throw new OptionError(path, 'give an object like { n: 3, r: 2, w: 2 }.')
  const { n = defaults.n } = given ?? {}
  if (n !== 'all' && !(Number.isInteger(n) && n >= 1 && n <= MAX_REPLICATION))
    throw new OptionError(`${path}.n`, `give a whole number from 1 to ${MAX_REPLICATION}, or 'all'.`)
  // Defaults follow a smaller n, so that { n: 1 } alone is a sensible choice.
  const bounded = (value: number) => (n === 'all' ? value : Math.min(value, n))
  const { r = bounded(defaults.r), w = bounded(defaults.w) } = given ?? {}
  checkQuorum(r, n, `${path}.r`)
  checkQuorum(w, n, `${path}.w`)
  return { n, r, w }
}

/** @throws OptionError */
export function checkQuorum(value: unknown, n: ReplicationFactor, path: string): asserts value is number {
  if (!Number.isInteger(value) || (value as number) < 1)
    throw new OptionError(path, 'give a whole number of at least 1.')
  if (n !== 'all' && (value as number) > n) throw new OptionError(path, `give at most n, which is ${n}.`)
}

/** Of what no connection can be made with, the browser would complain at each peer, and nobody would hear it. */
function checkIceServers(iceServers: unknown): void {
  if (!Array.isArray(iceServers)) throw new OptionError('iceServers', 'give a list of RTCIceServer objects.')
  if (iceServers.length === 0 || typeof RTCPeerConnection === 'undefined') return
  try {
    new RTCPeerConnection({ iceServers }).close()
  } catch (error) {
    const { name, message } = error as Error
    // Any other error is about this browser: it makes no more connections now, for example.
    if (['TypeError', 'SyntaxError', 'InvalidAccessError'].includes(name)) throw new OptionError('iceServers', message)
  }
}

function readSignaling(given: OpenOptions['signaling']): string[] | null {
  if (given === null) return null
  if (given === undefined) {
    // A file, or a frame made of a text, has none.
    if (typeof location === 'undefined' || location.host === '')
      throw new OptionError('signaling', 'outside a page of a server, give the address of a signaling server, or null.')
    return [`${location.protocol === 'https:' ? 'wss:' : 'ws:'}//${location.host}/signal`]
  }
  const urls = Array.isArray(given) ? given : [given]
  if (urls.length === 0) throw new OptionError('signaling', 'give an address, or null to never connect.')
  return urls.map((url) => {
    const parsed = typeof url === 'string' && url !== '' ? parseUrl(url) : undefined
    if (!parsed)
      throw new OptionError('signaling', `${JSON.stringify(url)} is not an address like wss://example.org/signal.`)
    // A WebSocket is not even made for it, which nobody would notice.
    if (parsed.includes('#')) throw new OptionError('signaling', `${JSON.stringify(url)} must have no part behind a #.`)
    return parsed
  })
}

function parseUrl(url: string): string | undefined {
  try {
    const base = typeof document === 'undefined' ? globalThis.location?.href : document.baseURI
    const parsed = new URL(url, base)
    parsed.protocol = parsed.protocol.replace('http', 'ws')
    return parsed.protocol === 'ws:' || parsed.protocol === 'wss:' ? parsed.href : undefined
  } catch {
    return undefined
  }
}

/** Timers that are set for longer fire at once: some weeks would become no time at all. */
export const MAX_TIMER_MS = 2 ** 31 - 1

const WHOLE_NUMBERS: ReadonlySet<string> = new Set(['batchKeys', 'batchBytes', 'maxSiblings', 'warnSiblings'])

/** A message holds so many keys, and the smallest containers have some 42 bytes. */
const GREATEST: Partial<Record<string, number>> = { batchKeys: MAX_ENTRIES, batchBytes: 512 * 1024 }

function readTuning(given: Given<Tuning> | undefined): Tuning {
  if (given !== undefined && !isRecord(given)) throw new OptionError('tuning', 'give an object.')
  const tuning = { ...DEFAULT_TUNING }
  for (const [name, value] of Object.entries(given ?? {})) {
    if (!Object.hasOwn(DEFAULT_TUNING, name)) throw new OptionError(`tuning.${name}`, 'there is no such option.')
    if (value === undefined) continue
    const wanted = typeof DEFAULT_TUNING[name as keyof Tuning]
    const greatest = GREATEST[name] ?? MAX_TIMER_MS
    if (
      typeof value !== wanted ||
      (wanted === 'number' && !((value as number) > 0 && (value as number) <= greatest)) ||
      (WHOLE_NUMBERS.has(name) && !Number.isInteger(value))
    )
      throw new OptionError(
        `tuning.${name}`,
        `give a ${WHOLE_NUMBERS.has(name) ? 'whole ' : ''}${wanted}${wanted === 'number' ? ` above 0, at most ${greatest}` : ''}.`,
      )
    Object.assign(tuning, { [name]: value })
  }
  if (!isPartitionCount(tuning.partitions))
    throw new OptionError('tuning.partitions', `give a power of two, at most ${MAX_PARTITIONS}.`)
  return tuning
}

/**
 * Room parameters that all peers must share, in one text for the handshake. A bucket with the default n is not named: it is what every other
 * peer takes it for, and a new version of an application may have one more.
 */
export function describeConfig(settings: Settings): string {
  const buckets = [...settings.buckets.values()]
    .filter(({ n }) => n !== settings.defaults.n)
    .map(({ name, n }) => `${name.replace(/[%,:]/g, encodeURIComponent)}:${n}`)
    .sort()
  return `n=${settings.defaults.n};buckets=${buckets.join(',')}`
}

/** @throws KeyError */
export function checkKey(key: unknown): asserts key is string {
  if (typeof key !== 'string') throw new KeyError(`A key is a text; this is ${typeName(key)}.`)
  if (key.length === 0) throw new KeyError('A key must not be empty.')
  if (LONE_SURROGATE.test(key))
    throw new KeyError('A key must be well-formed Unicode; this one holds half a surrogate pair.')
  const bytes = byteLength(key)
  if (bytes > MAX_KEY_BYTES)
    throw new KeyError(`A key has at most ${MAX_KEY_BYTES} bytes in UTF-8; this one has ${bytes}.`)
}

/** Checks the beginning of keys, or a bound of a range of keys. @throws OptionError */
export function checkKeyPart(option: string, text: unknown): asserts text is string {
  if (typeof text !== 'string') throw new OptionError(option, 'give a text.')
  if (LONE_SURROGATE.test(text))
    throw new OptionError(option, 'give well-formed Unicode; this holds half a surrogate pair.')
  if (byteLength(text) > MAX_KEY_BYTES)
    throw new OptionError(option, `give at most ${MAX_KEY_BYTES} bytes in UTF-8: keys are not longer.`)
}

/** @throws KeyError */
export function checkBucketName(name: unknown): asserts name is string {
  if (typeof name !== 'string' || name.length === 0) throw new KeyError('A bucket name is a text that is not empty.')
  if (name.includes('\0') || LONE_SURROGATE.test(name))
    throw new KeyError(`The bucket name ${JSON.stringify(name)} holds characters that it must not.`)
  if (byteLength(name) > MAX_BUCKET_BYTES)
    throw new KeyError(`A bucket name has at most ${MAX_BUCKET_BYTES} bytes in UTF-8.`)
}

function byteLength(text: string): number {
  return new TextEncoder().encode(text).length
}
