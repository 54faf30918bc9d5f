/** The door between nodes: every message survives the way, and nothing else gets in. */
import { decode, encode } from '@msgpack/msgpack'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { storeKey } from '../../src/core/ids.js'
import { MAX_CONTAINER_BYTES, type MessageType, shapes, shapesByCode } from '../../src/core/messages.js'
import { MalformedError } from '../../src/core/versions/encoding.js'
import { type FrameHeader, decodeFrame, encodeFrame } from '../../src/core/wire.js'

/** Limits count UTF-16 units, of which a character may take two. */
const text = (maxLength: number) => fc.string({ unit: 'binary', maxLength: maxLength / 2 })
const count = fc.maxSafeNat()
const real = fc.double({ noNaN: true, noDefaultInfinity: true })
const flag = fc.boolean()
const bytes = fc.uint8Array({ maxLength: 64 })
const digest = fc.uint8Array({ maxLength: 8 })
const id = text(16)
const list = <T>(of: fc.Arbitrary<T>) => fc.array(of, { maxLength: 5 })
const optional = <T>(of: fc.Arbitrary<T>) => fc.option(of, { nil: undefined })
const key = fc
  .tuple(fc.constantFrom(1, 3, 99, 'all' as const), text(1190))
  .map(([n, rest]) => storeKey(n, 'bucket', `${rest}.`))
const entries = list(fc.tuple(key, bytes))
const keyDigests = list(fc.tuple(key, digest))
const partition = fc.nat(100 * 4096 - 1)
const partitions = list(partition)
const member = fc.record({
  node: id,
  device: id,
  incarnation: fc.nat(),
  state: fc.constantFrom('up', 'asleep', 'left'),
  capacity: fc.double({ min: 0.1, max: 10, noNaN: true }),
  name: text(256),
})
const members = list(member)

type Bodies = { [K in MessageType]: { [F in keyof (typeof shapes)[K]['fields']]: fc.Arbitrary<unknown> } }

/** What each message may hold; the type of this table fails to compile when a message or a field is missing. */
const bodies: Bodies = {
  Hello: {
    protocol: fc.tuple(count, count),
    node: id,
    incarnation: count,
    device: id,
    config: text(4096),
    answer: flag,
    member: optional(member),
    life: text(16),
    replaced: optional(count),
    empty: optional(flag),
  },
  Bye: {},
  Ping: { lag: real },
  Pong: { lag: real },
  Store: { entries, hintFor: list(id), strict: flag, fresh: flag },
  Stored: { refused: list(key), home: optional(flag) },
  Read: { key, full: flag },
  ReadResult: { digest, container: optional(bytes), complete: flag, home: optional(flag) },
  Failed: { kind: id },
  Fetch: { keys: list(key) },
  Entries: { entries, cursor: optional(text(1300)) },
  Scan: { from: text(1300), to: text(1300), limit: count, reverse: flag },
  ScanPage: { entries, more: flag, lacking: partitions },
  Gossip: { digests: list(fc.tuple(id, count)), heard: list(real), hash: digest },
  GossipReply: { members, wanted: list(id), empty: optional(list(id)) },
  Members: { members, empty: optional(list(id)) },
  CompareRoots: { partitions, digest, heir: optional(flag) },
  Roots: { roots: bytes },
  CompareGroups: { partitions },
  CompareLeaves: { groups: list(fc.tuple(partition, fc.nat(15))) },
  Digests: { digests: bytes },
  ListLeaves: { leaves: list(fc.tuple(partition, fc.nat(255))) },
  KeyDigests: { entries: keyDigests, whole: flag },
  CheckKeys: { keys: list(key) },
  OfferPartitions: { partitions },
  FetchPartitions: { partitions, after: optional(text(1300)) },
  AskComplete: { partitions },
  Complete: { partitions, distrusted: optional(count) },
  Reap: { entries: keyDigests, commit: flag, left: optional(keyDigests) },
  ReapReply: { agreed: list(key) },
  Interest: { keys: list(key), prefixes: list(text(1300)), added: flag },
  Changed: { entries: keyDigests },
}

const types = Object.keys(shapes) as MessageType[]
const header: fc.Arbitrary<FrameHeader> = fc.record({ id: count, incarnation: count, sentAt: real, ttl: real })
const KEY = storeKey(3, '', 'k')
const STORE = { entries: [], hintFor: [], strict: true, fresh: true }
const HEADER: FrameHeader = { id: 1, incarnation: 1, sentAt: 0, ttl: 1000 }

const bodyOf = (type: MessageType) => fc.record(bodies[type] as Record<string, fc.Arbitrary<unknown>>)
const frame = fc
  .constantFrom(...types)
  .chain((type) => fc.tuple(header, bodyOf(type)).map(([head, body]) => encodeFrame(shapes[type], head, body)))

const frameOf = (type: MessageType, body: Record<string, unknown>) => encodeFrame(shapes[type], HEADER, body)
const open = (bytesOfFrame: Uint8Array) => decodeFrame(shapesByCode, bytesOfFrame)

/** Lets in what fits its declaration, and refuses the rest as malformed. */
function expectReadOrRefused(bytesOfFrame: Uint8Array): void {
  let read: ReturnType<typeof open>
  try {
    read = open(bytesOfFrame)
  } catch (error) {
    expect(error).toBeInstanceOf(MalformedError)
    return
  }
  expect(open(encodeFrame(shapes[read.message.type as MessageType], read.header, read.message))).toEqual(read)
}

describe('every message', () => {
  test.each(types)('%s arrives as it was sent', (type) => {
    fc.assert(
      fc.property(header, bodyOf(type), (head, body) => {
        const read = open(encodeFrame(shapes[type], head, body))
        expect(read.message.type).toBe(type)
        // An encoder need not tell -0 from 0.
        expect(encode(read.header)).toEqual(encode(head))
        expect(encode(read.message, { ignoreUndefined: true })).toEqual(
          encode({ type, ...body }, { ignoreUndefined: true }),
        )
      }),
      { numRuns: 30 },
    )
  })

  test('has a code of its own', () => {
    expect(shapesByCode.size).toBe(types.length)
  })

  test('is read when a newer peer appends fields, and optional fields may be missing', () => {
    const appended = encode([...(decode(frameOf('Ping', { lag: 5 })) as unknown[]), 'of the future'])
    expect(open(appended).message).toEqual({ type: 'Ping', lag: 5 })
    const shortened = encode(
      (decode(frameOf('FetchPartitions', { partitions: [3], after: 'x' })) as unknown[]).slice(0, -1),
    )
    expect(open(shortened).message).toEqual({ type: 'FetchPartitions', partitions: [3], after: undefined })
  })
})

describe('the door', () => {
  test('refuses random bytes as malformed', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), expectReadOrRefused), { numRuns: 1000 })
  })

  test('reads frames with changed bytes, or refuses them as malformed', () => {
    const change = fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 }))
    fc.assert(
      fc.property(frame, fc.array(change, { minLength: 1, maxLength: 4 }), (original, changes) => {
        const changed = original.slice()
        for (const [at, byte] of changes) changed[at % changed.length] = byte
        expectReadOrRefused(changed)
      }),
      { numRuns: 1000 },
    )
  })

  test('refuses every frame that was cut short, unless only optional fields are missing', () => {
    fc.assert(
      fc.property(frame, fc.nat(), (original, at) => expectReadOrRefused(original.subarray(0, at % original.length))),
    )
  })

  test('refuses any other thing in the place of any field', () => {
    fc.assert(
      fc.property(frame, fc.nat(), fc.anything(), (original, at, anything) => {
        const fields = decode(original) as unknown[]
        fields[at % fields.length] = anything
        let other: Uint8Array
        try {
          other = encode(fields)
        } catch {
          return
        }
        expectReadOrRefused(other)
      }),
      { numRuns: 1000 },
    )
  })

  test.each([
    ['a message of an unknown code', encode([999, 1, 1, 0, 1000])],
    ['no list', encode({ code: 3 })],
    ['a negative request id', encode([3, -1, 1, 0, 1000, 5])],
    ['a time that is none', encode([3, 1, 1, Number.NaN, 1000, 5])],
    ['a time to live without end', encode([3, 1, 1, 0, Number.POSITIVE_INFINITY, 5])],
    ['a missing field', encode([3, 1, 1, 0, 1000])],
    ['a key that is too long', frameOf('Read', { key: KEY.padEnd(1201, 'k'), full: true })],
    ['a digest that is too long', frameOf('ReadResult', { digest: new Uint8Array(9), complete: true })],
    ['a pair of three', frameOf('Hello', { protocol: [1, 1, 1] })],
    ['too many keys', frameOf('Fetch', { keys: new Array(65_537).fill(KEY) })],
    [
      'too many partitions',
      frameOf('CompareRoots', { partitions: new Array(21 * 4096 + 1).fill(0), digest: new Uint8Array(8) }),
    ],
    [
      'a container that is too large',
      frameOf('Store', { ...STORE, entries: [[KEY, new Uint8Array(MAX_CONTAINER_BYTES + 1)]] }),
    ],
    ['a state that no member has', frameOf('Members', { members: [{ state: 'resting' }] })],
    ['a partition that is no whole number', frameOf('AskComplete', { partitions: [0.5] })],
    ['a partition of no replication class', frameOf('AskComplete', { partitions: [100 * 4096] })],
    ['a leaf that is not in the tree', frameOf('ListLeaves', { leaves: [[0, 256]] })],
    ['a group that is not in the tree', frameOf('CompareLeaves', { groups: [[0, 16]] })],
    // A frame of 128 KiB was answered with 8 MiB.
    ['partitions for a million digests', frameOf('CompareGroups', { partitions: new Array(1000).fill(0) })],
    ['groups for as many', frameOf('CompareLeaves', { groups: new Array(4000).fill([0, 0]) })],
    // Each was a transaction, all at once.
    ['thousands of leaves', frameOf('ListLeaves', { leaves: new Array(1000).fill([0, 0]) })],
  ])('refuses %s', (_, bytesOfFrame) => {
    expect(() => open(bytesOfFrame)).toThrow(MalformedError)
  })

  // It has no place in the ring: as a hint it lay on a disk for good, and everything for its home waited behind it.
  test.each(['garbage', '3/bucket', '3/bucket\0', '0/bucket\0key', '', `3/\0${'k'.repeat(1200)}`])(
    'refuses %j in the place of a key, in every message',
    (odd) => {
      for (const body of [
        { type: 'Store', ...STORE, entries: [[odd, new Uint8Array(1)]], hintFor: ['node______'] },
        { type: 'Stored', refused: [odd] },
        { type: 'Read', key: odd, full: true },
        { type: 'Fetch', keys: [odd] },
        { type: 'ScanPage', entries: [[odd, new Uint8Array(1)]], more: false, lacking: [] },
        { type: 'CheckKeys', keys: [odd] },
        { type: 'KeyDigests', entries: [[odd, new Uint8Array(8)]], whole: true },
        { type: 'Reap', entries: [[odd, new Uint8Array(8)]], commit: false },
        { type: 'Reap', entries: [], commit: false, left: [[odd, new Uint8Array(8)]] },
        { type: 'ReapReply', agreed: [odd] },
        { type: 'Interest', keys: [odd], prefixes: [], added: false },
        { type: 'Changed', entries: [[odd, new Uint8Array(8)]] },
      ])
        expect(() => open(frameOf(body.type as MessageType, body)), body.type).toThrow(MalformedError)
    },
  )

  const member = { node: 'node______', device: 'device____', incarnation: 1, state: 'up', capacity: 1, name: '' }

  test('lets in members of every capacity that a store may be opened with', () => {
    for (const capacity of [0.1, 1, 10])
      expect(open(frameOf('Members', { members: [{ ...member, capacity }] })).message.type).toBe('Members')
  })

  // With such a record no node could compute a placement any more, and all kept it on their disks.
  test.each([0, -1, 1e300])('refuses a member of a capacity that no placement can be computed with: %d', (capacity) => {
    expect(() => open(frameOf('Members', { members: [{ ...member, capacity }] }))).toThrow(MalformedError)
  })

  // The version of such a record was no count any more: everybody's gossip was malformed from then on.
  test('refuses a member of an incarnation that gossip could not carry', () => {
    const incarnation = Number.MAX_SAFE_INTEGER
    expect(() => open(frameOf('Members', { members: [{ ...member, incarnation }] }))).toThrow(MalformedError)
  })

  test('lets in what is as large as it may be', () => {
    expect(open(frameOf('Read', { key: KEY.padEnd(1200, 'k'), full: true })).message.type).toBe('Read')
    const entry = [KEY, new Uint8Array(MAX_CONTAINER_BYTES)]
    expect(open(frameOf('Store', { ...STORE, entries: [entry] })).message.type).toBe('Store')
  })
})
