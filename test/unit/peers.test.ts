/** Sessions of two nodes: from the Hello to the Bye, and through what goes wrong in between. */
import { expect, test } from 'vitest'
import type { NodeId } from '../../src/core/ids.js'
import { PROTOCOL } from '../../src/core/peers.js'
import { A, B, DELAY, INCARNATION, INTERVAL, Link, READ, helloOf } from './support/linked-peers.js'

test('two nodes greet each other once, and soon know how far apart they are', async () => {
  const link = await Link.greeted()
  expect(link.a.peers.reachable()).toEqual([B])
  expect(link.a.peers.rtt(B)).toBe(2 * DELAY)
})

test('nothing is handled, answered or sent before the Hello', async () => {
  const link = new Link()
  link.fate = (type) => (type === 'Hello' ? 'lost' : undefined)
  await link.open()
  link.forge(READ, { id: 1 })
  expect(link.b.handled).toEqual([])
  expect(link.b.peers.isReachable(A)).toBe(false)
  expect(link.a.peers.notify(B, READ, 'foreground')).toBe(false)
  expect(await link.a.peers.request(B, READ, 1000)).toBeUndefined()
})

test('a Hello is believed only from a linked node, and only if it names its sender', async () => {
  const link = new Link()
  link.forge(helloOf({}))
  link.b.handlers?.onUp(A)
  link.forge(helloOf({ node: 'another___' as NodeId }))
  expect(link.b.events).toEqual([])
  link.forge(helloOf({}))
  expect(link.b.events).toEqual([`up ${A}`])
})

test('a lost Hello is repeated by the heartbeat', async () => {
  const link = new Link()
  link.fate = (type) => (type === 'Hello' ? 'lost' : undefined)
  await link.open()
  expect([link.a.events, link.b.events]).toEqual([[], []])
  link.fate = () => undefined
  await link.clock.advance(INTERVAL)
  expect([link.a.events, link.b.events]).toEqual([[`up ${B}`], [`up ${A}`]])
})

test.each(['Hello of the one', 'Hello of the other'])('one lost %s does not keep the two apart', async (which) => {
  const link = new Link()
  const loser = which.endsWith('one') ? A : B
  link.fate = (type, from) => (type === 'Hello' && from === loser ? 'lost' : undefined)
  await link.open()
  link.fate = () => undefined
  await link.clock.advance(INTERVAL + 100)
  expect([link.a.peers.reachable(), link.b.peers.reachable()]).toEqual([[B], [A]])
})

test('both sides learn that their room parameters do not match, and part', async () => {
  const link = new Link('n=3', 'n=5')
  await link.open()
  expect(new Set(link.a.events)).toEqual(new Set([`mismatch ${B} n=5 (protocol 1 to 1), here n=3 (protocol 1 to 1)`]))
  expect(new Set(link.b.events)).toEqual(new Set([`mismatch ${A} n=3 (protocol 1 to 1), here n=5 (protocol 1 to 1)`]))
  await link.clock.advance(500)
  expect([link.a.rejected.includes(B), link.b.rejected.includes(A)]).toEqual([true, true])
})

test('a protocol that is too new is a mismatch, one that reaches back far enough is none', () => {
  const link = new Link()
  link.b.handlers?.onUp(A)
  link.forge(helloOf({ protocol: [PROTOCOL[1] + 1, PROTOCOL[1] + 2] }))
  expect(link.b.events).toEqual([expect.stringContaining(`mismatch ${A}`)])
  link.forge(helloOf({ protocol: [PROTOCOL[1], PROTOCOL[1] + 2] }))
  expect(link.b.events.at(-1)).toBe(`up ${A}`)
})

test('frames of another life are ignored', async () => {
  const link = await Link.greeted()
  link.forge(READ, { incarnation: INCARNATION - 1 })
  link.forge({ type: 'Bye' }, { incarnation: INCARNATION - 1 })
  expect([link.b.handled, link.b.events]).toEqual([[], [`up ${A}`]])
})

// Lower as well: a node that lost its bookkeeping counts its lives anew, and was not let in any more.
test.each([1, -1])(
  'the Hello of another life (%d) ends the session of the former one, whose frames are ignored from then on',
  async (step) => {
    const link = await Link.greeted()
    link.forge(helloOf({ incarnation: INCARNATION + step }))
    expect(link.b.events).toEqual([`up ${A}`, `down ${A}`, `up ${A}`])
    link.forge(READ)
    expect(link.b.handled).toEqual([])
    link.forge(READ, { incarnation: INCARNATION + step })
    expect(link.b.handled).toEqual([READ])
  },
)

// A power cut takes the count back, or a full disk never took it: all frames of the new life seemed to have waited since the former one.
test('the Hello of another life that counts as the same incarnation begins a new session, with a clock of its own', async () => {
  const link = await Link.greeted()
  const sentAt = link.a.clock.now() - 20_000
  link.forge(helloOf({ life: 'another' }), { sentAt })
  expect(link.b.events).toEqual([`up ${A}`, `down ${A}`, `up ${A}`])
  link.forge(READ, { sentAt: sentAt + 10 })
  expect(link.b.handled).toEqual([READ])
})

test('Bye ends the session at once, with all that waited for an answer', async () => {
  const link = await Link.greeted()
  link.fate = (type) => (type === 'Read' ? 'lost' : undefined)
  const waiting = link.b.peers.request(A, READ, 60_000)
  link.a.peers.stop()
  await link.clock.advance(DELAY)
  expect(await waiting).toBeUndefined()
  expect(link.b.events).toEqual([`up ${A}`, `down ${A}`])
  expect(link.a.events).toEqual([`up ${B}`, `down ${B}`])
})

test('a silent peer is not reachable after a while, and is again with its first frame', async () => {
  const link = await Link.greeted()
  await link.clock.advance(20 * INTERVAL)
  expect(link.b.events).toEqual([`up ${A}`])
  link.fate = (_, from) => (from === A ? 'lost' : undefined)
  await link.clock.advance(10 * INTERVAL)
  expect(link.b.events).toEqual([`up ${A}`, `down ${A}`])
  link.fate = () => undefined
  await link.clock.advance(2 * INTERVAL)
  expect(link.b.peers.isReachable(A)).toBe(true)
})

test.each([
  { a: [1, 1], b: [1, 2] },
  { a: [1, 3], b: [2, 4] },
  { a: [2, 2], b: [2, 2] },
] as { a: [number, number]; b: [number, number] }[])(
  'neighbours that speak the protocols $a and $b meet',
  async ({ a, b }) => {
    const link = new Link('room', 'room', { a, b })
    await link.open()
    expect([link.a.peers.isReachable(B), link.b.peers.isReachable(A)]).toEqual([true, true])
  },
)

test('protocols without a version in common do not meet, and both sides are told', async () => {
  const link = new Link('room', 'room', { a: [1, 1], b: [2, 3] })
  await link.open()
  expect(new Set(link.a.events)).toEqual(new Set([`mismatch ${B} room (protocol 2 to 3), here room (protocol 1 to 1)`]))
  expect(new Set(link.b.events)).toEqual(new Set([`mismatch ${A} room (protocol 1 to 1), here room (protocol 2 to 3)`]))
  expect(link.a.peers.isReachable(B)).toBe(false)
})

test('a tab that is about to be frozen is out at once, and back as soon as it answers', async () => {
  const link = await Link.greeted()
  link.a.peers.suspend()
  await link.clock.advance(2 * DELAY)
  expect(link.b.peers.isReachable(A)).toBe(false)
  await link.clock.advance(INTERVAL + 100)
  expect(link.b.peers.isReachable(A)).toBe(true)
})

test('a tab that is hidden says that it is slow, and is given more time', async () => {
  const patience = async (hidden: boolean) => {
    const link = await Link.greeted()
    await link.clock.advance(10 * INTERVAL)
    if (hidden) link.a.peers.setHidden(true)
    await link.clock.advance(50)
    link.fate = () => 'lost'
    let waited = 0
    for (; link.b.peers.isReachable(A); waited += 100) await link.clock.advance(100)
    return waited
  }
  expect((await patience(true)) - (await patience(false))).toBeGreaterThanOrEqual(1000)
})

test('who stood still notices it before the first frame is read', async () => {
  const link = await Link.greeted()
  const wokeAfter: [readFrames: number, stoodStill: number][] = []
  link.b.peers.events.on('woke', (ms) => wokeAfter.push([link.b.handled.length, ms]))
  link.b.standStill(20_000)
  link.forge(READ, { id: 1, ttl: 30_000 })
  link.forge(READ, { id: 2, ttl: 30_000 })
  expect(wokeAfter).toEqual([[0, expect.any(Number)]])
  expect(wokeAfter[0]?.[1]).toBeGreaterThanOrEqual(20_000)
  expect(link.b.handled).toHaveLength(2)
})
