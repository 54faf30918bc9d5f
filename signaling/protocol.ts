/**
 * What clients and the signaling server say to each other: JSON text frames, one message each. The server reads nothing
 * but the address on the envelope; `data` is opaque to it. Relied on by the server and,
 * for its types and close codes, by the browser's client.
 */

export type ClientMessage =
  /** The first message of a connection, and the only one of its kind. */
  | { type: 'join'; room: string; id: string }
  /** A message to oneself comes back, which tells that the server is there. */
  | { type: 'send'; to: string; data: string }

export type ServerMessage =
  /** The answer to `join`: who is in the room besides the new peer. */
  | { type: 'peers'; ids: string[] }
  /** Also sent when a peer that was present comes again with a new connection. */
  | { type: 'joined'; id: string }
  /** Also the answer to a message for a peer that is not here. */
  | { type: 'left'; id: string }
  | { type: 'signal'; from: string; data: string }
  /** The last message of a connection that the server closes for a reason; its close code says the same. */
  | { type: 'error'; code: Refusal; message: string }

/** Why the server closes a connection, with the WebSocket close code. */
export const closeCodes = {
  malformed: 4400,
  origin: 4403,
  idle: 4408,
  /** The same node has joined the room with a newer connection. Reconnecting at once would throw that one out in turn. */
  replaced: 4409,
  'too-large': 4413,
  rate: 4429,
  'address-full': 4430,
  'room-full': 4431,
  'rooms-full': 4432,
} as const

export type Refusal = keyof typeof closeCodes

const MAX_ROOM_LENGTH = 256
const MAX_ID_LENGTH = 64

/** A client's message, or what is wrong with it. Never throws. */
export function parseClientMessage(text: string): ClientMessage | { type: 'malformed'; why: string } {
  let message: unknown
  try {
    message = JSON.parse(text)
  } catch {
    return { type: 'malformed', why: 'not JSON' }
  }
  if (typeof message !== 'object' || message === null) return { type: 'malformed', why: 'not an object' }
  const { type, room, id, to, data } = message as Record<string, unknown>
  if (type === 'join') {
    if (!isName(room, MAX_ROOM_LENGTH))
      return { type: 'malformed', why: `room must be a string of 1 to ${MAX_ROOM_LENGTH} characters` }
    if (!isName(id, MAX_ID_LENGTH))
      return { type: 'malformed', why: `id must be a string of 1 to ${MAX_ID_LENGTH} characters` }
    return { type, room, id }
  }
  if (type === 'send') {
    if (!isName(to, MAX_ID_LENGTH))
      return { type: 'malformed', why: `to must be a string of 1 to ${MAX_ID_LENGTH} characters` }
    if (typeof data !== 'string') return { type: 'malformed', why: 'data must be a string' }
    return { type, to, data }
  }
  return { type: 'malformed', why: "type must be 'join' or 'send'" }
}

function isName(value: unknown, maxLength: number): value is string {
  return typeof value === 'string' && value.length > 0 && value.length <= maxLength
}
