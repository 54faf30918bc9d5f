/** Faults on top of a perfect transport: two nodes in one process that hand frames to each other at once. */
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import type { Lane, Transport, TransportHandlers } from '../../src/core/environment.js'
import type { NodeId } from '../../src/core/ids.js'
import { type Faults, faultyTransport } from '../../src/testing/faulty-transport.js'

const [A, B] = ['a', 'b'] as NodeId[] as [NodeId, NodeId]

class PerfectTransport implements Transport {
  handlers: TransportHandlers | undefined
  other: PerfectTransport | undefined
  constructor(readonly self: NodeId) {}
  start(handlers: TransportHandlers): void {
    this.handlers = handlers
  }
  send(_to: NodeId, frame: Uint8Array): boolean {
    this.other?.handlers?.onFrame(this.self, frame)
    return this.other !== undefined
  }
  want(): void {}
  reject(): void {}
  stop(): void {
    this.handlers = undefined
  }
}

let inner: PerfectTransport
let faulty: Transport & Faults
let plain: PerfectTransport
let seenByA: string[]
let seenByB: string[]

const log = (seen: string[]): TransportHandlers => ({
  onUp: (node) => seen.push(`up ${node}`),
  onDown: (node) => seen.push(`down ${node}`),
  onFrame: (from, frame) => seen.push(`${from} ${frame[0]}`),
})
const send = (number: number, lane: Lane = 'foreground') => faulty.send(B, Uint8Array.of(number), lane)
const answer = (number: number) => plain.send(A, Uint8Array.of(number))
function link(): void {
  inner.handlers?.onUp(B)
  plain.handlers?.onUp(A)
}

beforeEach(() => {
  vi.useFakeTimers()
  inner = new PerfectTransport(A)
  plain = new PerfectTransport(B)
  inner.other = plain
  plain.other = inner
  seenByA = []
  seenByB = []
  faulty = faultyTransport(inner)
  faulty.start(log(seenByA))
  plain.start(log(seenByB))
  link()
  seenByB = []
  plain.start(log(seenByB))
})
afterEach(() => {
  faulty.stop()
  vi.useRealTimers()
})

test('without a fault, frames pass at once', () => {
  expect(send(1)).toBe(true)
  answer(2)
  expect(seenByB).toEqual(['a 1'])
  expect(seenByA).toEqual(['up b', 'b 2'])
})

test('a cut reports the node as down and loses frames both ways', () => {
  faulty.cut([B])
  expect(send(1)).toBe(false)
  answer(2)
  expect(seenByB).toEqual([])
  expect(seenByA).toEqual(['up b', 'down b'])
  faulty.heal()
  expect(send(3)).toBe(true)
  answer(4)
  expect(seenByB).toEqual(['a 3'])
  expect(seenByA).toEqual(['up b', 'down b', 'up b', 'b 4'])
})

test('a cut of all holds for nodes that appear later', () => {
  faulty.cut()
  inner.handlers?.onUp('c' as NodeId)
  expect(seenByA).toEqual(['up b', 'down b'])
  faulty.heal()
  expect(seenByA.slice(2).sort()).toEqual(['up b', 'up c'])
})

test('healing does not report what the real transport has lost meanwhile', () => {
  faulty.cut()
  inner.handlers?.onDown(B)
  faulty.heal()
  expect(seenByA).toEqual(['up b', 'down b'])
})

test('a cut of other nodes changes nothing', () => {
  faulty.cut(['c'])
  expect(send(1)).toBe(true)
  expect(seenByA).toEqual(['up b'])
})

test('delay holds frames of both directions, in order, also when it becomes shorter', async () => {
  faulty.delay(100)
  send(1)
  answer(1)
  faulty.delay(10)
  send(2)
  answer(2)
  faulty.delay(0)
  send(3)
  await vi.advanceTimersByTimeAsync(99)
  expect(seenByB).toEqual([])
  await vi.advanceTimersByTimeAsync(2)
  expect(seenByB).toEqual(['a 1', 'a 2', 'a 3'])
  expect(seenByA).toEqual(['up b', 'b 1', 'b 2'])
  send(4)
  expect(seenByB).toEqual(['a 1', 'a 2', 'a 3', 'a 4'])
})

test('delayed lanes do not wait for each other', async () => {
  faulty.delay(100)
  send(1, 'background')
  faulty.delay(0)
  send(2, 'foreground')
  expect(seenByB).toEqual(['a 2'])
  await vi.advanceTimersByTimeAsync(101)
  expect(seenByB).toEqual(['a 2', 'a 1'])
})

test('frames under way are lost by a cut', async () => {
  faulty.delay(50)
  send(1)
  answer(1)
  faulty.cut()
  faulty.heal()
  await vi.advanceTimersByTimeAsync(100)
  expect(seenByB).toEqual([])
  expect(seenByA).toEqual(['up b', 'down b', 'up b'])
})

test('frames under way are lost with their link', async () => {
  faulty.delay(50)
  answer(1)
  inner.handlers?.onDown(B)
  inner.handlers?.onUp(B)
  answer(2)
  await vi.advanceTimersByTimeAsync(100)
  expect(seenByA).toEqual(['up b', 'down b', 'up b', 'b 2'])
})

test('drop loses frames at random at the given rate', () => {
  faulty.drop(0.3)
  for (let i = 0; i < 2000; i++) expect(send(1)).toBe(true)
  expect(seenByB.length / 2000).toBeGreaterThan(0.65)
  expect(seenByB.length / 2000).toBeLessThan(0.75)
  seenByB.length = 0
  faulty.drop(1)
  send(1)
  expect(seenByB).toEqual([])
  faulty.drop(0)
  send(1)
  expect(seenByB).toEqual(['a 1'])
})

test('a frozen node hears and says nothing, and all of it at once when it thaws', () => {
  faulty.freeze()
  answer(1)
  answer(2)
  expect(send(3)).toBe(true)
  inner.handlers?.onDown(B)
  inner.handlers?.onUp(B)
  answer(4)
  expect(seenByA).toEqual(['up b'])
  expect(seenByB).toEqual([])
  faulty.thaw()
  expect(seenByA).toEqual(['up b', 'b 1', 'b 2', 'down b', 'up b', 'b 4'])
  expect(seenByB).toEqual(['a 3'])
})

test('what is switched meanwhile happens at the thaw, and what waits for that is not lost by another freeze', () => {
  faulty.freeze()
  answer(1)
  faulty.freeze()
  faulty.cut()
  expect(send(2)).toBe(true)
  expect(seenByA).toEqual(['up b'])
  faulty.thaw()
  expect(seenByA).toEqual(['up b', 'b 1', 'down b'])
  expect(seenByB).toEqual([])
  faulty.freeze()
  faulty.heal()
  expect(seenByA.length).toBe(3)
  faulty.thaw()
  expect(seenByA.slice(3)).toEqual(['up b'])
})

test('a node that went down while frozen is reported on thaw', () => {
  faulty.freeze()
  inner.handlers?.onDown(B)
  faulty.thaw()
  expect(seenByA).toEqual(['up b', 'down b'])
})

test('nodes, rates and delays that make no sense are refused', () => {
  // The letters of one node's id were cut, which is nobody.
  expect(() => faulty.cut(B as unknown as string[])).toThrow(TypeError)
  expect(() => faulty.drop(2)).toThrow(RangeError)
  expect(() => faulty.delay(-1)).toThrow(RangeError)
  // A number as text, as fields of a form give it, was put behind the time of day, and delayed nothing.
  expect(() => faulty.delay('500' as unknown as number)).toThrow(RangeError)
  expect(() => faulty.delay(Number.POSITIVE_INFINITY)).toThrow(RangeError)
})
