/**
 * One client's WebSocket: reads its messages within the limits, joins it to its room, keeps it alive by pings and closes
 * it with a reason. Relies on rooms, protocol and limits; relied on by the server only.
 *
 * Invariant: whatever a client sends, its own connection is all that it can break.
 */
import type { RawData, WebSocket } from 'ws'
import { type SignalingLimits, rateLimit } from './limits.js'
import { type Refusal, type ServerMessage, closeCodes, parseClientMessage } from './protocol.js'
import type { Member, Rooms } from './rooms.js'

/** How long a client has to answer our close frame before its socket is cut. */
const CLOSE_GRACE_MS = 1000
/** How long a replaced connection may go on to send. */
const REPLACED_GRACE_MS = 1000

/** Tells the client why, in a frame and in the close code, and makes sure that the socket really goes away. */
export function refuse(socket: WebSocket, code: Refusal, message: string): void {
  if (socket.readyState !== socket.OPEN) return
  socket.send(JSON.stringify({ type: 'error', code, message } satisfies ServerMessage))
  // The close frame holds 123 bytes of reason at most; the full text went ahead.
  socket.close(closeCodes[code], code)
  setTimeout(() => socket.terminate(), CLOSE_GRACE_MS).unref()
}

export function serve(socket: WebSocket, rooms: Rooms, limits: SignalingLimits): void {
  const mayRead = rateLimit(limits.messagesPerSecond, limits.messageBurst)
  let room: string | undefined
  let member: Member | undefined
  let heardAt = performance.now()
  const connectedAt = heardAt

  const heartbeat = setInterval(() => {
    const now = performance.now()
    if (now - heardAt > limits.idleMs) refuse(socket, 'idle', `nothing was heard for ${limits.idleMs} ms`)
    else if (!member && now - connectedAt > limits.idleMs)
      refuse(socket, 'idle', `no room was joined within ${limits.idleMs} ms`)
    else if (socket.readyState === socket.OPEN) socket.ping()
  }, limits.heartbeatMs)

  function join(toRoom: string, id: string): void {
    if (member) {
      refuse(socket, 'malformed', 'this connection has joined a room already')
      return
    }
    const newcomer: Member = {
      id,
      deliver(message) {
        if (socket.readyState !== socket.OPEN) return
        // Without a reason: it would wait behind all the rest that this client does not read.
        if (socket.bufferedAmount > limits.backlogBytes) return socket.terminate()
        socket.send(JSON.stringify(message))
      },
      replaced() {
        // Not at once: the same page may have opened the newer connection, and still speaks on this one.
        setTimeout(refuse, REPLACED_GRACE_MS, socket, 'replaced', `node ${id} has joined again with a newer connection`)
      },
    }
    const refusal = rooms.join(toRoom, newcomer)
    if (refusal) {
      const full =
        refusal === 'room-full' ? `the room has ${limits.peersPerRoom} peers` : `the server has ${limits.rooms} rooms`
      refuse(socket, refusal, `${full}, and takes no more`)
      return
    }
    room = toRoom
    member = newcomer
  }

  socket.on('message', (data: RawData, binary: boolean) => {
    heardAt = performance.now()
    // What was under way when the connection was refused is void.
    if (socket.readyState !== socket.OPEN) return
    const bytes = data as Buffer
    if (bytes.length > limits.messageBytes) {
      return refuse(
        socket,
        'too-large',
        `a message of ${bytes.length} bytes; at most ${limits.messageBytes} are accepted`,
      )
    }
    if (!mayRead()) {
      return refuse(
        socket,
        'rate',
        `more than ${limits.messagesPerSecond} messages a second (${limits.messageBurst} at once)`,
      )
    }
    const message = binary
      ? { type: 'malformed' as const, why: 'a binary frame' }
      : parseClientMessage(bytes.toString('utf8'))
    if (message.type === 'malformed') refuse(socket, 'malformed', message.why)
    else if (message.type === 'join') join(message.room, message.id)
    else if (room !== undefined && member) rooms.relay(room, member, message.to, message.data)
    else refuse(socket, 'malformed', 'the first message must be a join')
  })
  socket.on('pong', () => {
    heardAt = performance.now()
  })
  // A protocol error or a reset; 'close' follows and cleans up.
  socket.on('error', () => socket.terminate())
  socket.on('close', () => {
    clearInterval(heartbeat)
    if (room !== undefined && member) rooms.leave(room, member)
  })
}
