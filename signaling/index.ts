/**
 * The signaling server: introduces the tabs of a room to each other and relays their offers, answers and
 * candidates until they are connected. No data passes it, it stores nothing, and a ring goes on without it (docs/design.md §10).
 * It mounts on any `node:http` server by its upgrade event and leaves other paths to others, so it can share a port with
 * a page or a development server.
 */
import type { Server as HttpServer, IncomingMessage } from 'node:http'
import type { Http2SecureServer } from 'node:http2'
import type { Server as HttpsServer } from 'node:https'
import type { Duplex } from 'node:stream'
import { WebSocketServer } from 'ws'
import { refuse, serve } from './connection.js'
import { type SignalingLimits, checkLimits } from './limits.js'
import { createRooms } from './rooms.js'

export { type SignalingLimits, defaultLimits } from './limits.js'
export { type ClientMessage, type Refusal, type ServerMessage, closeCodes } from './protocol.js'

/** What is left out, or undefined, has its default. */
type Given<T> = { [K in keyof T]?: T[K] | undefined }

export interface SignalingOptions extends Given<SignalingLimits> {
  /** Default '/signal'. Upgrade requests for other paths are left to other listeners; where there are none, they are answered with 404. */
  path?: string | undefined
  /** Origins of pages that may connect, like 'https://example.org'; default: all. */
  allowedOrigins?: readonly string[] | undefined
  /** The address of a client is what the nearest proxy wrote into X-Forwarded-For. Only behind a proxy that sets it. */
  trustProxy?: boolean | undefined
}

export interface Signaling {
  /** Says goodbye to all clients and stops listening to the HTTP server, which goes on. */
  close(): Promise<void>
}

/** Listeners of signaling servers, with their paths: several may share one HTTP server. */
const pathsOf = new WeakMap<object, string>()

/**
 * A server of HTTP/2 has to take HTTP/1 as well (`allowHTTP1`), as Vite's does: WebSockets come that way.
 * @throws TypeError for what is no HTTP server, for an option which makes no sense, with its name, or for a path that another one has on this server
 */
export function attachSignaling(
  server: HttpServer | HttpsServer | Http2SecureServer,
  options: SignalingOptions = {},
): Signaling {
  // An application of Express has the same events, and none of them ever comes.
  if (typeof server?.address !== 'function')
    throw new TypeError('give an HTTP server, like that of createServer() or, with Express, of app.listen()')
  if (typeof options !== 'object' || options === null) throw new TypeError('options must be an object')
  const { path = '/signal', allowedOrigins, trustProxy = false, ...given } = options
  if (typeof path !== 'string' || !/^\/[^?#]*$/.test(path))
    throw new TypeError(`path must begin with '/' and have no part behind a ? or #, and it is ${JSON.stringify(path)}`)
  if (allowedOrigins !== undefined && !Array.isArray(allowedOrigins))
    throw new TypeError(`allowedOrigins must be a list like ['https://example.org']`)
  // Any other text is what no page sends: nobody could connect.
  const wrong = allowedOrigins?.find((origin) => !isOrigin(origin))
  if (wrong !== undefined)
    throw new TypeError(`allowedOrigins holds ${JSON.stringify(wrong)}, and an origin is like 'https://example.org'`)
  if (typeof trustProxy !== 'boolean') throw new TypeError('trustProxy must be true or false')
  // Both would answer the same handshake, and the second one's failure would end the process.
  if (server.listeners('upgrade').some((listener) => pathsOf.get(listener) === path))
    throw new TypeError(`path is ${path}, where this HTTP server has a signaling server already; close that one first`)
  const limits = checkLimits(given)
  const rooms = createRooms(limits)
  const perAddress = new Map<string, number>()
  // A message somewhat over the limit is answered with a reason; ws itself cuts what is far over it.
  const sockets = new WebSocketServer({ noServer: true, maxPayload: limits.messageBytes * 4, perMessageDeflate: false })

  function addressOf(request: IncomingMessage): string {
    const forwarded = trustProxy
      ? String(request.headers['x-forwarded-for'] ?? '')
          .split(',')
          .at(-1)
          ?.trim()
      : undefined
    return forwarded || (request.socket.remoteAddress ?? '')
  }

  function upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    if (pathOf(request) !== path) {
      // With nobody who takes it, such a client would hang. What is for none of ours the first of them answers, where all listeners are ours.
      const listeners = server.listeners('upgrade')
      const paths = listeners.map((listener) => pathsOf.get(listener))
      if (listeners[0] === upgrade && !paths.includes(undefined) && !paths.includes(pathOf(request))) {
        socket.on('error', () => socket.destroy())
        socket.end('HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n', () => socket.destroy())
      }
      return
    }
    sockets.handleUpgrade(request, socket, head, (client) => {
      const { origin } = request.headers
      if (allowedOrigins && (origin === undefined || !allowedOrigins.includes(origin))) {
        client.on('error', () => client.terminate())
        return refuse(client, 'origin', `pages of ${origin ?? 'an unknown origin'} may not use this server`)
      }
      const address = addressOf(request)
      const open = (perAddress.get(address) ?? 0) + 1
      perAddress.set(address, open)
      client.on('close', () => {
        const left = (perAddress.get(address) ?? 1) - 1
        if (left > 0) perAddress.set(address, left)
        else perAddress.delete(address)
      })
      if (open > limits.connectionsPerAddress) {
        client.on('error', () => client.terminate())
        return refuse(client, 'address-full', `at most ${limits.connectionsPerAddress} connections from one address`)
      }
      serve(client, rooms, limits)
    })
  }

  pathsOf.set(upgrade, path)
  server.on('upgrade', upgrade)
  return {
    async close() {
      server.off('upgrade', upgrade)
      const open = [...sockets.clients]
      const closed = open.map((client) => new Promise((resolve) => client.once('close', resolve)))
      for (const client of open) client.close(1001, 'the server closes')
      const impatient = setTimeout(() => {
        for (const client of open) client.terminate()
      }, 1000)
      await Promise.all(closed)
      clearTimeout(impatient)
    },
  }
}

function pathOf(request: IncomingMessage): string {
  return (request.url ?? '').split('?', 1)[0] as string
}

/** Whether browsers send such a text as a page's origin: 'null' for those that have none, and in apps other protocols than http. */
function isOrigin(given: unknown): boolean {
  if (given === 'null') return true
  if (typeof given !== 'string' || !/^[a-z][a-z0-9+.-]*:\/\/[^/?#]*$/.test(given) || !URL.canParse(given)) return false
  const { origin } = new URL(given)
  return origin === given || origin === 'null'
}
