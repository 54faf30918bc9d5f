/** Requests of two nodes to each other: answered, in vain or too late; and the door for frames that are none. */
import { expect, test } from 'vitest'
import type { NodeId, StoreKey } from '../../src/core/ids.js'
import { MAX_CONTAINER_BYTES, type Message, shapes } from '../../src/core/messages.js'
import { encodeFrame } from '../../src/core/wire.js'
import { A, B, DELAY, INCARNATION, KEY, Link, READ, RESULT, helloOf } from './support/linked-peers.js'

test('a request is answered by the handler of the other side', async () => {
  const link = await Link.greeted()
  const reply = link.a.peers.request(B, READ, 1000)
  await link.clock.advance(2 * DELAY)
  expect(await reply).toEqual(RESULT)
  expect(link.b.handled).toEqual([READ])
})

test('a request without an answer resolves with nothing at its time-out, and a later answer changes nothing', async () => {
  const link = await Link.greeted()
  link.fate = (type) => (type === 'ReadResult' ? 'held' : undefined)
  const replies: unknown[] = []
  void link.a.peers.request(B, READ, 1000).then((reply) => replies.push(reply))
  await link.clock.advance(999)
  expect(replies).toEqual([])
  await link.clock.advance(1)
  expect(replies).toEqual([undefined])
  for (const deliver of link.held) deliver()
  await link.clock.advance(10)
  expect(replies).toEqual([undefined])
})

// A large value over a slow uplink was given up after five seconds, and sent again.
test.each(['in', 'out'] as const)(
  'a request is not given up while its link is busy with that node (%s), for half a minute',
  async (way) => {
    const link = await Link.greeted()
    link.fate = (type) => (type === 'ReadResult' ? 'held' : undefined)
    const replies: unknown[] = []
    link.a.movement = { in: false, out: false, [way]: true }
    void link.a.peers.request(B, READ, 1000).then((reply) => replies.push(reply))
    await link.clock.advance(8000)
    expect(replies).toEqual([])
    link.a.movement = { in: false, out: false }
    await link.clock.advance(1000)
    expect(replies).toEqual([undefined])
    link.a.movement = { in: true, out: true }
    void link.a.peers.request(B, READ, 1000).then((reply) => replies.push(reply))
    await link.clock.advance(29_000)
    expect(replies.length).toBe(1)
    await link.clock.advance(3000)
    expect(replies.length).toBe(2)
  },
)

test('a frame may be as much later as it is larger, before it is too late', async () => {
  const link = await Link.greeted()
  const store = (bytes: number): Message => ({
    type: 'Store',
    entries: [[KEY, new Uint8Array(bytes)]],
    hintFor: [],
    strict: false,
    fresh: false,
  })
  link.b.peers.handle('Store', (message) => {
    link.b.handled.push(message)
    return undefined
  })
  const tenSecondsAgo = link.a.clock.now() - 10_000
  link.forge(store(1000), { sentAt: tenSecondsAgo, ttl: 1000 })
  expect(link.b.handled).toEqual([])
  link.forge(store(500_000), { sentAt: tenSecondsAgo, ttl: 1000 })
  expect(link.b.handled.length).toBe(1)
})

test('a request is answered by nobody but the node that was asked', async () => {
  const link = await Link.greeted()
  const third = 'node_c____' as NodeId
  link.fate = (type) => (type === 'Read' ? 'lost' : undefined)
  const replies: unknown[] = []
  void link.b.peers.request(A, READ, 1000).then((reply) => replies.push(reply))
  link.b.handlers?.onUp(third)
  const header = { incarnation: INCARNATION, sentAt: 0, ttl: 1000 }
  const hello = encodeFrame(shapes.Hello, { ...header, id: 0 }, helloOf({ node: third }))
  link.b.handlers?.onFrame(third, hello)
  for (let id = 1; id < 20; id++)
    link.b.handlers?.onFrame(third, encodeFrame(shapes.ReadResult, { ...header, id }, RESULT))
  await link.clock.advance(999)
  expect([link.b.peers.isReachable(third), replies]).toEqual([true, []])
  await link.clock.advance(1)
  expect(replies).toEqual([undefined])
})

// Seed 3017: a container was taken for that of another key, and spread.
test('what a peer answers to a former life of this node is no answer to this one', async () => {
  const link = await Link.greeted()
  const answers: ((reply: Message) => void)[] = []
  link.b.peers.handle('Read', () => new Promise((resolve) => answers.push(resolve)))
  for (let i = 0; i < 20; i++) void link.a.peers.request(B, READ, 60_000)
  await link.clock.advance(DELAY)
  await link.reopenA()
  const replies: unknown[] = []
  for (let i = 0; i < 20; i++)
    void link.a.peers
      .request(B, { ...READ, key: `${KEY}${i}` as StoreKey }, 60_000)
      .then((reply) => replies.push(reply))
  for (const answer of answers.splice(0)) answer(RESULT)
  await link.clock.advance(10 * DELAY)
  expect(replies).toEqual([])
  for (const answer of answers) answer(RESULT)
  await link.clock.advance(10 * DELAY)
  expect(replies).toEqual(Array(20).fill(RESULT))
})

test('a request resolves with nothing at once when the queue is full, and when the link is lost', async () => {
  const link = await Link.greeted()
  link.fate = () => 'lost'
  const waiting = link.a.peers.request(B, READ, 60_000)
  link.a.full = true
  expect(await link.a.peers.request(B, READ, 60_000)).toBeUndefined()
  link.a.handlers?.onDown(B)
  expect(await waiting).toBeUndefined()
  expect(link.a.events).toEqual([`up ${B}`, `down ${B}`])
})

// It was dropped without a word, and who asked waited for the time-out.
test('a request of which the answer is too large for a frame is told so at once', async () => {
  const link = await Link.greeted()
  link.b.peers.handle('Fetch', () => ({
    type: 'Entries',
    entries: [
      [KEY, new Uint8Array(MAX_CONTAINER_BYTES)],
      [`${KEY}2` as StoreKey, new Uint8Array(MAX_CONTAINER_BYTES)],
    ],
    cursor: undefined,
  }))
  const reply = link.a.peers.request(B, { type: 'Fetch', keys: [KEY] }, 1000)
  await link.clock.advance(2 * DELAY)
  expect(await reply).toEqual({ type: 'Failed', kind: 'too-large' })
})

test('a handler that throws or rejects is told of, and leaves its request without an answer', async () => {
  const link = await Link.greeted()
  link.b.peers.handle('Fetch', () => Promise.reject(new Error('rejected')))
  link.b.peers.handle('CheckKeys', () => {
    throw new Error('thrown')
  })
  const replies = (['Fetch', 'CheckKeys'] as const).map((type) => link.a.peers.request(B, { type, keys: [KEY] }, 1000))
  await link.clock.advance(1000)
  expect(await Promise.all(replies)).toEqual([undefined, undefined])
  expect(link.b.errors.map(String).sort()).toEqual(['Error: rejected', 'Error: thrown'])
})

test('a frame that waited past its deadline is dropped, one that waited less is handled', async () => {
  const link = await Link.greeted()
  link.fate = (type) => (type === 'Read' ? 'held' : undefined)
  void link.a.peers.request(B, READ, 1000)
  void link.a.peers.request(B, { ...READ, full: false }, 60_000)
  await link.clock.advance(1000 + 2 * DELAY)
  for (const deliver of link.held) deliver()
  expect(link.b.handled).toEqual([{ ...READ, full: false }])
})

test('the backlog of a thawed tab is dropped, and what comes after it is handled', async () => {
  const link = await Link.greeted()
  link.fate = (_, from) => (from === A ? 'held' : undefined)
  for (let i = 0; i < 60; i++) {
    void link.a.peers.request(B, READ, 1000)
    await link.clock.advance(1000)
  }
  await link.clock.advance(1000)
  for (const deliver of link.held) deliver()
  expect(link.b.handled).toEqual([])
  link.forge(READ)
  expect(link.b.handled).toEqual([READ])
})

test('malformed frames are counted, and too many of them are the end of the link', async () => {
  const link = await Link.greeted()
  const malformed = () => link.b.handlers?.onFrame(A, Uint8Array.of(0xc1))
  for (let i = 0; i < 10; i++) malformed()
  expect(link.b.events.filter((event) => event === `malformed ${A}`)).toHaveLength(10)
  expect([link.b.rejected, link.b.peers.reachable()]).toEqual([[], [A]])
  malformed()
  expect(link.b.rejected).toEqual([A])
  expect(link.b.handled).toEqual([])
})
