/** The tab's side of signaling against real servers: several at once, their deaths and returns, sealed messages. */
import { type Server, createServer } from 'node:http'
import { type AddressInfo, type Socket, connect, createServer as createTcpServer } from 'node:net'
import { afterEach, expect, onTestFinished, test, vi } from 'vitest'
import { WebSocket, WebSocketServer } from 'ws'
import { type Signaling as Attached, type SignalingOptions, attachSignaling } from '../../signaling/index.js'
import {
  type Signaling,
  type SignalingClientOptions,
  createSignalingClient,
} from '../../src/browser/signaling-client.js'
import type { NodeId } from '../../src/core/ids.js'

const [A, B] = ['a', 'b'] as [NodeId, NodeId]

/** A signaling server that can be killed and started again on its port. */
class TestServer {
  #http: Server | undefined
  #attached: Attached | undefined
  #sockets = new Set<Socket>()
  #port = 0
  /** New connections break, and those that are open live on. */
  refusesUpgrades = false
  refused = 0
  constructor(private readonly options?: SignalingOptions) {}
  get url(): string {
    return `ws://127.0.0.1:${this.#port}/signal`
  }
  async start(): Promise<this> {
    this.#http = createServer().on('connection', (socket) => {
      this.#sockets.add(socket)
      if (!this.refusesUpgrades) return
      this.refused++
      socket.destroy()
    })
    this.#attached = attachSignaling(this.#http, this.options)
    await new Promise<void>((resolve) => this.#http?.listen(this.#port, '127.0.0.1', resolve))
    this.#port = (this.#http.address() as AddressInfo).port
    return this
  }
  async kill(): Promise<void> {
    const closed = new Promise((resolve) => this.#http?.close(resolve))
    for (const socket of this.#sockets) socket.destroy()
    this.#sockets.clear()
    await Promise.all([closed, this.#attached?.close()])
  }
}

/** What is between a tab and its server, and may forget connections without telling either. */
class SilentProxy {
  connections = 0
  readonly #sockets: Socket[] = []
  readonly #server = createTcpServer((near) => {
    const far = connect(this.port, '127.0.0.1')
    this.connections++
    this.#sockets.push(near, far)
    for (const socket of [near, far]) socket.on('error', () => {})
    near.pipe(far).pipe(near)
  })
  private constructor(private readonly port: number) {}
  static async to(url: string): Promise<SilentProxy> {
    const proxy = new SilentProxy(Number(new URL(url).port))
    await new Promise<void>((resolve) => proxy.#server.listen(0, '127.0.0.1', resolve))
    return proxy
  }
  get url(): string {
    return `ws://127.0.0.1:${(this.#server.address() as AddressInfo).port}/signal`
  }
  /** From now on nothing comes through on the connections that there are. */
  swallow(): void {
    for (const socket of this.#sockets) socket.unpipe().resume()
  }
  close(): void {
    for (const socket of this.#sockets) socket.destroy()
    this.#server.close()
  }
}

const ends: (() => unknown)[] = []
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end()
})

async function server(options?: SignalingOptions): Promise<TestServer> {
  const started = await new TestServer(options).start()
  ends.push(() => started.kill())
  return started
}

interface Seen {
  client: Signaling
  events: string[]
  warnings: string[]
}

function client(self: NodeId, urls: SignalingClientOptions['urls'], more: Partial<SignalingClientOptions> = {}): Seen {
  const [events, warnings]: [string[], string[]] = [[], []]
  const made = createSignalingClient({
    urls,
    room: 'room',
    self,
    onWarning: (message) => warnings.push(message),
    onUnreadable: (message) => warnings.push(message),
    WebSocket: WebSocket as unknown as typeof globalThis.WebSocket,
    ...more,
  })
  made.start({
    onPresent: (node) => events.push(`present ${node}`),
    onAbsent: (node) => events.push(`absent ${node}`),
    onMessage: (from, payload) => events.push(`${from}: ${JSON.stringify(payload)}`),
    onOpen: () => events.push('open'),
  })
  ends.push(() => made.close())
  return { client: made, events, warnings }
}

test('peers see each other come, speak and go', async () => {
  const { url } = await server()
  const a = client(A, url)
  await expect.poll(() => a.events).toEqual(['open'])
  const b = client(B, url)
  await expect.poll(() => b.events).toEqual(['open', 'present a'])
  await expect.poll(() => a.client.reaches(B)).toBe(true)
  a.client.send(B, { n: 1 })
  a.client.send(B, { n: 2 })
  await expect.poll(() => b.events.slice(2)).toEqual(['a: {"n":1}', 'a: {"n":2}'])
  b.client.close()
  await expect.poll(() => a.events).toEqual(['open', 'present b', 'absent b'])
  expect(a.client.reaches(B)).toBe(false)
})

test('messages are sealed for one peer and opened in order, however long it takes', async () => {
  const { url } = await server()
  let waits = 50
  const a = client(A, url, {
    seal: async (payload, to) => {
      waits /= 2
      await new Promise((resolve) => setTimeout(resolve, waits))
      return `${to}!${payload}`
    },
  })
  const b = client(B, url, {
    open: async (sealed, from) => {
      if (sealed.includes('bad')) throw new Error('not ours')
      return `${from}>${sealed}`
    },
  })
  await expect.poll(() => a.client.reaches(B)).toBe(true)
  for (const text of ['one', 'bad', 'two']) a.client.send(B, text)
  await expect.poll(() => b.events.slice(-2)).toEqual(['a: "a>b!one"', 'a: "a>b!two"'])
  expect(b.warnings).toHaveLength(1)
})

// The connection was closed before the word was sealed: a page's goodbye never went by this way.
test('what is said before closing leaves first', async () => {
  const { url } = await server()
  const [a, b] = [client(A, url), client(B, url)]
  await expect.poll(() => a.client.reaches(B)).toBe(true)
  a.client.send(B, 'bye')
  a.client.close()
  await expect.poll(() => b.events.slice(-2)).toEqual(['a: "bye"', 'absent a'])
})

test('whoever closes is gone, whatever became of what was said last', async () => {
  const { url } = await server()
  const b = client(B, url)
  for (const seal of [() => Promise.reject(new Error('no key')), () => new Promise<string>(() => {})]) {
    const a = client(A, url, { seal })
    await expect.poll(() => a.client.reaches(B)).toBe(true)
    a.client.send(B, 'bye')
    a.client.close()
    await expect.poll(() => b.events.at(-1), { timeout: 5000 }).toBe('absent a')
    b.events.push('and again')
  }
}, 15_000)

test('a dead server makes nobody absent; when it is back, it is joined again', async () => {
  const only = await server()
  const [a, b] = [client(A, only.url), client(B, only.url)]
  await expect.poll(() => a.client.reaches(B) && b.client.reaches(A)).toBe(true)
  await only.kill()
  await expect.poll(() => a.client.reaches(B)).toBe(false)
  expect(a.events).not.toContain('absent b')
  await only.start()
  await expect.poll(() => a.client.reaches(B) && b.client.reaches(A), { timeout: 10_000 }).toBe(true)
}, 15_000)

test('who left the room while a server was away is absent when it is back', async () => {
  const only = await server()
  const [a, b] = [client(A, only.url), client(B, only.url)]
  await expect.poll(() => a.client.reaches(B)).toBe(true)
  await only.kill()
  b.client.close()
  await only.start()
  await expect.poll(() => a.events, { timeout: 10_000 }).toEqual(['open', 'present b', 'absent b', 'open'])
}, 15_000)

test('with several servers, a peer is absent only when all of them say so, and one of them may die', async () => {
  const [one, two] = [await server(), await server()]
  const a = client(A, [one.url, two.url, one.url])
  const b = client(B, [two.url, one.url])
  await expect.poll(() => a.events.filter((event) => event === 'present b').length).toBeGreaterThan(0)
  await expect.poll(() => a.events.filter((event) => event === 'open').length).toBe(2)
  await one.kill()
  await expect.poll(() => a.client.reaches(B)).toBe(true)
  a.client.send(B, 'still there')
  await expect.poll(() => b.events).toContain('a: "still there"')
  expect(a.events).not.toContain('absent b')
})

test('a newer connection of the same node takes over without a fight', async () => {
  const { url } = await server()
  const [old] = [client(A, url)]
  await expect.poll(() => old.events).toEqual(['open'])
  const young = client(A, url)
  await expect.poll(() => young.events).toEqual(['open'])
  await expect.poll(() => old.warnings.length).toBe(1)
  await new Promise((resolve) => setTimeout(resolve, 1500))
  expect(old.events).toEqual(['open'])
  expect(young.warnings).toEqual([])
})

test('no message is lost while a connection takes the place of the former one', async () => {
  const { url } = await server()
  const listeners: (() => void)[] = []
  const { addEventListener, removeEventListener } = globalThis
  Object.assign(globalThis, {
    addEventListener: (_type: string, listener: () => void) => listeners.push(listener),
    removeEventListener: () => {},
  })
  ends.push(() => Object.assign(globalThis, { addEventListener, removeEventListener }))
  const [a, b] = [client(A, url), client(B, url)]
  await expect.poll(() => a.client.reaches(B) && b.client.reaches(A)).toBe(true)
  for (let i = 0; i < 300; i++) {
    if (i % 60 === 30) for (const online of listeners) online()
    if (a.client.reaches(B)) a.client.send(B, i)
    else i--
    await new Promise((resolve) => setTimeout(resolve, 1))
  }
  const messages = () => b.events.filter((event) => event.startsWith('a: ')).map((event) => Number(event.slice(3)))
  await expect.poll(() => messages().length).toBe(300)
  expect([...a.warnings, ...b.warnings]).toEqual([])
})

// The first try on a new network often fails. The former connection looked open, as nothing said that it was dead, and so there was no second try.
test('a connection that fails to take the place of the former one is tried again', async () => {
  const only = await server()
  const listeners: (() => void)[] = []
  const { addEventListener, removeEventListener } = globalThis
  Object.assign(globalThis, {
    addEventListener: (_type: string, listener: () => void) => listeners.push(listener),
    removeEventListener: () => {},
  })
  ends.push(() => Object.assign(globalThis, { addEventListener, removeEventListener }))
  const { events } = client(A, only.url)
  await expect.poll(() => events).toEqual(['open'])
  only.refusesUpgrades = true
  for (const online of listeners) online()
  // The next tries may follow within milliseconds, so that looking for exactly one could come too late.
  await expect.poll(() => only.refused).toBeGreaterThan(0)
  only.refusesUpgrades = false
  await expect.poll(() => events, { timeout: 10_000 }).toEqual(['open', 'open'])
}, 15_000)

/** A server that answers each join with these frames. */
async function hostileServer(frames: string[]): Promise<string> {
  const sockets = new WebSocketServer({ port: 0, host: '127.0.0.1' })
  await new Promise((resolve) => sockets.once('listening', resolve))
  sockets.on('connection', (socket) => {
    socket.once('message', () => {
      for (const frame of frames) socket.send(frame)
    })
  })
  ends.push(() => {
    for (const socket of sockets.clients) socket.terminate()
    return new Promise((resolve) => sockets.close(resolve))
  })
  return `ws://127.0.0.1:${(sockets.address() as AddressInfo).port}`
}

// It was open for ever, and the tab alone: nobody who came was told of it, nor it of them.
test('a connection that died without a word is noticed, and another one made', async () => {
  const only = await server()
  const way = await SilentProxy.to(only.url)
  ends.push(() => way.close())
  const a = client(A, way.url, { quietMs: 200 })
  await expect.poll(() => a.events).toEqual(['open'])
  // As long as the server answers, there is one connection.
  await new Promise((resolve) => setTimeout(resolve, 1000))
  expect([way.connections, a.events.length]).toEqual([1, 1])
  way.swallow()
  const b = client(B, only.url)
  await expect.poll(() => a.client.reaches(B) && b.client.reaches(A), { timeout: 20_000 }).toBe(true)
  expect([way.connections, a.warnings]).toEqual([2, []])
}, 30_000)

// `null` was an uncaught TypeError, and each id, whatever it was, a peer that is never forgotten.
test('what makes no sense of what a server says is passed over, and the rest counts', async () => {
  const odd = [null, true, 1, 'peers', [], {}, { type: 'peers' }, { type: 'peers', ids: 'abc' }, { type: 'joined' }]
  const ids = [null, 7, {}, '', 'a'.repeat(17), 'with space', '<b>', 'b', 'b']
  const url = await hostileServer([
    ...odd.map((message) => JSON.stringify(message)),
    JSON.stringify({ type: 'peers', ids }),
    ...odd.map((message) => JSON.stringify(message)),
    'no JSON',
    JSON.stringify({ type: 'joined', id: { toString: 1 } }),
    JSON.stringify({ type: 'left', id: 5 }),
    JSON.stringify({ type: 'signal', from: {}, data: '1' }),
    JSON.stringify({ type: 'signal', from: 'b', data: { toString: 1 } }),
    JSON.stringify({ type: 'error', code: 'idle', message: { toString: 1 } }),
    JSON.stringify({ type: 'of the future' }),
    JSON.stringify({ type: 'signal', from: 'b', data: '"hello"' }),
    JSON.stringify({ type: 'joined', id: 'c' }),
  ])
  const { events, warnings } = client(A, url)
  await expect.poll(() => events.length).toBe(4)
  expect([...events].sort()).toEqual(['b: "hello"', 'open', 'present b', 'present c'])
  expect(warnings).toHaveLength(1)
})

// Ten thousand froze the tab.
test('no more peers are present than a room may have', async () => {
  const ids = Array.from({ length: 10_000 }, (_, i) => `peer-${i}`)
  const late = Array.from({ length: 100 }, (_, i) => JSON.stringify({ type: 'joined', id: `late-${i}` }))
  const url = await hostileServer([
    JSON.stringify({ type: 'peers', ids }),
    ...late,
    JSON.stringify({ type: 'left', id: 'peer-0' }),
    JSON.stringify({ type: 'joined', id: 'last' }),
  ])
  const { events } = client(A, url)
  await expect.poll(() => events.at(-1)).toBe('present last')
  const present = events.filter((event) => event.startsWith('present'))
  expect(present.length).toBe(1000 + 1)
  expect(events).not.toContain('present late-0')
})

test('null never connects, and a URL that is none is refused at once', () => {
  const { client: alone } = client(A, null)
  expect(alone.reaches(B)).toBe(false)
  expect(() => createSignalingClient({ urls: 'nonsense', room: 'r', self: A })).toThrow(TypeError)
})

// For half a minute nobody who came could find it, and anybody can say its id.
test('who was put out by somebody under its own id is back in a moment', async () => {
  const only = await server()
  const [a, b] = [client(A, only.url), client(B, only.url)]
  await expect.poll(() => a.client.reaches(B) && b.client.reaches(A)).toBe(true)
  const intruder = new WebSocket(only.url)
  intruder.on('open', () => intruder.send(JSON.stringify({ type: 'join', room: 'room', id: A })))
  // The server lets a replaced connection go on for a second.
  await expect.poll(() => a.client.reaches(B), { timeout: 10_000 }).toBe(false)
  intruder.close()
  await expect.poll(() => a.client.reaches(B) && b.client.reaches(A), { timeout: 10_000 }).toBe(true)
})

test('an address where no server answers is told of once; one that did answer is merely away', async () => {
  const [known, unknown] = [await server(), await server()]
  await unknown.kill()
  const [a, b] = [client(A, known.url), client(B, unknown.url)]
  await expect.poll(() => a.events.length).toBeGreaterThan(0)
  await known.kill()
  await expect.poll(() => b.warnings, { timeout: 20_000 }).toEqual([expect.stringContaining(unknown.url)])
  expect(a.warnings).toEqual([])
})

// Each try took ten seconds, and the fourth was told of.
test('an address where a connection hangs is told of with its first time-out', async () => {
  const silent = createTcpServer((socket) => socket.on('error', () => {}))
  await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve))
  ends.push(() => silent.close())
  const { port } = silent.address() as AddressInfo
  const { warnings } = client(A, `ws://127.0.0.1:${port}/signal`)
  await expect.poll(() => warnings, { timeout: 15_000 }).toEqual([expect.stringContaining(`:${port}/`)])
}, 20_000)

// It was told of as one that does not answer, after what it had answered.
test('a server that refuses has answered', async () => {
  const full = await server({ peersPerRoom: 1 })
  const a = client(A, full.url)
  await expect.poll(() => a.events).toEqual(['open'])
  const b = client(B, full.url)
  await new Promise((resolve) => setTimeout(resolve, 6000))
  expect(new Set(b.warnings)).toEqual(new Set([expect.stringContaining('the room has 1 peers')]))
})

test('a server that dies after a good connection is tried ever more seldom', async () => {
  vi.useFakeTimers()
  onTestFinished(() => void vi.useRealTimers())
  const made: DeadSocket[] = []
  /** A connection that breaks at once, but for the first. */
  class DeadSocket {
    readyState = 1
    onmessage = (_event: { data: string }) => {}
    onclose = (_event: { code: number }) => {}
    constructor() {
      if (made.push(this) > 1) queueMicrotask(() => this.onclose({ code: 1006 }))
    }
    send() {}
    close() {}
  }
  client(A, 'ws://server.example', { WebSocket: DeadSocket as unknown as typeof globalThis.WebSocket })
  made[0]?.onmessage({ data: '{"type":"peers","ids":[]}' })
  await vi.advanceTimersByTimeAsync(10_000)
  made[0]?.onclose({ code: 1006 })
  await vi.advanceTimersByTimeAsync(60_000)
  expect(made.length).toBeGreaterThan(3)
  expect(made.length).toBeLessThan(30)
})
