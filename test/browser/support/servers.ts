/** The two servers of a test world. They have a port each, so that signaling can die and come back alone. */
import { type Server, createServer } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { serveFolder } from '../../../scripts/static.mjs'
import { type SignalingOptions, attachSignaling } from '../../../signaling/index.js'

const HOST = '127.0.0.1'

export interface PageServer {
  url: string
  close(): Promise<void>
}

export async function servePage(folder: string): Promise<PageServer> {
  const server = serveFolder(folder)
  const port = await listen(server, 0)
  return { url: `http://${HOST}:${port}/`, close: () => end(server) }
}

/** A signaling server that a test can kill and start again, always on the same port. */
export class TestSignaling {
  url = ''
  #options: SignalingOptions
  #port = 0
  #server: Server | undefined
  #signaling: ReturnType<typeof attachSignaling> | undefined
  #sockets = new Set<Socket>()

  constructor(options: SignalingOptions = {}) {
    this.#options = options
  }

  get running(): boolean {
    return this.#server !== undefined
  }

  /** Forgets all rooms, as a restarted server does. Nothing happens when it is running. */
  async start(): Promise<void> {
    if (this.#server) return
    const server = createServer((_request, response) => response.writeHead(404).end())
    server.on('connection', (socket) => {
      this.#sockets.add(socket)
      socket.on('close', () => this.#sockets.delete(socket))
    })
    this.#server = server
    this.#signaling = attachSignaling(server, { path: '/signal', ...this.#options })
    this.#port = await listen(server, this.#port)
    this.url = `ws://${HOST}:${this.#port}/signal`
  }

  /** Like a crash of the server: connections break without a goodbye, new ones are refused. */
  async kill(): Promise<void> {
    const server = this.#server
    if (!server) return
    this.#server = undefined
    const closed = end(server)
    for (const socket of this.#sockets) socket.destroy()
    await Promise.all([closed, this.#signaling?.close()])
  }

  /** Like a planned restart: clients are told before their connections end. */
  async close(): Promise<void> {
    const server = this.#server
    if (!server) return
    this.#server = undefined
    await this.#signaling?.close()
    await end(server)
  }
}

function listen(server: Server, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, HOST, () => resolve((server.address() as AddressInfo).port))
  })
}

function end(server: Server): Promise<void> {
  return new Promise((resolve, reject) => {
    server.close((error) => (error ? reject(error) : resolve()))
    server.closeAllConnections()
  })
}
