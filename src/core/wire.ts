/**
 * How a message becomes a frame and back. A frame is one MessagePack list: code, request id, sender's incarnation, time of
 * sending, time to live, then the message's fields in the order of its declaration. Decoding checks every field
 * against the declaration, so nothing behind this door ever sees a value of the wrong shape or size.
 */
import { MalformedError, decodeOrThrow } from './versions/encoding.js'
import { encodeMessagePack } from './versions/messagepack.js'

/** Checks one field; throws MalformedError. What it returns is what the message holds. */
export type Field<T> = (value: unknown) => T

type Fields = Record<string, Field<unknown>>
export type Shape<F extends Fields = Fields> = { readonly code: number; readonly fields: F }
export type Body<S extends Shape> = { -readonly [K in keyof S['fields']]: ReturnType<S['fields'][K]> }

export function shape<F extends Fields>(code: number, fields: F): Shape<F> {
  return { code, fields }
}

function check(condition: boolean, what: string): asserts condition {
  if (!condition) throw new MalformedError(what)
}

export const count: Field<number> = (value) => {
  check(Number.isSafeInteger(value) && (value as number) >= 0, 'not a count')
  // No -0: what is read is what would be written.
  return (value as number) + 0
}
export const real: Field<number> = (value) => {
  check(typeof value === 'number' && Number.isFinite(value), 'not a number')
  return value + 0
}
export function between(low: number, high: number): Field<number> {
  return (value) => {
    check(typeof value === 'number' && value >= low && value <= high, 'not in its range')
    return value + 0
  }
}
export const flag: Field<boolean> = (value) => {
  check(typeof value === 'boolean', 'not a flag')
  return value
}
export function text<T extends string = string>(maxLength: number): Field<T> {
  return (value) => {
    check(typeof value === 'string' && value.length <= maxLength, 'not a text')
    return value as T
  }
}
export function bytes(maxLength: number): Field<Uint8Array> {
  return (value) => {
    check(value instanceof Uint8Array && value.length <= maxLength, 'not bytes')
    return value
  }
}
export function list<T>(field: Field<T>, maxLength: number): Field<T[]> {
  return (value) => {
    check(Array.isArray(value) && value.length <= maxLength, 'not a list')
    return value.map(field)
  }
}
export function pair<A, B>(first: Field<A>, second: Field<B>): Field<[A, B]> {
  return (value) => {
    check(Array.isArray(value) && value.length === 2, 'not a pair')
    return [first(value[0]), second(value[1])]
  }
}
export function oneOf<T extends string>(...choices: T[]): Field<T> {
  return (value) => {
    check(choices.includes(value as T), 'not one of the choices')
    return value as T
  }
}
export function record<F extends Fields>(fields: F): Field<Body<Shape<F>>> {
  return (value) => {
    check(typeof value === 'object' && value !== null, 'not a record')
    const result: Record<string, unknown> = {}
    for (const name in fields) result[name] = (fields[name] as Field<unknown>)((value as Record<string, unknown>)[name])
    return result as Body<Shape<F>>
  }
}
/** Also checks what the type of a value does not say. */
export function where<T>(field: Field<T>, holds: (value: T) => boolean, what: string): Field<T> {
  return (value) => {
    const read = field(value)
    check(holds(read), what)
    return read
  }
}
/** null on the wire stands for undefined. */
export function optional<T>(field: Field<T>): Field<T | undefined> {
  return (value) => (value === null || value === undefined ? undefined : field(value))
}

export interface FrameHeader {
  /** Pairs a reply with its request; 0 for messages that want no reply. */
  id: number
  incarnation: number
  /** The sender's clock at sending, in its own milliseconds. */
  sentAt: number
  /** Milliseconds after which the message is worth nothing to its sender. */
  ttl: number
}

const HEADER_LENGTH = 5

export function encodeFrame(declared: Shape, header: FrameHeader, body: Record<string, unknown>): Uint8Array {
  const frame: unknown[] = [declared.code, header.id, header.incarnation, header.sentAt, header.ttl]
  for (const name in declared.fields) frame.push(body[name] ?? null)
  return encodeMessagePack(frame)
}

/** @throws MalformedError for anything that is not a frame of one of `shapes` (by code). */
export function decodeFrame(
  shapes: ReadonlyMap<number, { type: string; shape: Shape }>,
  frame: Uint8Array,
): { header: FrameHeader; message: { type: string } & Record<string, unknown> } {
  const wire = decodeOrThrow(frame)
  check(Array.isArray(wire), 'not a frame')
  const declared = shapes.get(wire[0] as number)
  check(declared !== undefined, 'a message of an unknown kind')
  const header = { id: count(wire[1]), incarnation: count(wire[2]), sentAt: real(wire[3]), ttl: real(wire[4]) }
  const message: { type: string } & Record<string, unknown> = { type: declared.type }
  let at = HEADER_LENGTH
  // Fields that a newer peer appends are ignored; fields that an older one lacks must be optional.
  for (const name in declared.shape.fields) message[name] = (declared.shape.fields[name] as Field<unknown>)(wire[at++])
  return { header, message }
}
