/** Whom the mesh dials, and what it passes on: with links that do nothing by themselves, so that each test says what the network does. */
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import type { LinkOptions } from '../../src/browser/mesh/link.js'
import { type Mesh, createMesh } from '../../src/browser/mesh/mesh.js'
import { CONTROL, FOREGROUND, type LinkLane } from '../../src/browser/mesh/packets.js'
import { type Control, decodeControl, encodeControl, unwrapRelayed, wrapRelayed } from '../../src/browser/mesh/relay.js'
import type { PeerSignal, Signal } from '../../src/browser/mesh/signals.js'
import type { SignalingHandlers } from '../../src/browser/signaling-client.js'
import { MAX_TTL_MS } from '../../src/core/environment.js'
import type { NodeId } from '../../src/core/ids.js'

/** The greatest of all, so that it dials the others. */
const SELF = 'zzzz' as NodeId
const [A, B] = ['aaaa', 'bbbb'] as [NodeId, NodeId]
/** Longer than a dial may take, with the pause before the next one. */
const DIALED_AGAIN_MS = 15_000

class SilentLink {
  readonly id: string
  readonly initiator: boolean
  open = false
  wasOpen = false
  closed = false
  heardAt = 0
  session: string | undefined
  answered = false
  readonly heard: PeerSignal[] = []
  /** How long each relayed frame may wait here, in milliseconds, and the number of its path. */
  readonly passedOn: (number | undefined)[] = []
  readonly paths: (number | undefined)[] = []
  /** The nodes for which signals were carried. */
  readonly carriedFor: NodeId[] = []

  constructor(readonly options: LinkOptions) {
    this.id = options.id
    this.initiator = options.initiator
    made.push(this)
  }

  signal(signal: PeerSignal): void {
    this.heard.push(signal)
  }

  send(lane: LinkLane, frame: Uint8Array, relayed = false, ttlMs?: number): boolean {
    const control = lane === CONTROL ? decodeControl(frame) : undefined
    if (control?.type === 'carry') this.carriedFor.push(control.to)
    if (relayed) {
      this.passedOn.push(ttlMs)
      this.paths.push(unwrapRelayed(frame)?.header.path)
    }
    return this.open
  }

  close(): void {
    this.closed = true
    this.open = false
  }

  /** The network has made it. */
  opens(): void {
    this.open = true
    this.wasOpen = true
    this.options.onOpen()
  }

  /** The network has lost it. */
  fails(): void {
    this.closed = true
    this.open = false
    this.options.onClose('ERR_ICE_CONNECTION_FAILURE')
  }

  hears(control: Control): void {
    this.options.onFrame(CONTROL, false, encodeControl(control))
  }

  /** A frame from one node to another comes by this link. */
  relays(from: NodeId, to: NodeId, path = 1, session = `of-${from}`): void {
    const header = { to, from, session, path }
    this.options.onFrame(FOREGROUND, true, wrapRelayed(header, Uint8Array.of(1)))
  }
}

// Read when the first link is made: the mock itself is made before the class.
vi.mock('../../src/browser/mesh/link.js', () => ({
  hasWebRtc: true,
  get Link() {
    return SilentLink
  },
}))

let made: SilentLink[]
let mesh: Mesh
let room: SignalingHandlers
let up: Set<NodeId>
/** Whose frames came. */
let heard: NodeId[]
let signals: number
/** What this node said through the signaling server. */
let said: Signal['type'][]

const living = () => made.filter((link) => !link.closed)
const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms)

function start({ self = SELF, maxPeers = 24 } = {}): void {
  const signaling = {
    start: (handlers: SignalingHandlers) => {
      room = handlers
    },
    reaches: () => true,
    send: (_to: NodeId, payload: unknown) => said.push((payload as Signal).type),
    wake() {},
    close() {},
  }
  mesh = createMesh({ self, signaling, maxPeers })
  mesh.start({ onUp: (node) => up.add(node), onDown: (node) => up.delete(node), onFrame: (from) => heard.push(from) })
}

type Said = Signal extends infer S ? (S extends Signal ? Omit<S, 'n'> : never) : never

/** The node says this through the signaling server. */
function says(from: NodeId, signal: Said): void {
  room.onMessage(from, { ...signal, n: ++signals })
}

/** The node comes into the room, is dialed and answers. */
async function link(node: NodeId): Promise<SilentLink> {
  room.onPresent(node)
  // Beyond `maxPeers`, those are dialed to whom no other way was found meanwhile.
  if (living().every(({ open }) => open)) await pass(2100)
  const dialed = living().find(({ open }) => !open) as SilentLink
  const session = `of-${node}`
  says(node, { type: 'answer', session, link: dialed.id, sdp: '' })
  dialed.session = session
  dialed.opens()
  return dialed
}

beforeEach(() => {
  vi.useFakeTimers()
  made = []
  up = new Set()
  heard = []
  signals = 0
  said = []
})
afterEach(() => {
  mesh.stop()
  vi.useRealTimers()
})

// The link was made again in the midst of the change, and its time-out was taken for the pause of the former one.
test('a link that was lost is dialed again after a pause, and again when nobody answers that', async () => {
  start()
  const first = await link(A)
  first.fails()
  await Promise.resolve()
  expect(up).toEqual(new Set())
  expect(made.length).toBe(1)
  await pass(200)
  expect(made.length).toBe(2)
  await pass(DIALED_AGAIN_MS)
  expect(made.length).toBe(3)
  expect(living().length).toBe(1)
})

// The call was taken for one that had crossed the offer.
test('a peer that still calls after seconds has not got the offer: it is dialed again', async () => {
  start()
  const first = await link(A)
  first.fails()
  await pass(200)
  const call = { type: 'call', session: 'of-aaaa', link: first.id } as const
  says(A, call)
  expect(made.length).toBe(2)
  await pass(4000)
  says(A, call)
  expect(made.length).toBe(3)
  // Its page was loaded again.
  await pass(4000)
  says(A, { type: 'call', session: 'newer', link: '' })
  expect(made.length).toBe(4)
  expect(living().length).toBe(1)
})

// The place was made by dropping a link; what follows from that dialed the peer, and so did who had asked for the place.
test('a peer for which a place is made is dialed once', async () => {
  start({ maxPeers: 4 })
  const nodes = ['a0', 'a1', 'a2', 'a3', 'a4'] as NodeId[]
  const links: SilentLink[] = []
  for (const node of nodes) links.push(await link(node))
  links[0]?.hears({ type: 'near', nodes: nodes.slice(1), path: 1 })
  room.onPresent(B)
  await pass(2100)
  expect(made.length).toBe(6)
  expect(living().length).toBe(5)
  expect(up).toEqual(new Set(nodes))
})

// The end of the former link made it call.
test('a node that is dialed anew takes the new link in place of the former one, and does not call', async () => {
  start({ self: A })
  room.onPresent(SELF)
  expect(said).toEqual(['call'])
  says(SELF, { type: 'offer', session: 's', link: 's.1', sdp: '' })
  made[0]?.opens()
  says(SELF, { type: 'offer', session: 's', link: 's.2', sdp: '' })
  await pass(100)
  expect(made.map(({ id, closed }) => [id, closed])).toEqual([
    ['s.1', true],
    ['s.2', false],
  ])
  expect(said).toEqual(['call'])
})

// Those of attempts that had failed had taken all the room there is for such.
test('candidates that come before their offer count, whatever came of former attempts', async () => {
  start({ self: A })
  room.onPresent(SELF)
  const candidate = (link: string, line: string) =>
    says(SELF, {
      type: 'candidate',
      session: 's',
      link,
      candidate: { candidate: line, sdpMid: null, sdpMLineIndex: 0 },
    })
  says(SELF, { type: 'offer', session: 's', link: 's.1', sdp: '' })
  made[0]?.fails()
  for (let i = 0; i < 20; i++) candidate('s.1', 'late')
  candidate('s.2', 'early')
  says(SELF, { type: 'offer', session: 's', link: 's.2', sdp: '' })
  expect(made[1]?.heard.map(({ type }) => type)).toEqual(['offer', 'candidate'])
})

// Its page then counted as a former one, and was not heard until it was loaded again.
test('a word of a former page that comes late, and is the first of that, keeps the present one away for no longer than a minute', async () => {
  start()
  await link(A)
  says(A, { type: 'call', session: 'former', link: '' })
  for (let seconds = 0; seconds < 90; seconds++) {
    await pass(1000)
    for (const dialed of living()) {
      if (dialed.open) continue
      says(A, { type: 'answer', session: 'of-aaaa', link: dialed.id, sdp: '' })
      if (dialed.answered) dialed.opens()
    }
    if (seconds < 55) expect(up).toEqual(new Set())
  }
  expect(up).toEqual(new Set([A]))
})

test('a late word of a former page changes nothing as long as the present one is heard', async () => {
  start()
  const [a, b] = [await link(A), await link(B)]
  says(A, { type: 'call', session: 'present', link: a.id })
  const again = living().find(({ open }) => !open) as SilentLink
  says(A, { type: 'answer', session: 'present', link: again.id, sdp: '' })
  again.opens()
  await pass(600_000)
  again.heardAt = performance.now()
  // It stood still with its carrier, say.
  b.relays(A, SELF)
  says(A, { type: 'call', session: 'of-aaaa', link: again.id })
  expect(living()).toEqual([b, again])
})

// A frozen tab's neighbours kept the frames of others for it until their queues were full.
test('a frame that is passed on waits no longer than any frame may live', async () => {
  start()
  const [a, b] = [await link(A), await link(B)]
  a.relays(A, B)
  expect(b.passedOn).toEqual([MAX_TTL_MS])
})

test('a frame of a node that is not known here says nothing of the way to it', async () => {
  start()
  const a = await link(A)
  a.hears({ type: 'near', nodes: [], path: 1 })
  a.relays(B, SELF)
  room.onPresent(B)
  await pass(2100)
  expect(up).toEqual(new Set([A]))
  // Now that it is known, its frames are worth something.
  a.relays(B, SELF)
  expect(up).toEqual(new Set([A, B]))
})

// They had used up all the connections that a page may make in five minutes.
test('who comes into a room of many that cannot be reached is dialed at once', async () => {
  start()
  for (let i = 0; i < 22; i++) room.onPresent(`lost${i}` as NodeId)
  for (let i = 0; i < 20; i++) {
    await pass(29_000)
    const former = new Set(living())
    const newcomer = `new${i}` as NodeId
    room.onPresent(newcomer)
    expect(living().filter((dialed) => !former.has(dialed)).length, `after ${i + 1} half minutes`).toBe(1)
    room.onAbsent(newcomer)
    await pass(1000)
  }
})

// It counted as one of them, for the dial of its former page.
test('who loads its page again in such a room is dialed at once, although its former page was dialed in vain', async () => {
  // The connections that a page may make are counted across tests.
  await pass(3_600_000)
  start()
  for (let i = 0; i < 22; i++) room.onPresent(`lost${i}` as NodeId)
  says(A, { type: 'call', session: 'former', link: '' })
  room.onPresent(A)
  await pass(20_000)
  room.onAbsent(A)
  await pass(220_000)
  const dialed = made.length
  room.onPresent(A)
  says(A, { type: 'call', session: 'present', link: '' })
  expect(made.length).toBe(dialed + 1)
})

test('what a peer said of a former link, or what is not for it to say, changes nothing', async () => {
  start({ self: A })
  room.onPresent(SELF)
  const offer = (session: string, link: string) => says(SELF, { type: 'offer', session, link, sdp: '' })
  offer('s', 's.2')
  made[0]?.opens()
  said = []
  // By way of another server.
  offer('s', 's.1')
  offer('s', 's.2')
  says(SELF, { type: 'busy', session: 's', link: 's.1' })
  says(SELF, { type: 'busy', session: 's', link: 's.2' })
  // Of another session than the one that says it, and of the side that does not dial.
  offer('s', 't.3')
  says(SELF, { type: 'call', session: 's', link: 's.2' })
  expect(made.map(({ closed }) => closed)).toEqual([false])
  expect(said).toEqual([])
  expect(up).toEqual(new Set([SELF]))
})

test('an answer that comes twice is taken once', async () => {
  start()
  const a = await link(A)
  says(A, { type: 'answer', session: 'of-aaaa', link: a.id, sdp: 'again' })
  expect(a.heard.length).toBe(1)
})

test('once a server answers again, who waits for the next attempt is dialed at once, but no rejected peer before its time', async () => {
  start()
  for (const node of [A, B]) room.onPresent(node)
  for (const dialed of living()) dialed.fails()
  mesh.reject(B)
  // Each server answers.
  for (let i = 0; i < 3; i++) room.onOpen()
  expect(living().length).toBe(1)
  living()[0]?.fails()
  room.onOpen()
  expect(living().length).toBe(0)
  room.onAbsent(A)
  await pass(59_000)
  expect(living().length).toBe(0)
  await pass(2000)
  expect(living().length).toBe(1)
})

test('who is rejected is not reached by way of others either', async () => {
  start()
  const [a, b] = [await link(A), await link(B)]
  mesh.reject(B)
  expect(b.closed).toBe(true)
  a.hears({ type: 'near', nodes: [B], path: 1 })
  a.relays(B, SELF)
  await pass(10_000)
  expect([up, heard]).toEqual([new Set([A]), []])
})

test('of a peer that left the room the link stays if it answers, and is dropped otherwise', async () => {
  start()
  const [a, b] = [await link(A), await link(B)]
  await pass(1000)
  for (const node of [A, B]) room.onAbsent(node)
  await pass(1000)
  a.heardAt = performance.now()
  await pass(10_000)
  expect([a.closed, b.closed]).toEqual([false, true])
})

test('what comes late on a former path is dropped, and what comes on a newer one than the link ends that', async () => {
  start()
  const [a, b] = [await link(A), await link(B)]
  a.hears({ type: 'near', nodes: [B], path: 1 })
  b.hears({ type: 'near', nodes: [A], path: 5 })
  a.relays(B, SELF, 4)
  expect([heard, b.closed]).toEqual([[], false])
  a.relays(B, SELF, 6)
  expect([heard, b.closed]).toEqual([[B], true])
  a.relays(B, SELF, 5)
  expect(heard).toEqual([B])
  // Its page was loaded again, and counts anew.
  a.relays(B, SELF, 1, 'newer')
  expect(heard).toEqual([B, B])
})

test('frames that go by way of another neighbour than before have a greater path', async () => {
  start()
  const [a, b] = [await link(A), await link(B)]
  const far = 'cccc' as NodeId
  room.onPresent(far)
  a.hears({ type: 'near', nodes: [far], path: 1 })
  await pass(2100)
  const send = () => mesh.send(far, Uint8Array.of(1), 'foreground')
  for (let i = 0; i < 2; i++) expect(send()).toBe(true)
  b.hears({ type: 'near', nodes: [far], path: 1 })
  a.hears({ type: 'near', nodes: [], path: 1 })
  expect(send()).toBe(true)
  const [first, second] = a.paths as [number, number]
  expect([second, b.paths]).toEqual([first, [first + 1]])
})

test('a neighbour passes on only what it brings of its own', async () => {
  start()
  const [a, b] = [await link(A), await link(B)]
  const far = 'cccc' as NodeId
  a.relays(far, B)
  a.hears({ type: 'carry', from: far, to: B, signal: {} })
  expect([b.passedOn, b.carriedFor]).toEqual([[], []])
  // What it says itself does not come by itself.
  a.relays(A, SELF)
  a.relays(SELF, SELF)
  expect(heard).toEqual([])
  a.hears({ type: 'carry', from: A, to: B, signal: {} })
  expect(b.carriedFor).toEqual([B])
})

test('after a dial in vain signals go by way of a neighbour as well: the server may be one that answers nothing any more', async () => {
  start({ self: A })
  room.onPresent(B)
  says(B, { type: 'offer', session: 's', link: 's.1', sdp: '' })
  const b = made[0] as SilentLink
  b.opens()
  b.hears({ type: 'near', nodes: [SELF], path: 1 })
  room.onPresent(SELF)
  expect(b.carriedFor).toEqual([])
  await pass(10_000)
  expect(b.carriedFor).toContain(SELF)
})

// It named a link whose offer had been lost, and counted for nothing: its page seemed to be there for seconds.
test('a goodbye counts whatever link it names', async () => {
  start({ self: A })
  room.onPresent(SELF)
  says(SELF, { type: 'offer', session: 's', link: 's.1', sdp: '' })
  made[0]?.opens()
  expect(up).toEqual(new Set([SELF]))
  says(SELF, { type: 'bye', session: 's', link: 's.2' })
  await Promise.resolve()
  expect([made[0]?.closed, up]).toEqual([true, new Set()])
})
