/** Whom the mesh dials, and what it passes on: with links that do nothing by themselves, so that each test says what the network does. */
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import type { LinkOptions } from '../../src/browser/mesh/link.js'
import { type Mesh, createMesh } from '../../src/browser/mesh/mesh.js'
import { CONTROL, FOREGROUND, type LinkLane } from '../../src/browser/mesh/packets.js'
import { type Control, encodeControl, wrapRelayed } from '../../src/browser/mesh/relay.js'
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
  /** How long each relayed frame may wait here, in milliseconds. */
  readonly passedOn: (number | undefined)[] = []

  constructor(readonly options: LinkOptions) {
    this.id = options.id
    this.initiator = options.initiator
    made.push(this)
  }

  signal(signal: PeerSignal): void {
    this.heard.push(signal)
  }

  send(_lane: LinkLane, _frame: Uint8Array, relayed = false, ttlMs?: number): boolean {
    if (relayed) this.passedOn.push(ttlMs)
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
  relays(from: NodeId, to: NodeId): void {
    const header = { to, from, session: `of-${from}`, path: 1 }
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
  mesh.start({ onUp: (node) => up.add(node), onDown: (node) => up.delete(node), onFrame() {} })
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
