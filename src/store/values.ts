/**
 * Values as bytes: what structured data formats carry, through MessagePack with extensions for bigint, Map and Set. Encoded once, at the
 * put; opaque everywhere else. What would come back different from how it went in is refused, but for what JSON passes
 * over as well: properties without a value or under symbols.
 */
import { Decoder, ExtensionCodec, encode } from '@msgpack/msgpack'
import { decodeMessagePack } from '../core/versions/messagepack.js'
import { ValueError, ValueTooLargeError } from './errors.js'

/** Values are whatever the application says they are: the default of every value type, as in `JSON.parse`. */
// biome-ignore lint/suspicious/noExplicitAny: the one place where it stands.
export type AnyValue = any

export const MAX_VALUE_BYTES = 1024 * 1024
const MAX_DEPTH = 64

/** The context of an encoding: whether all numbers are written as floats, of which alone 0 has a sign. */
type AllFloats = boolean

const codec = new ExtensionCodec<AllFloats>()
const options = { extensionCodec: codec, maxDepth: 2 * MAX_DEPTH + 8, context: false }
const decoder = new Decoder<AllFloats>(options)
const encoding = (allFloats: AllFloats) => ({
  ...options,
  context: allFloats,
  forceIntegerToFloat: allFloats,
  ignoreUndefined: true,
})
codec.register({
  type: 1,
  encode: (value) => (typeof value === 'bigint' ? encode(value.toString(10)) : null),
  decode: (bytes) => BigInt(decodeMessagePack(bytes) as string),
})
codec.register({
  type: 2,
  encode: (value, allFloats) => (value instanceof Map ? encode([...value], encoding(allFloats)) : null),
  decode: (bytes) => new Map(decodeMessagePack(bytes, decoder) as [unknown, unknown][]),
})
codec.register({
  type: 3,
  encode: (value, allFloats) => (value instanceof Set ? encode([...value], encoding(allFloats)) : null),
  decode: (bytes) => new Set(decodeMessagePack(bytes, decoder) as unknown[]),
})
codec.register({
  type: 4,
  encode: (value) => (value instanceof MarkedText ? new TextEncoder().encode(value.text) : null),
  decode: (bytes) => new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes),
})

/** @param what says in errors which value it is. @throws ValueError, ValueTooLargeError */
export function encodeValue(value: unknown, what = 'the value'): Uint8Array {
  foundNegativeZero = foundMark = false
  validate(value, what, 0)
  const bytes = encodeOrThrow(foundMark ? withMarks(value) : value, encoding(foundNegativeZero), what)
  if (bytes.length > MAX_VALUE_BYTES) throw new ValueTooLargeError(bytes.length, MAX_VALUE_BYTES, what)
  return bytes
}

/** @throws ValueError when the bytes are damaged, or hold what `encodeValue` would not have made; it names the key. */
export function decodeValue(bytes: Uint8Array, key: string): unknown {
  try {
    return owned(decodeMessagePack(bytes, decoder), 0)
  } catch (cause) {
    throw new ValueError(`A stored value of ${JSON.stringify(key)} cannot be read.`, { cause })
  }
}

/**
 * Gives what was decoded to an application. Byte arrays in it are views of what is stored, and become arrays of their own, with a buffer of their
 * own. A peer stores whatever bytes it likes: what an application cannot walk through or print is none of its values.
 */
function owned(value: unknown, depth: number): unknown {
  if (typeof value !== 'object' || value === null) return value
  if (value instanceof Uint8Array) return new Uint8Array(value)
  if (depth > 2 * MAX_DEPTH) throw new RangeError('it is nested too deep')
  if (value instanceof Date) {
    if (Number.isNaN(value.getTime())) throw new RangeError('it holds an invalid Date')
    return value
  }
  const item = (inner: unknown) => owned(inner, depth + 1)
  if (value instanceof Set) return new Set([...value].map(item))
  if (value instanceof Map) return new Map([...value].map(([key, inner]) => [item(key), item(inner)]))
  // Nobody else has them: arrays and objects are changed where they are.
  const items = value as Record<string, unknown>
  for (const name of Object.keys(value)) items[name] = item(items[name])
  return value
}

function encodeOrThrow(value: unknown, how: ReturnType<typeof encoding>, what: string): Uint8Array {
  try {
    return encode(value, how)
  } catch (cause) {
    throw new ValueError(`${what} cannot be stored.`, { cause })
  }
}

/** The decoder of long texts takes a byte order mark off that they begin with. */
const MARK = '\uFEFF'
/** In characters: up to 200 bytes it leaves them as they are. */
const MAX_MARKED_NAME = 66

/** A text that begins with one. */
class MarkedText {
  constructor(readonly text: string) {}
}

function withMarks(value: unknown): unknown {
  if (typeof value === 'string') return value.startsWith(MARK) ? new MarkedText(value) : value
  if (typeof value !== 'object' || value === null || value instanceof Uint8Array || value instanceof Date) return value
  if (Array.isArray(value)) return value.map(withMarks)
  if (value instanceof Set) return new Set([...value].map(withMarks))
  if (value instanceof Map) return new Map([...value].map(([key, item]) => [withMarks(key), withMarks(item)]))
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, withMarks(item)]))
}

/** By the last validation. */
let foundNegativeZero = false
let foundMark = false

function validate(value: unknown, path: string, depth: number): void {
  if (depth > MAX_DEPTH)
    throw new ValueError(`${path} is nested more than ${MAX_DEPTH} levels deep (or contains itself).`)
  switch (typeof value) {
    case 'string':
      foundMark ||= value.startsWith(MARK)
      return checkText(value, path)
    case 'number':
      foundNegativeZero ||= Object.is(value, -0)
      return
    case 'boolean':
    case 'bigint':
      return
    case 'object':
      return value === null ? undefined : validateObject(value, path, depth)
    default:
      throw new ValueError(
        `${path} is ${typeof value === 'undefined' ? 'undefined' : `a ${typeof value}`}, which cannot be stored.`,
      )
  }
}

function checkText(text: string, path: string): void {
  // UTF-8 has no bytes for it: it would come back as U+FFFD.
  if (/\p{Surrogate}/u.test(text)) throw new ValueError(`${path} holds half a surrogate pair, which cannot be stored.`)
}

function validateObject(value: object, path: string, depth: number): void {
  if (value instanceof Uint8Array) return
  if (value instanceof Date) {
    if (Number.isNaN(value.getTime())) throw new ValueError(`${path} is an invalid Date.`)
    return
  }
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i++) validate(value[i], `${path}[${i}]`, depth + 1)
    return
  }
  if (value instanceof Set) {
    for (const item of value) validate(item, `an item of ${path}`, depth + 1)
    return
  }
  if (value instanceof Map) {
    for (const [key, item] of value) {
      validate(key, `a key of ${path}`, depth + 1)
      validate(item, `${path}.get(${typeof key === 'object' ? '…' : String(key)})`, depth + 1)
    }
    return
  }
  const prototype: unknown = Object.getPrototypeOf(value)
  // By its own prototype's absence, not by identity: objects may come from another realm (an iframe).
  const isPlain = prototype === null || Object.getPrototypeOf(prototype) === null
  // Math, JSON and the arguments of a function are told by their names only.
  const kind = Object.prototype.toString.call(value)
  if (!isPlain || kind !== '[object Object]') {
    const name = isPlain ? kind.slice('[object '.length, -1) : (value.constructor?.name ?? 'class instance')
    throw new ValueError(`${path} is of type ${name}; only plain objects can be stored.`)
  }
  for (const [name, item] of Object.entries(value)) {
    if (name === '__proto__') throw new ValueError(`${path} has a property named __proto__, which cannot be stored.`)
    checkText(name, `a property name of ${path}`)
    if (name.startsWith(MARK) && name.length > MAX_MARKED_NAME)
      throw new ValueError(
        `${path} has a long property name that begins with a byte order mark, which cannot be stored.`,
      )
    // As in JSON: a property without a value is no property.
    if (item !== undefined) validate(item, `${path}.${name}`, depth + 1)
  }
}
