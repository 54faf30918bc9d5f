/** Contexts as applications keep them, and give them back. */
import { expect, test } from 'vitest'
import { type ActorId, storeKey } from '../../src/core/ids.js'
import { EMPTY_CONTEXT, withDot } from '../../src/core/versions/context.js'
import { encodeToken } from '../../src/core/versions/token.js'
import { readContext } from '../../src/store/entry.js'
import { ContextError } from '../../src/store/errors.js'

const KEY = storeKey(3, 'bucket', 'key')
const context = withDot(EMPTY_CONTEXT, { actor: 'node_a____.AAAAAAAA' as ActorId, counter: 7 })
const token = encodeToken('room', KEY, context)
const padded = new Uint8Array([9, ...token, 9])

test.each<[form: string, given: unknown]>([
  ['bytes', token],
  ['a view of them', new DataView(padded.buffer, 1, token.length)],
  ['signed bytes', new Int8Array(token)],
  ['a buffer', token.slice().buffer],
  ['an array', [...token]],
  ['what JSON makes of an array', JSON.parse(JSON.stringify([...token]))],
  // It was refused, though what an application stores as JSON is this.
  ['what JSON makes of bytes', JSON.parse(JSON.stringify(token))],
])('a context may come back as %s', (_, given) => {
  expect(readContext('room', KEY, given)).toEqual(context)
})

function transferred(bytes: Uint8Array): Uint8Array {
  structuredClone(bytes, { transfer: [bytes.buffer as ArrayBuffer] })
  return bytes
}

test.each<[form: string, given: unknown]>([
  ['nothing', undefined],
  ['a text', 'context'],
  ['an empty object', {}],
  ['an object of anything else', { ...token, length: token.length }],
  ['numbers that are no bytes', [...token].map((byte) => byte + 256)],
  ['half of the bytes', token.slice(token.length / 2)],
  ['bytes that were transferred', transferred(token.slice())],
])('%s is no context', (_, given) => {
  expect(() => readContext('room', KEY, given)).toThrow(ContextError)
})
