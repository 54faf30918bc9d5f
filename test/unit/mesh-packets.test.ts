/** Packets and flow without a network: what goes in on one side comes out on the other, whole, in order, bounded. */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import fc from 'fast-check'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { Flow, WINDOW_BYTES, defaultQueueBytes } from '../../src/browser/mesh/flow.js'
import {
  BACKGROUND,
  CONTROL,
  FOREGROUND,
  type LinkLane,
  PACKET_BYTES,
  PacketReader,
} from '../../src/browser/mesh/packets.js'
import { Neighbours, decodeControl, encodeControl, unwrapRelayed, wrapRelayed } from '../../src/browser/mesh/relay.js'
import { checkSignal } from '../../src/browser/mesh/signals.js'
import { MAX_FRAME_BYTES } from '../../src/core/environment.js'
import type { NodeId } from '../../src/core/ids.js'

interface Frame {
  lane: LinkLane
  relayed: boolean
  bytes: Uint8Array
}

/** One direction of a link: a sender's flow, a channel that drains when told, a reader. */
class Wire {
  readonly packets: Uint8Array[] = []
  readonly received: Frame[] = []
  bufferedAmount = 0
  malformed = 0
  /** How often it was sent nothing, as it said the same of its buffer for long: also where a test stands still. */
  asked = 0
  readonly flow = new Flow(defaultQueueBytes)
  readonly reader = new PacketReader({
    onFrame: (lane, relayed, frame) => this.received.push({ lane, relayed, bytes: frame.slice() }),
    onConsumed: (bytes) => {
      this.consumed += bytes
    },
    onCredit: (bytes) => this.flow.granted(bytes),
  })
  consumed = 0

  open(): this {
    this.flow.open(this)
    return this
  }

  send(packet: Uint8Array): void {
    if (packet.length === 0) {
      this.asked++
      return
    }
    expect(packet.length).toBeLessThanOrEqual(PACKET_BYTES)
    this.packets.push(packet.slice())
    this.bufferedAmount += packet.length
  }

  /** Delivers everything, with credit returned as it is consumed, until nothing moves any more. */
  deliver(): void {
    for (let packet = this.packets.shift(); packet; packet = this.packets.shift()) {
      this.bufferedAmount = 0
      if (!this.reader.read(packet)) this.malformed++
      const { consumed } = this
      this.consumed = 0
      this.flow.granted(consumed)
    }
  }
}

const lanes = [CONTROL, FOREGROUND, BACKGROUND] as const
const pattern = Uint8Array.from({ length: MAX_FRAME_BYTES + 256 }, (_, i) => i * 7 + (i >> 8))
const bytesOf = (length: number, seed: number) => pattern.slice(seed, seed + length)
const sizes = fc.oneof(
  fc.integer({ min: 0, max: 300 }),
  fc.integer({ min: PACKET_BYTES - 12, max: PACKET_BYTES + 12 }),
  fc.integer({ min: 0, max: 300_000 }),
)

describe('packets', () => {
  test('any frames in any lanes come out equal, each lane in order', () => {
    const frames = fc.array(
      fc.record({ lane: fc.constantFrom(...lanes), relayed: fc.boolean(), size: sizes, seed: fc.nat(255) }),
      { maxLength: 30 },
    )
    fc.assert(
      fc.property(frames, (plan) => {
        const wire = new Wire().open()
        const sent = plan
          .map(({ lane, relayed, size, seed }) => ({
            lane,
            relayed,
            bytes: bytesOf(lane === CONTROL ? size % 100_000 : size, seed),
          }))
          .filter(({ lane, relayed, bytes }) => wire.flow.push(lane, bytes, relayed))
        wire.flow.flush()
        wire.deliver()
        for (const lane of lanes) {
          const inLane = (frame: Frame) => frame.lane === lane
          const [out, expected] = [wire.received.filter(inLane), sent.filter(inLane)]
          expect(out.map(({ bytes, relayed }) => [bytes.length, relayed])).toEqual(
            expected.map(({ bytes, relayed }) => [bytes.length, relayed]),
          )
          expect(out.every(({ bytes }, i) => Buffer.compare(bytes, expected[i]?.bytes as Uint8Array) === 0)).toBe(true)
        }
        expect(wire.malformed).toBe(0)
        expect(wire.flow.queued).toBe(0)
      }),
      { numRuns: 150 },
    )
  })

  test('the largest frame comes out whole', () => {
    const wire = new Wire().open()
    const frame = bytesOf(MAX_FRAME_BYTES, 3)
    wire.flow.push(FOREGROUND, frame, false)
    wire.flow.flush()
    wire.deliver()
    expect(Buffer.compare(wire.received[0]?.bytes as Uint8Array, frame)).toBe(0)
  })

  test('small frames of one turn share a packet, which leaves before the next timer', async () => {
    const wire = new Wire().open()
    for (let i = 0; i < 15; i++) wire.flow.push(FOREGROUND, bytesOf(1000, i), false)
    expect(wire.packets).toEqual([])
    await Promise.resolve()
    expect(wire.packets.length).toBe(1)
  })

  test('malformed packets are refused and never throw', () => {
    const handlers = { onFrame() {}, onConsumed() {}, onCredit() {} }
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 60 }), { maxLength: 20 }), (packets) => {
        const reader = new PacketReader(handlers)
        for (const packet of packets) expect(typeof reader.read(packet)).toBe('boolean')
      }),
      { numRuns: 2000 },
    )
  })

  test('a damaged packet does not spoil what comes after it', () => {
    fc.assert(
      fc.property(fc.nat(), fc.nat(255), fc.nat(), (at, value, cut) => {
        const wire = new Wire().open()
        wire.flow.push(FOREGROUND, bytesOf(200_000, 1), false)
        wire.flow.push(BACKGROUND, bytesOf(50, 2), false)
        wire.flow.flush()
        const packet = wire.packets[1] as Uint8Array
        packet[at % packet.length] = value
        wire.packets[1] = packet.subarray(0, cut % (packet.length + 1))
        wire.deliver()
        wire.received.length = 0
        wire.flow.push(FOREGROUND, bytesOf(10, 9), false)
        wire.flow.flush()
        wire.deliver()
        expect(wire.received.length).toBeLessThanOrEqual(1)
        wire.flow.push(FOREGROUND, bytesOf(10, 9), false)
        wire.flow.flush()
        wire.deliver()
        expect(wire.received.at(-1)?.bytes).toEqual(bytesOf(10, 9))
      }),
      { numRuns: 100 },
    )
  })

  test('a frame that claims to be larger than any may be is refused', () => {
    const handlers = { onFrame() {}, onConsumed() {}, onCredit() {} }
    const claim = (lane: number, total: number) => {
      const packet = new Uint8Array(16)
      new DataView(packet.buffer).setUint32(0, ((lane | 4) << 24) | 8)
      new DataView(packet.buffer).setUint32(4, total)
      return new PacketReader(handlers).read(packet)
    }
    expect(claim(FOREGROUND, MAX_FRAME_BYTES)).toBe(true)
    expect(claim(FOREGROUND, MAX_FRAME_BYTES * 2)).toBe(false)
    expect(claim(CONTROL, MAX_FRAME_BYTES)).toBe(false)
  })
})

describe('flow', () => {
  test('a frame that nobody waits for any more is not begun, and one that was begun is ended', async () => {
    vi.useFakeTimers()
    onTestFinished(() => void vi.useRealTimers())
    const wire = new Wire()
    wire.flow.push(FOREGROUND, bytesOf(100, 1), false, 0)
    wire.flow.push(FOREGROUND, bytesOf(2 * WINDOW_BYTES, 2), false, 50)
    wire.flow.push(FOREGROUND, bytesOf(100, 3), false)
    await vi.advanceTimersByTimeAsync(5)
    wire.open()
    await vi.advanceTimersByTimeAsync(100)
    for (let i = 0; i < 5; i++) {
      wire.deliver()
      wire.flow.flush()
    }
    expect(wire.received.map(({ bytes }) => bytes.length)).toEqual([2 * WINDOW_BYTES, 100])
    expect(wire.flow.queued).toBe(0)
  })

  test('it moves as long as what waits becomes less', async () => {
    const wire = new Wire().open()
    expect(wire.flow.moving(20)).toBe(false)
    wire.flow.push(FOREGROUND, bytesOf(500_000, 1), false)
    wire.flow.flush()
    expect(wire.reader.isPartial).toBe(false)
    wire.reader.read(wire.packets.shift() as Uint8Array)
    expect(wire.reader.isPartial).toBe(true)
    wire.flow.moving(20)
    wire.bufferedAmount -= 1000
    expect(wire.flow.moving(20)).toBe(true)
    await new Promise((resolve) => setTimeout(resolve, 40))
    expect(wire.flow.moving(20)).toBe(false)
    wire.bufferedAmount -= 1000
    expect(wire.flow.moving(20)).toBe(true)
    wire.deliver()
    expect([wire.flow.moving(20), wire.reader.isPartial]).toEqual([false, false])
  })

  // Chromium forgot at times to say that the buffer had become low: the tail of a burst waited for the next frame, whenever that came.
  test('a channel that does not tell that its buffer has become less is asked, and what waited goes', () => {
    vi.useFakeTimers()
    onTestFinished(() => void vi.useRealTimers())
    const channel = {
      told: 0,
      empty: 0,
      get bufferedAmount() {
        return this.told
      },
      send(packet: Uint8Array) {
        if (packet.length === 0) {
          this.empty++
          this.told = 0
        }
        this.told += packet.length
      },
    }
    const flow = new Flow(defaultQueueBytes)
    flow.open(channel)
    flow.push(BACKGROUND, bytesOf(60_000, 1), false)
    flow.flush()
    expect(flow.queued).toBeGreaterThan(0)
    vi.advanceTimersByTime(499)
    expect(channel.empty).toBe(0)
    vi.advanceTimersByTime(1)
    expect([channel.empty, flow.queued]).toEqual([1, 0])
    // Nothing waits any more.
    vi.advanceTimersByTime(60_000)
    expect(channel.empty).toBe(1)
  })

  test('a channel whose buffer becomes less, or that is closed, is not asked', () => {
    vi.useFakeTimers()
    onTestFinished(() => void vi.useRealTimers())
    const wire = new Wire().open()
    for (let i = 0; i < 2; i++) wire.flow.push(BACKGROUND, bytesOf(2 * WINDOW_BYTES, i), false)
    wire.flow.flush()
    const slow = setInterval(() => {
      wire.bufferedAmount -= 100
    }, 100)
    vi.advanceTimersByTime(5000)
    clearInterval(slow)
    wire.flow.close()
    vi.advanceTimersByTime(5000)
    expect([wire.asked, vi.getTimerCount()]).toEqual([0, 0])
  })

  test('nothing is sent beyond the window until the peer grants more', () => {
    const wire = new Wire().open()
    for (let i = 0; i < 8; i++) wire.flow.push(FOREGROUND, bytesOf(1024 * 1024, i), false)
    for (let i = 0; i < 100; i++) {
      wire.bufferedAmount = 0
      wire.flow.flush()
    }
    const bytes = () => wire.packets.reduce((sum, packet) => sum + packet.length, 0)
    expect(bytes()).toBeGreaterThan(WINDOW_BYTES)
    expect(bytes()).toBeLessThan(WINDOW_BYTES * 1.01)
    wire.flow.granted(WINDOW_BYTES / 2)
    expect(bytes()).toBeLessThan(WINDOW_BYTES * 1.51)
  })

  test('a grant of more than was sent does not widen the window', () => {
    const wire = new Wire().open()
    wire.flow.granted(0xffff_ffff)
    for (let i = 0; i < 8; i++) wire.flow.push(FOREGROUND, bytesOf(1024 * 1024, i), false)
    for (let i = 0; i < 100; i++) {
      wire.bufferedAmount = 0
      wire.flow.flush()
    }
    expect(wire.packets.length * PACKET_BYTES).toBeLessThan(WINDOW_BYTES * 1.1)
  })

  test('the channel is not overfilled', () => {
    const wire = new Wire().open()
    for (let i = 0; i < 8; i++) wire.flow.push(FOREGROUND, bytesOf(1024 * 1024, i), false)
    wire.flow.flush()
    // By a peer that grants without taking: the window alone would let through as much once more.
    for (let i = 0; i < 5; i++) wire.flow.granted(WINDOW_BYTES)
    expect(wire.bufferedAmount).toBeLessThan(1024 * 1024 + PACKET_BYTES)
  })

  test('of very many frames that wait on a link that is never idle, none is lost or sent twice', () => {
    const wire = new Wire().open()
    for (let i = 0; i < 5000; i++) wire.flow.push(FOREGROUND, Uint8Array.of(i >> 8, i), false)
    for (let i = 5000; i < 10_000; i++) {
      wire.flow.push(FOREGROUND, Uint8Array.of(i >> 8, i), false)
      // So much of it goes at a time.
      wire.bufferedAmount = 1024 * 1024 - 1
      wire.flow.flush()
    }
    wire.deliver()
    wire.flow.flush()
    wire.deliver()
    const numbers = wire.received.map(({ bytes: [high = 0, low = 0] }) => 256 * high + low)
    expect(numbers).toEqual(Array.from({ length: 10_000 }, (_, i) => i))
  })

  test('a full queue takes no more, lane by lane', () => {
    const wire = new Wire()
    const frame = bytesOf(1024 * 1024, 1)
    let taken = 0
    while (wire.flow.push(BACKGROUND, frame, false)) taken++
    expect(taken).toBe(8)
    taken = 0
    while (wire.flow.push(FOREGROUND, frame, false)) taken++
    expect(taken).toBe(16)
    // But one frame goes always.
    expect(new Wire().flow.push(BACKGROUND, bytesOf(MAX_FRAME_BYTES, 1), false)).toBe(true)
    expect(wire.flow.push(CONTROL, bytesOf(100, 1), false)).toBe(true)
  })

  // A thousand sent frames stayed as long as others waited behind them: at a megabyte each, a gigabyte for one slow link.
  test('what was sent is not kept, also where the queue never becomes empty', async () => {
    setFlagsFromString('--expose-gc')
    const collect: () => void = runInNewContext('gc')
    const wire = new Wire().open()
    const frames: WeakRef<Uint8Array>[] = []
    const push = () => {
      const frame = new Uint8Array(100_000)
      frames.push(new WeakRef(frame))
      expect(wire.flow.push(FOREGROUND, frame, false)).toBe(true)
    }
    for (let i = 0; i < 50; i++) push()
    for (let i = 0; i < 200; i++) {
      push()
      wire.bufferedAmount = 0
      wire.packets.length = 0
      wire.flow.granted(100_000)
      await new Promise((resolve) => setTimeout(resolve))
    }
    collect()
    expect(wire.flow.queued).toBeGreaterThan(0)
    const kept = frames.filter((frame) => frame.deref()).length
    expect(kept * 100_000).toBeLessThan(wire.flow.queued + 300_000)
  })

  test('a foreground frame overtakes a backlog, even in the midst of a frame', () => {
    const wire = new Wire().open()
    for (let i = 0; i < 4; i++) wire.flow.push(BACKGROUND, bytesOf(2 * 1024 * 1024, i), false)
    wire.flow.flush()
    const before = wire.packets.length
    wire.flow.push(FOREGROUND, bytesOf(1000, 5), false)
    wire.flow.flush()
    expect(before * PACKET_BYTES).toBeLessThanOrEqual(64 * 1024)
    wire.deliver()
    expect(wire.received.map(({ lane }) => lane)).toEqual([FOREGROUND, BACKGROUND, BACKGROUND, BACKGROUND, BACKGROUND])
  })

  test('a background backlog leaves half of the window to the foreground', () => {
    const wire = new Wire().open()
    for (let i = 0; i < 4; i++) wire.flow.push(BACKGROUND, bytesOf(2 * 1024 * 1024, i), false)
    for (let i = 0; i < 100; i++) {
      wire.bufferedAmount = 0
      wire.flow.flush()
    }
    const stuck = wire.packets.length
    wire.flow.push(FOREGROUND, bytesOf(1000, 5), false)
    wire.flow.flush()
    expect(stuck * PACKET_BYTES).toBeLessThan(WINDOW_BYTES * 0.6)
    expect(wire.packets.length).toBe(stuck + 1)
  })
})

describe('what nodes say to each other', () => {
  const [A, B] = ['aaaaaaaaaa', 'bbbbbbbbbb'] as [NodeId, NodeId]

  test('relay headers and control messages come out as they went in', () => {
    const header = { to: B, from: A, session: 's1', path: 7 }
    const unwrapped = unwrapRelayed(wrapRelayed(header, bytesOf(10, 1)))
    expect(unwrapped?.header).toEqual(header)
    expect(unwrapped?.frame).toEqual(bytesOf(10, 1))
    const control = { type: 'near', nodes: [A, B], path: 3 } as const
    expect(decodeControl(encodeControl({ ...control, nodes: [A, B] }))).toEqual(control)
  })

  // A neighbour could name as many senders as it liked, each in a frame of its own.
  test('a neighbour leads to as many nodes as it may list, and to no more because of what it relays', () => {
    const neighbours = new Neighbours()
    const nodes = Array.from({ length: 513 }, (_, i) => `node-${i}` as NodeId)
    neighbours.set(A, [])
    for (const node of nodes) neighbours.add(A, node)
    expect(nodes.filter((node) => neighbours.towards(node) === A).length).toBe(512)
  })

  test('anything else is refused and never throws', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), fc.json(), fc.anything(), (bytes, json, value) => {
        unwrapRelayed(bytes)
        decodeControl(bytes)
        decodeControl(new TextEncoder().encode(json))
        expect(checkSignal(value)).toBeUndefined()
      }),
      { numRuns: 1000 },
    )
    const head = { session: 's', link: 's.1', n: 1 }
    for (const wrong of [
      { ...head, type: 'offer' },
      { ...head, type: 'offer', sdp: 'x'.repeat(100_000) },
      { ...head, type: 'renegotiate', renegotiate: true },
      { ...head, type: 'candidate', candidate: { candidate: 1 } },
      { ...head, n: '1', type: 'call' },
    ])
      expect(checkSignal(wrong)).toBeUndefined()
    expect(checkSignal({ ...head, type: 'offer', sdp: 'v=0', extra: 1 })).toEqual({
      ...head,
      type: 'offer',
      sdp: 'v=0',
    })
  })
})
