/**
 * The tab's side of signaling: one WebSocket per server, all of them at once, each reconnecting by itself. Tells who is
 * present in the room and carries opaque messages to them, sealed and opened by hooks. Relied on by the mesh; relies on
 * the protocol of `signaling/protocol.ts`.
 *
 * Invariant: a lost connection changes nothing that is known. Presence is corrected when a server answers again, so a
 * dead server does not make peers disappear. And whatever a server sends, it can neither throw here nor fill the memory.
 */
import { type Refusal, type ServerMessage, closeCodes } from '../../signaling/protocol.js'
import { type NodeId, isId } from '../core/ids.js'

const FIRST_DELAY_MS = 500
const MAX_DELAY_MS = 30_000
/** A connection that lived so long was a good one: the next back-off starts from the beginning. */
const GOOD_AFTER_MS = 5000
const REPLACED_DELAY_MS = 3000
/** Characters of what a server says. */
const MAX_TOLD = 200
/** In a row, at a server that has never answered: within a few seconds. */
const SUSPICIOUS_FAILURES = 4
const CONNECT_TIMEOUT_MS = 10_000
const FORMER_MS = 3000
/** What a close says that followed an error (RFC 6455, 7.1.5). */
const ABNORMAL = 1006
/** How long what was said last may take to be sealed: until then who closes counts as present. */
const SEALED_WITHIN_MS = 1000
/** A socket is open for as long as nobody tells it otherwise: a proxy that forgets its connections, say, does not. */
const QUIET_MS = 30_000
/** How long a server has to answer that it is there. */
const ANSWER_MS = 5000
/** Several times the servers' default for a room: each is looked at whenever any of them comes or goes. */
const MAX_PRESENT = 1000

export interface SignalingHandlers {
  /** The node is in the room; called again when it comes with a new connection. */
  onPresent(node: NodeId): void
  onAbsent(node: NodeId): void
  /** With several servers, copies of a message may come on several ways. */
  onMessage(from: NodeId, payload: unknown): void
  /** A server answered the join: now is a good moment for what failed before. */
  onOpen(): void
}

/** What the mesh needs of signaling. */
export interface Signaling {
  start(handlers: SignalingHandlers): void
  /** True while a server that answers says that the node is in the room. */
  reaches(node: NodeId): boolean
  /** Does nothing for a node that is not reached; promises nothing for one that is. */
  send(to: NodeId, payload: unknown): void
  /** Connects at once where it waits for a back-off. */
  wake(): void
  close(): void
}

export interface SignalingClientOptions {
  /** WebSocket URLs; null never connects. */
  urls: string | readonly string[] | null
  /** The room's name as the server may see it. */
  room: string
  self: NodeId
  /** Seals a message for one peer; what it returns is all that a server sees. Default: JSON. */
  seal?: (payload: unknown, to: NodeId) => string | Promise<string>
  /** Undoes `seal`; throws or rejects for what was not sealed by a peer of this room. */
  open?: (sealed: string, from: NodeId) => unknown
  /** What keeps a server from being used. */
  onWarning?: (message: string) => void
  /** One message that could not be sealed or opened. Anybody in the room can send such. */
  onUnreadable?: (message: string) => void
  /** How often a server is asked whether it still answers, in milliseconds. */
  quietMs?: number
  /** For platforms without a global one. */
  WebSocket?: typeof WebSocket
}

interface Server {
  readonly url: string
  /** The connection whose join was answered, and one that is to take its place. */
  socket: WebSocket | undefined
  next: WebSocket | undefined
  joinedAt: number
  /** When anything came from it last. */
  heardAt: number
  /** Until it is asked whether it is there, or has to have answered. */
  silence: ReturnType<typeof setTimeout> | undefined
  /** It has answered once, if only with a refusal. */
  known: boolean
  present: Set<NodeId>
  failures: number
  timer: ReturnType<typeof setTimeout> | undefined
}

/** A message of a server, checked. */
type FromServer =
  | { type: 'peers'; ids: Set<NodeId> }
  | { type: 'joined' | 'left'; id: NodeId }
  | { type: 'signal'; from: NodeId; data: string }
  | { type: 'error'; code: Refusal; message: string }

/** What the server says, as far as it makes sense; undefined for anything else. */
function read(sent: unknown): FromServer | undefined {
  if (typeof sent !== 'object' || sent === null) return undefined
  const { type, ids, id, from, data, code, message } = sent as { type: ServerMessage['type'] } & Record<string, unknown>
  switch (type) {
    case 'peers':
      return Array.isArray(ids) ? { type, ids: new Set(ids.filter(isId)) } : undefined
    case 'joined':
    case 'left':
      return isId(id) ? { type, id } : undefined
    case 'signal':
      return isId(from) && typeof data === 'string' ? { type, from, data } : undefined
    case 'error':
      return typeof message === 'string' ? { type, code: code as Refusal, message } : undefined
  }
}

/** @throws TypeError for a URL that is none */
export function createSignalingClient(options: SignalingClientOptions): Signaling {
  const { room, self, WebSocket: Socket = globalThis.WebSocket } = options
  const { onWarning = () => {}, onUnreadable = () => {}, quietMs = QUIET_MS } = options
  const seal = options.seal ?? ((payload) => JSON.stringify(payload))
  const open = options.open ?? ((sealed) => JSON.parse(sealed))
  const servers = [...new Set([options.urls ?? []].flat())].map(
    (url): Server => ({
      url: new URL(url).href.replace(/^http/, 'ws'),
      socket: undefined,
      next: undefined,
      joinedAt: Number.POSITIVE_INFINITY,
      heardAt: 0,
      silence: undefined,
      known: false,
      present: new Set(),
      failures: 0,
      timer: undefined,
    }),
  )
  let handlers: SignalingHandlers | undefined
  // Sealing may take its time, but messages stay in the order in which they were sent and received.
  let sending = Promise.resolve()
  let receiving = Promise.resolve()

  const isPresent = (node: NodeId) => servers.some((server) => server.present.has(node))

  const carriers = (node: NodeId) =>
    servers.filter((server) => server.socket?.readyState === 1 && server.present.has(node))

  function appears(server: Server, node: NodeId): void {
    if (node === self || (server.present.size >= MAX_PRESENT && !server.present.has(node))) return
    server.present.add(node)
    handlers?.onPresent(node)
  }

  function disappears(server: Server, node: NodeId): void {
    if (server.present.delete(node) && !isPresent(node)) handlers?.onAbsent(node)
  }

  function receive(server: Server, message: FromServer): void {
    switch (message.type) {
      case 'peers': {
        const { ids } = message
        for (const node of [...server.present]) if (!ids.has(node)) disappears(server, node)
        handlers?.onOpen()
        for (const node of ids) appears(server, node)
        break
      }
      case 'joined':
        appears(server, message.id)
        return
      case 'left':
        disappears(server, message.id)
        return
      case 'signal': {
        const { from, data } = message
        receiving = receiving
          .then(() => open(data, from))
          .then((payload) => handlers?.onMessage(from, payload))
          .catch((error) => onUnreadable(`a signaling message of ${from} could not be opened: ${error}`))
        break
      }
      case 'error':
        // Our own newer connection is what replaces this one.
        if (message.code === 'replaced' && server.next) return
        onWarning(`the signaling server ${server.url} closes the connection: ${message.message.slice(0, MAX_TOLD)}`)
    }
  }

  /** Opens a connection; a former one serves until the server has answered the new one's join. */
  function connect(server: Server): void {
    clearTimeout(server.timer)
    server.next?.close()
    let socket: WebSocket
    try {
      socket = new Socket(server.url)
    } catch (error) {
      // A page under https may not connect to ws:, and Firefox throws as well for what a Content Security Policy forbids.
      onWarning(`no connection to the signaling server ${server.url} can be made: ${error}`)
      return
    }
    server.next = socket
    server.timer = setTimeout(() => {
      // Whoever lets it hang for so long, as a server of pages does that knows nothing of signaling, is as suspicious as one that fails often.
      server.failures = Math.max(server.failures, SUSPICIOUS_FAILURES - 1)
      socket.close()
    }, CONNECT_TIMEOUT_MS)
    socket.onopen = () => socket.send(JSON.stringify({ type: 'join', room, id: self }))
    socket.onmessage = ({ data }) => {
      if (!handlers) return
      let message: FromServer | undefined
      try {
        message = read(JSON.parse(data))
      } catch {
        onWarning(`the signaling server ${server.url} sent something that is not JSON`)
        return
      }
      if (!message) return
      server.known = true
      if (socket === server.socket) server.heardAt = performance.now()
      // The answer to our asking.
      if (message.type === 'signal' && message.from === self) return
      if (message.type === 'peers' && socket === server.next) joined(server, socket)
      // What was on its way to the former connection still counts, but for presence.
      const isRefused = message.type === 'error' && socket === server.next
      if (socket === server.socket || message.type === 'signal' || isRefused) receive(server, message)
    }
    const ended = (code: number) => {
      if (!handlers) return
      const wasNext = socket === server.next
      if (socket === server.socket) server.socket = undefined
      else if (wasNext) server.next = undefined
      else return
      // The former one may look open for ever, and be dead: what was to take its place is tried again.
      if (!server.next && (!server.socket || wasNext)) reconnect(server, code)
    }
    // A close follows, but not everywhere: Chromium tells of what a Content Security Policy forbids by an error alone.
    socket.onerror = () => ended(ABNORMAL)
    socket.onclose = ({ code }) => ended(code)
  }

  function joined(server: Server, socket: WebSocket): void {
    clearTimeout(server.timer)
    server.joinedAt = performance.now()
    server.next = undefined
    const former = server.socket
    server.socket = socket
    // The server closes the former one itself, unless it is dead; until then messages may come on it.
    if (former) setTimeout(() => former.close(), FORMER_MS)
    listen(server, socket)
  }

  /** Asks now and then by a message to ourselves, and makes another connection where it does not come back. */
  function listen(server: Server, socket: WebSocket): void {
    clearTimeout(server.silence)
    server.silence = setTimeout(() => {
      if (socket !== server.socket) return
      const askedAt = performance.now()
      socket.send(JSON.stringify({ type: 'send', to: self, data: '' }))
      server.silence = setTimeout(() => {
        if (socket !== server.socket) return
        if (server.heardAt < askedAt && !server.next) connect(server)
        listen(server, socket)
      }, ANSWER_MS)
    }, quietMs)
  }

  function reconnect(server: Server, code: number): void {
    clearTimeout(server.timer)
    if (performance.now() - server.joinedAt > GOOD_AFTER_MS) server.failures = 0
    server.joinedAt = Number.POSITIVE_INFINITY
    const limit = Math.min(MAX_DELAY_MS, FIRST_DELAY_MS * 2 ** server.failures++)
    // Somebody came with our node id. With a newer page of this tab there shall be no fight; but it may have been anybody, and be gone already.
    const least = code === closeCodes.replaced ? Math.min(MAX_DELAY_MS, REPLACED_DELAY_MS * server.failures) : 0
    server.timer = setTimeout(connect, least + Math.random() * limit, server)
    // A tab without a network knows why; a wrong address would look like that of an empty room.
    if (
      servers.every(({ known }) => !known) &&
      server.failures === SUSPICIOUS_FAILURES &&
      globalThis.navigator?.onLine !== false
    )
      onWarning(
        `the signaling server ${server.url} does not answer; is the address right, and does this page's security policy allow it?`,
      )
  }

  // Sockets that look open may have died with the former network; the server lets the newer connection win.
  const online = () => servers.forEach(connect)

  return {
    start(given) {
      handlers = given
      online()
      globalThis.addEventListener?.('online', online)
    },
    reaches: (node) => carriers(node).length > 0,
    send(to, payload) {
      if (carriers(to).length === 0) return
      sending = sending
        .then(() => seal(payload, to))
        .then((data) => {
          const text = JSON.stringify({ type: 'send', to, data })
          for (const { socket } of carriers(to)) socket?.send(text)
        })
        .catch((error) => onUnreadable(`a signaling message for ${to} could not be sealed: ${error}`))
    },
    wake() {
      for (const server of servers) if (!server.socket && !server.next) connect(server)
    },
    close() {
      handlers = undefined
      globalThis.removeEventListener?.('online', online)
      for (const server of servers) {
        clearTimeout(server.timer)
        clearTimeout(server.silence)
        server.next?.close()
        server.next = undefined
      }
      const end = () => {
        for (const server of servers) server.socket?.close()
      }
      // What was said last, a goodbye perhaps, is still being sealed.
      void sending.then(end)
      setTimeout(end, SEALED_WITHIN_MS)
    },
  }
}
