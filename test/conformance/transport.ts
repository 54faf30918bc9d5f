/**
 * What every `Transport` promises, as cases that run anywhere: in Node against the simulated network, in a real browser against the WebRTC mesh. What the
 * core relies on in the simulator must hold in the tab.
 */
import { type Lane, MAX_FRAME_BYTES, type Transport } from '../../src/core/environment.js'
import type { NodeId } from '../../src/core/ids.js'
import { check } from './check.js'

/** A room whose nodes find each other. */
export interface TransportRoom {
  /** The transport of a node as a new page has it, not started yet. */
  open(node: NodeId): Transport
  /** Rejects when it does not come to hold. */
  until(what: string, holds: () => boolean): Promise<void>
  pass(ms: number): Promise<void>
}

export interface TransportCase {
  name: string
  run(room: TransportRoom): Promise<void>
}

const [A, B, C] = ['aaaaaaaaaa', 'bbbbbbbbbb', 'cccccccccc'] as NodeId[] as [NodeId, NodeId, NodeId]
/** Longer than anything that is under way when a link ends. */
const A_WHILE_MS = 1000

/** One node; notes what it is told, and what it should never have been told. */
class End {
  readonly up = new Set<NodeId>()
  readonly told: string[] = []
  readonly wrong: string[] = []
  received: Uint8Array[] = []
  stopped = false
  private readonly transport: Transport

  constructor(
    room: TransportRoom,
    readonly node: NodeId,
  ) {
    this.transport = room.open(node)
  }

  start(): this {
    this.transport.start({
      onUp: (other) => {
        this.note(`up ${other}`)
        if (other === this.node) this.wrong.push('it is up for itself')
        if (this.up.has(other)) this.wrong.push(`${other} is up twice`)
        this.up.add(other)
      },
      onDown: (other) => {
        this.note(`down ${other}`)
        if (!this.up.delete(other)) this.wrong.push(`${other} is down and was not up`)
      },
      onFrame: (from, frame) => {
        if (this.stopped) this.wrong.push('a frame after its end')
        if (!this.up.has(from)) this.wrong.push(`a frame of ${from}, which is not up`)
        this.received.push(frame.slice())
      },
    })
    return this
  }

  send(to: NodeId, frame: Uint8Array, lane: Lane = 'foreground'): boolean {
    return this.transport.send(to, frame, lane)
  }

  reject(node: NodeId): void {
    this.transport.reject(node)
  }

  stop(): void {
    this.transport.stop()
    this.stopped = true
  }

  private note(what: string): void {
    if (this.stopped) this.wrong.push(`${what} after its end`)
    this.told.push(what)
  }
}

async function linked(room: TransportRoom, ...nodes: NodeId[]): Promise<End[]> {
  const ends = nodes.map((node) => new End(room, node).start())
  await room.until('everybody is up for everybody', () => ends.every(({ up }) => up.size === nodes.length - 1))
  return ends
}

function allRight(...ends: End[]): void {
  for (const { node, wrong } of ends) check(wrong.length === 0, `${node}: ${wrong.join(', ')}`)
}

/** Unlike any other of another length or number. */
function frameOf(length: number, number: number): Uint8Array {
  const frame = new Uint8Array(length)
  for (let i = 0; i < length; i++) frame[i] = i * 7 + number + (i >> 8)
  return frame
}

function isSame(a: Uint8Array, b: Uint8Array | undefined): boolean {
  if (a.length !== b?.length) return false
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false
  return true
}

export const transportCases: TransportCase[] = [
  {
    name: 'everybody in the room is up for everybody else, once, and nobody for itself',
    async run(room) {
      const ends = await linked(room, A, B, C)
      await room.pass(A_WHILE_MS)
      for (const { node, told } of ends) check(told.length === 2, `${node} was told ${told.join(', ')}`)
      allRight(...ends)
      for (const end of ends) end.stop()
    },
  },
  {
    name: 'frames of one lane arrive whole, in order and once, the empty one and the longest too',
    async run(room) {
      const [a, b] = (await linked(room, A, B)) as [End, End]
      for (const lane of ['foreground', 'background'] as const) {
        const sent = [0, 1, 1000, 70_000, 0, 300_000, 17].map(frameOf)
        for (const frame of sent) check(a.send(B, frame, lane), 'it is queued')
        await room.until(`${sent.length} frames`, () => b.received.length >= sent.length)
        await room.pass(A_WHILE_MS)
        check(b.received.length === sent.length, `${b.received.length} frames came`)
        for (const [i, frame] of sent.entries()) check(isSame(frame, b.received[i]), `${lane} frame ${i}`)
        b.received = []
      }
      const longest = frameOf(MAX_FRAME_BYTES, 3)
      check(a.send(B, longest), 'the longest one is queued')
      await room.until('the longest one', () => b.received.length === 1)
      check(isSame(longest, b.received[0]), 'the longest one')
      allRight(a, b)
      a.stop()
      b.stop()
    },
  },
  {
    name: 'both ends send at once, in both lanes, and neither loses anything',
    async run(room) {
      const ends = (await linked(room, A, B)) as [End, End]
      for (let i = 0; i < 200; i++)
        for (const [end, to] of [
          [ends[0], B],
          [ends[1], A],
        ] as const)
          check(end.send(to, frameOf(100 + i, i), i % 2 === 0 ? 'foreground' : 'background'), 'it is queued')
      await room.until('200 frames at both', () => ends.every(({ received }) => received.length === 200))
      for (const { received } of ends)
        for (const parity of [0, 1]) {
          const lengths = received.map(({ length }) => length).filter((length) => length % 2 === parity)
          check(
            lengths.every((length, i) => i === 0 || length > (lengths[i - 1] as number)),
            `a lane came as ${lengths.join()}`,
          )
        }
      allRight(...ends)
      for (const end of ends) end.stop()
    },
  },
  {
    name: 'nothing is queued without a path: to itself, to a stranger, before the start, after the end',
    async run(room) {
      const early = new End(room, C)
      check(!early.send(A, frameOf(3, 0)), 'before the start')
      const [a, b] = (await linked(room, A, B)) as [End, End]
      check(!a.send(A, frameOf(3, 0)), 'to itself')
      check(!a.send('nobodyhere' as NodeId, frameOf(3, 0)), 'to a stranger')
      a.stop()
      check(!a.send(B, frameOf(3, 0)), 'after the end')
      allRight(a, b)
      b.stop()
    },
  },
  {
    name: 'a frame longer than the longest is a mistake of the caller, and costs no other frame',
    async run(room) {
      const [a, b] = (await linked(room, A, B)) as [End, End]
      let refused = false
      try {
        a.send(B, new Uint8Array(MAX_FRAME_BYTES + 1))
      } catch {
        refused = true
      }
      check(refused, 'it throws')
      check(a.send(B, frameOf(5, 1)), 'the next one is queued')
      await room.until('the next one', () => b.received.length === 1)
      allRight(a, b)
      a.stop()
      b.stop()
    },
  },
  {
    name: 'who stops hears at once that everybody is down, and nothing after that; the others hear that it is',
    async run(room) {
      const [a, b, c] = (await linked(room, A, B, C)) as [End, End, End]
      b.send(A, frameOf(5, 1))
      a.stop()
      check(a.up.size === 0, `${[...a.up].join()} are still up`)
      await room.until('the others hear of it', () => !b.up.has(A) && !c.up.has(A))
      await room.pass(A_WHILE_MS)
      check(b.up.has(C) && c.up.has(B), 'the others are up for each other')
      allRight(a, b, c)
      b.stop()
      c.stop()
    },
  },
  {
    name: 'a node that comes back is up again, for those too who did not notice that it was away',
    async run(room) {
      const [a, b] = (await linked(room, A, B)) as [End, End]
      a.stop()
      const again = new End(room, A).start()
      await room.until('it is up there', () => again.up.has(B))
      await room.until('frames pass both ways', () => {
        b.send(A, frameOf(7, 1))
        again.send(B, frameOf(9, 1))
        return again.received.length > 0 && b.received.length > 0
      })
      check(b.told.filter((what) => what === `up ${A}`).length >= 1, 'it is up here')
      allRight(a, b, again)
      again.stop()
      b.stop()
    },
  },
  {
    name: 'a rejected node is down, is not up again soon, and is heard no more, whatever it believes itself',
    async run(room) {
      const [a, b, c] = (await linked(room, A, B, C)) as [End, End, End]
      a.reject(B)
      await room.until('it is down', () => !a.up.has(B))
      await room.pass(A_WHILE_MS)
      // It may believe that there is a way through the third one.
      b.send(A, frameOf(3, 0))
      await room.pass(A_WHILE_MS)
      check(a.received.length === 0, 'it was heard')
      check(!a.up.has(B), 'it was let in again')
      check(!a.send(B, frameOf(3, 0)), 'nothing goes there')
      check(a.up.has(C) && b.up.has(C) && c.up.has(A) && c.up.has(B), 'nobody else is concerned')
      allRight(a, b, c)
      for (const end of [a, b, c]) end.stop()
    },
  },
]
