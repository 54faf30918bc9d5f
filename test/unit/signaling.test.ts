/** The signaling server, spoken to by real WebSocket clients over a real port. */
import { EventEmitter, once } from 'node:events'
import { type Server, createServer } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { text } from 'node:stream/consumers'
import { afterEach, expect, onTestFinished, test, vi } from 'vitest'
import { WebSocket } from 'ws'
import {
  type Signaling,
  type SignalingOptions,
  attachSignaling,
  closeCodes,
  defaultLimits,
} from '../../signaling/index.js'

let server: Server
let signaling: Signaling
let clients: Client[] = []

/** A client that keeps what it gets. */
class Client {
  readonly messages: Record<string, unknown>[] = []
  closeCode: number | undefined
  readonly socket: WebSocket
  constructor(headers: Record<string, string> = {}, path = '/signal') {
    this.socket = new WebSocket(`ws://127.0.0.1:${(server.address() as AddressInfo).port}${path}`, { headers })
    this.socket.on('message', (data) => this.messages.push(JSON.parse(String(data))))
    this.socket.on('close', (code) => {
      this.closeCode = code
    })
    this.socket.on('error', () => {})
    clients.push(this)
  }

  async opened(): Promise<this> {
    if (this.socket.readyState !== WebSocket.OPEN) await new Promise((resolve) => this.socket.once('open', resolve))
    return this
  }

  send(message: unknown): void {
    this.socket.send(typeof message === 'string' ? message : JSON.stringify(message))
  }

  /** The message of that type, as soon as there is one. */
  async next(type: string): Promise<Record<string, unknown>> {
    for (;;) {
      const at = this.messages.findIndex((message) => message.type === type)
      if (at >= 0) return this.messages.splice(at, 1)[0] as Record<string, unknown>
      await new Promise((resolve) => this.socket.once('message', resolve))
    }
  }

  /** Until the server has closed the connection; resolves with the error frame that went ahead. */
  async refused(code: number): Promise<Record<string, unknown> | undefined> {
    if (this.closeCode === undefined) await new Promise((resolve) => this.socket.once('close', resolve))
    expect(this.closeCode).toBe(code)
    return this.messages.find((message) => message.type === 'error')
  }
}

async function start(options: SignalingOptions = {}): Promise<void> {
  server = createServer((_request, response) => response.end('page'))
  signaling = attachSignaling(server, options)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
}

async function join(id: string, room = 'room'): Promise<Client> {
  const client = await new Client().opened()
  client.send({ type: 'join', room, id })
  return client
}

function handshake(path: string): string {
  const head = 'Host: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13'
  return `GET ${path} HTTP/1.1\r\n${head}\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`
}

afterEach(async () => {
  for (const client of clients) client.socket.terminate()
  clients = []
  await signaling.close()
  await new Promise((resolve) => server.close(resolve))
})

test('a newcomer learns who is present, the others learn of it, and of its leaving', async () => {
  await start()
  const ada = await join('ada')
  expect(await ada.next('peers')).toEqual({ type: 'peers', ids: [] })
  const bob = await join('bob')
  expect(await bob.next('peers')).toEqual({ type: 'peers', ids: ['ada'] })
  expect(await ada.next('joined')).toEqual({ type: 'joined', id: 'bob' })
  bob.socket.close()
  expect(await ada.next('left')).toEqual({ type: 'left', id: 'bob' })
})

test('a message reaches the peer it is for, untouched, in order, and nobody else', async () => {
  await start()
  const [ada, bob, eve] = [await join('ada'), await join('bob'), await join('eve')]
  await eve.next('peers')
  for (const data of ['first {"sealed"}', 'second ✓']) ada.send({ type: 'send', to: 'bob', data })
  expect(await bob.next('signal')).toEqual({ type: 'signal', from: 'ada', data: 'first {"sealed"}' })
  expect(await bob.next('signal')).toEqual({ type: 'signal', from: 'ada', data: 'second ✓' })
  expect(eve.messages.filter(({ type }) => type === 'signal')).toEqual([])
})

test('a message for a peer that is not here is answered with its absence', async () => {
  await start()
  const ada = await join('ada')
  ada.send({ type: 'send', to: 'nobody', data: '' })
  expect(await ada.next('left')).toEqual({ type: 'left', id: 'nobody' })
})

test('rooms do not hear of each other', async () => {
  await start()
  const ada = await join('ada', 'one')
  const bob = await join('bob', 'two')
  expect(await bob.next('peers')).toEqual({ type: 'peers', ids: [] })
  bob.send({ type: 'send', to: 'ada', data: 'hello' })
  await bob.next('left')
  expect(ada.messages.map(({ type }) => type)).toEqual(['peers'])
})

test('the newest connection of a node replaces the former one', async () => {
  await start()
  const [bob, old] = [await join('bob'), await join('ada')]
  await bob.next('joined')
  const young = await join('ada')
  expect((await old.refused(closeCodes.replaced))?.code).toBe('replaced')
  expect(await young.next('peers')).toEqual({ type: 'peers', ids: ['bob'] })
  await bob.next('joined')
  bob.send({ type: 'send', to: 'ada', data: 'to the young one' })
  await young.next('signal')
  expect(bob.messages.filter(({ type }) => type === 'left')).toEqual([])
})

test.each([
  ['not JSON', 'hello'],
  ['a number', '17'],
  ['null', 'null'],
  ['an unknown type', { type: 'shout' }],
  ['a room that is no string', { type: 'join', room: {}, id: 'ada' }],
  ['an empty id', { type: 'join', room: 'room', id: '' }],
  ['a very long id', { type: 'join', room: 'room', id: 'a'.repeat(65) }],
  ['a message before the join', { type: 'send', to: 'bob', data: '' }],
])('%s is refused, and the server lives on', async (_what, message) => {
  await start()
  const client = await new Client().opened()
  client.send(message)
  expect((await client.refused(closeCodes.malformed))?.code).toBe('malformed')
  await (await join('ada')).next('peers')
})

test('a second join, data that is no string and a binary frame are refused', async () => {
  await start()
  const [ada, bob, eve] = [await join('ada'), await join('bob'), await join('eve')]
  ada.send({ type: 'join', room: 'other', id: 'ada' })
  await ada.refused(closeCodes.malformed)
  bob.send({ type: 'send', to: 'eve', data: { sdp: '' } })
  await bob.refused(closeCodes.malformed)
  eve.socket.send(Buffer.from('{}'))
  await eve.refused(closeCodes.malformed)
})

test('broken WebSocket frames end only their own connection', async () => {
  await start()
  const [ada, bob] = [await join('ada'), await join('bob')]
  await bob.next('peers')
  const raw = (ada.socket as unknown as { _socket: { write(bytes: Buffer): void } })._socket
  raw.write(Buffer.from([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]))
  expect(await bob.next('left')).toEqual({ type: 'left', id: 'ada' })
})

test('a message over the size limit is refused, also when it is far over it', async () => {
  await start({ messageBytes: 1000 })
  const [ada, bob] = [await join('ada'), await join('bob')]
  ada.send({ type: 'send', to: 'bob', data: 'x'.repeat(1000) })
  expect((await ada.refused(closeCodes['too-large']))?.message).toContain('at most 1000')
  bob.send({ type: 'send', to: 'ada', data: 'x'.repeat(100_000) })
  await bob.refused(1009)
})

test('a peer that sends too fast is refused', async () => {
  await start({ messagesPerSecond: 5, messageBurst: 10 })
  const ada = await join('ada')
  for (let i = 0; i < 9; i++) ada.send({ type: 'send', to: 'nobody', data: '' })
  await expect.poll(() => ada.messages.filter(({ type }) => type === 'left').length).toBe(9)
  for (let i = 0; i < 5; i++) ada.send({ type: 'send', to: 'nobody', data: '' })
  expect((await ada.refused(closeCodes.rate))?.message).toContain('5 messages a second')
})

test('a full room takes nobody but its own members again', async () => {
  await start({ peersPerRoom: 2 })
  await (await join('ada')).next('peers')
  await (await join('bob')).next('peers')
  await (await join('eve')).refused(closeCodes['room-full'])
  await (await join('ada')).next('peers')
  await (await join('eve', 'other')).next('peers')
})

test('a server full of rooms takes no new one until one is empty, but newcomers to those that there are', async () => {
  await start({ rooms: 1 })
  const ada = await join('ada', 'one')
  await ada.next('peers')
  await (await join('bob', 'two')).refused(closeCodes['rooms-full'])
  const eve = await join('eve', 'one')
  expect(await eve.next('peers')).toEqual({ type: 'peers', ids: ['ada'] })
  for (const { socket } of [ada, eve]) socket.close()
  await expect.poll(() => [ada.closeCode, eve.closeCode].every(Boolean)).toBe(true)
  await (await join('bob', 'two')).next('peers')
})

test('connections from one address are limited, and places become free again', async () => {
  await start({ connectionsPerAddress: 2 })
  const [ada] = [await join('ada'), await join('bob')]
  await ada.next('peers')
  await (await new Client().opened()).refused(closeCodes['address-full'])
  ada.socket.close()
  await expect.poll(() => ada.closeCode).toBeDefined()
  await (await join('eve')).next('peers')
})

test('behind a trusted proxy, addresses are those that it reports', async () => {
  await start({ connectionsPerAddress: 1, trustProxy: true })
  const from = (address: string) => new Client({ 'x-forwarded-for': `6.6.6.6, ${address}` }).opened()
  const [one, two, again] = [await from('1.1.1.1'), await from('2.2.2.2'), await from('1.1.1.1')]
  await again.refused(closeCodes['address-full'])
  expect([one.closeCode, two.closeCode]).toEqual([undefined, undefined])
})

test('only allowed origins may connect', async () => {
  await start({ allowedOrigins: ['https://good.example'] })
  const good = await new Client({ origin: 'https://good.example' }).opened()
  good.send({ type: 'join', room: 'room', id: 'ada' })
  await good.next('peers')
  const bad = await new Client({ origin: 'https://bad.example' }).opened()
  expect((await bad.refused(closeCodes.origin))?.message).toContain('https://bad.example')
  await (await new Client().opened()).refused(closeCodes.origin)
})

// An 'error' event that nobody hears ends the process.
test.each<[why: string, options: SignalingOptions]>([
  ['its origin', { allowedOrigins: ['https://good.example'] }],
  ['the number of its connections', { connectionsPerAddress: 1 }],
])('what a client that is refused for %s sends then does no harm to the server', async (_, options) => {
  await start(options)
  const good = await new Client({ origin: 'https://good.example' }).opened()
  const bad = connect((server.address() as AddressInfo).port, '127.0.0.1')
  bad.write(handshake('/signal'))
  await once(bad, 'data')
  // A server reads masked frames only.
  bad.write(Uint8Array.of(0x81, 0))
  await once(bad, 'close')
  good.send({ type: 'join', room: 'room', id: 'ada' })
  await good.next('peers')
})

test('who joins no room, or answers no ping, is closed as idle', async () => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'performance'] })
  onTestFinished(() => void vi.useRealTimers())
  await start()
  const [silent, ada, dead] = [await new Client().opened(), await join('ada'), await join('bob')]
  await ada.next('joined')
  // A page that lives answers pings; this one reads nothing any more.
  dead.socket.pause()
  for (let beat = 0; beat < 4; beat++) {
    const pinged = once(ada.socket, 'ping')
    vi.advanceTimersByTime(defaultLimits.heartbeatMs)
    await pinged
    // Until the server has read the answer, which is on its way.
    await (await join(`${beat}`)).next('peers')
  }
  await silent.refused(closeCodes.idle)
  expect(await ada.next('left')).toEqual({ type: 'left', id: 'bob' })
  expect(ada.closeCode).toBeUndefined()
  // No heart beats for who has gone.
  await expect.poll(() => vi.getTimerCount()).toBe(clients.length - 2)
})

test('a client that does not read is cut off before it costs much memory', async () => {
  await start({ backlogBytes: 100_000, messageBurst: 10_000 })
  const [ada, slow] = [await join('ada'), await join('slow')]
  await ada.next('joined')
  slow.socket.pause()
  const data = 'x'.repeat(60_000)
  const flood = setInterval(() => ada.send({ type: 'send', to: 'slow', data }), 1)
  try {
    expect(await ada.next('left')).toEqual({ type: 'left', id: 'slow' })
  } finally {
    clearInterval(flood)
  }
})

test('upgrades for other paths and plain requests are left alone', async () => {
  await start({ path: '/here' })
  let other = 0
  server.on('upgrade', (request, socket) => {
    if (request.url !== '/elsewhere') return
    other++
    socket.end('HTTP/1.1 404 Not Found\r\n\r\n')
  })
  const elsewhere = new Client({}, '/elsewhere')
  await expect.poll(() => elsewhere.closeCode).toBeDefined()
  expect(other).toBe(1)
  await new Client({}, '/here?token=1').opened()
  const response = await fetch(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`)
  expect(await response.text()).toBe('page')
})

// It hung, and the application never learnt that its path was wrong.
test.each([[[]], [['/second']]])(
  'where only signaling takes upgrades, those for other paths are answered and closed: %s',
  async (others) => {
    await start()
    for (const path of others) attachSignaling(server, { path })
    const socket = connect((server.address() as AddressInfo).port, '127.0.0.1')
    socket.write(handshake('/elsewhere'))
    expect(await text(socket)).toMatch(/^HTTP\/1.1 404 Not Found\r\n/)
    await new Client().opened()
    for (const path of others) await new Client({}, path).opened()
  },
)

test.each<[option: string, options: object]>([
  ['rooms', { rooms: 0 }],
  ['rooms', { rooms: '5' }],
  ['messageBytes', { messageBytes: -1 }],
  ['idleMs', { idleMs: Number.NaN }],
  ['heartbeatMs', { idleMs: 10, heartbeatMs: 20 }],
  // Timers that are set for longer fire at once: each client was pinged a thousand times a second.
  ['heartbeatMs', { idleMs: 1e12, heartbeatMs: 1e11 }],
  ['maxRooms', { maxRooms: 5 }],
  ['path', { path: 'signal' }],
  ['path', { path: 7 }],
  ['path', { path: '/signal?token' }],
  ['allowedOrigins', { allowedOrigins: 'https://good.example' }],
  ['allowedOrigins', { allowedOrigins: ['good.example'] }],
  ['allowedOrigins', { allowedOrigins: ['null', 'https://good.example/'] }],
  ['allowedOrigins', { allowedOrigins: ['https://good.example:443'] }],
  ['peersPerRoom', { peersPerRoom: 1.5 }],
  ['options', null as never],
  ['trustProxy', { trustProxy: 'yes' }],
])('options that make no sense are refused by name: %s', (option, options) => {
  expect(() => attachSignaling(server, options)).toThrow(TypeError)
  expect(() => attachSignaling(server, options)).toThrow(option)
})

// An application of Express has the events of a server, and is none: no tab ever got an answer.
test('what is no HTTP server is refused at once', () => {
  const application = Object.assign(() => {}, EventEmitter.prototype, { listen: () => createServer() })
  for (const none of [undefined, null, {}, application])
    expect(() => attachSignaling(none as never)).toThrow('HTTP server')
})

// The second handshake on one socket throws in an event of the HTTP server, which ends the process, at the first client that comes.
test('two servers on one path of one HTTP server are refused at once, and one after the other is taken', async () => {
  await start()
  expect(() => attachSignaling(server)).toThrow(TypeError)
  attachSignaling(server, { path: '/other' })
  await signaling.close()
  signaling = attachSignaling(server)
  const ada = await join('ada')
  await ada.next('peers')
})

test('close says goodbye to the clients, even to those that do not listen, and frees the path', async () => {
  await start()
  const [ada, stuck] = [await join('ada'), await join('stuck')]
  await stuck.next('peers')
  stuck.socket.pause()
  await signaling.close()
  await ada.refused(1001)
  // The HTTP server goes on, and answers this as the plain request that it is to it now.
  await new Client().refused(1006)
})
