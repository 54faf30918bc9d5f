/**
 * The causal context as applications hold it: opaque bytes that they may store and bring back much later. They are bound to
 * room and key and carry a checksum, so that a context of another key, or a damaged one, is refused instead of
 * covering versions that it never saw.
 */
import { sha256 } from '@noble/hashes/sha2.js'
import { concatBytes, utf8ToBytes } from '@noble/hashes/utils.js'
import { type CausalContext, EMPTY_CONTEXT, isEmpty } from './context.js'
import { MalformedError, decodeContext, encodeContext } from './encoding.js'

const VERSION = 1
const TAG_BYTES = 8

/** Layout: version (1), tag of room, key and the rest (8), encoded context. The tag is a hash over all three. */
export function encodeToken(room: string, key: string, context: CausalContext): Uint8Array {
  const body = isEmpty(context) ? new Uint8Array(0) : encodeContext(context)
  return concatBytes(Uint8Array.of(VERSION), tagOf(room, key, body), body)
}

/** @throws MalformedError when it belongs elsewhere or is damaged. */
export function decodeToken(room: string, key: string, token: Uint8Array): CausalContext {
  if (token.length < 1 + TAG_BYTES || token[0] !== VERSION)
    throw new MalformedError('not a context of this version of tabring')
  const body = token.subarray(1 + TAG_BYTES)
  const tag = tagOf(room, key, body)
  if (!tag.every((byte, i) => byte === token[1 + i])) throw new MalformedError('of another key or room, or damaged')
  return body.length === 0 ? EMPTY_CONTEXT : decodeContext(body)
}

function tagOf(room: string, key: string, body: Uint8Array): Uint8Array {
  return sha256(concatBytes(utf8ToBytes(`${room}\n${key}\n`), body)).subarray(0, TAG_BYTES)
}
