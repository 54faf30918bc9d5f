/** What a store is opened with, and what a key is: each bad option is named in its error. */
import { describe, expect, test, vi } from 'vitest'
import { DEFAULT_TUNING } from '../../src/core/tuning.js'
import { KeyError, OptionError } from '../../src/store/errors.js'
import {
  type OpenOptions,
  checkBucketName,
  checkKey,
  checkQuorum,
  describeConfig,
  readOptions,
} from '../../src/store/options.js'
import { readWatchTarget } from '../../src/store/watch.js'

const given: OpenOptions = { room: 'room', signaling: null }
const read = (options: object = {}) => readOptions({ ...given, ...options })

describe('the options of a store', () => {
  test('have the defaults of the paper: three homes, two answers to a get, two to a put', () => {
    expect(read()).toEqual({
      room: 'room',
      name: '',
      signaling: null,
      iceServers: [],
      capacity: 1,
      maxPeers: 24,
      tuning: DEFAULT_TUNING,
      defaults: { n: 3, r: 2, w: 2 },
      buckets: new Map(),
    })
  })

  test('bound the default r and w by a smaller n, and leave those that were given', () => {
    expect(read({ replication: { n: 1 } }).defaults).toEqual({ n: 1, r: 1, w: 1 })
    expect(read({ replication: { n: 5, w: 5 } }).defaults).toEqual({ n: 5, r: 2, w: 5 })
    expect(read({ replication: { n: 'all', w: 30 } }).defaults).toEqual({ n: 'all', r: 2, w: 30 })
  })

  test('give a bucket what the store has, but for what it says itself', () => {
    const merge = (siblings: unknown[]) => siblings[0]
    const { buckets } = read({ replication: { n: 2 }, buckets: { plain: {}, own: { n: 1, merge, ttl: 1000 } } })
    expect(buckets.get('plain')).toEqual({ name: 'plain', n: 2, r: 2, w: 2, merge: undefined, ttl: null })
    expect(buckets.get('own')).toEqual({ name: 'own', n: 1, r: 1, w: 1, merge, ttl: 1000 })
  })

  test('take one address of a signaling server, or several, with http meaning ws', () => {
    expect(read({ signaling: 'ws://a.example/signal' }).signaling).toEqual(['ws://a.example/signal'])
    expect(read({ signaling: ['https://a.example/s', 'wss://b.example/s'] }).signaling).toEqual([
      'wss://a.example/s',
      'wss://b.example/s',
    ])
  })

  test('take the page of a server to have a signaling server, and no other page', () => {
    const inPage = (address: string) => {
      vi.stubGlobal('location', new URL(address))
      try {
        return read({ signaling: undefined }).signaling
      } finally {
        vi.unstubAllGlobals()
      }
    }
    expect(inPage('https://a.example/app/')).toEqual(['wss://a.example/signal'])
    expect(() => inPage('file:///app/index.html')).toThrow(OptionError)
    expect(() => inPage('about:srcdoc')).toThrow('outside a page of a server')
  })

  // As a WebSocket takes it. A frame made of a text has no address of its own either.
  test('take a relative address from where the page takes all others', () => {
    const relative = (base: object) => {
      for (const [name, value] of Object.entries(base)) vi.stubGlobal(name, value)
      try {
        return read({ signaling: 'signal' }).signaling
      } finally {
        vi.unstubAllGlobals()
      }
    }
    const location = new URL('https://a.example/app/page')
    expect(relative({ location })).toEqual(['wss://a.example/app/signal'])
    expect(relative({ location, document: { baseURI: 'https://b.example/' } })).toEqual(['wss://b.example/signal'])
  })

  test('may be at their bounds', () => {
    const room = 'é'.repeat(128)
    const tuning = { partitions: 4096 }
    expect(read({ room, name: 'x'.repeat(256), capacity: 10, maxPeers: 100, tuning })).toMatchObject({ room })
    expect(read({ capacity: 0.1, maxPeers: 1, replication: { n: 20 }, tuning: { partitions: 1 } })).toMatchObject({})
  })

  test.each<[option: string, options: object]>([
    ['rooom', { rooom: 'x' }],
    ['room', { room: undefined }],
    ['room', { room: '' }],
    ['room', { room: 7 }],
    ['room', { room: 'é'.repeat(129) }],
    ['name', { name: 7 }],
    ['name', { name: 'x'.repeat(257) }],
    // Its record came back from each peer as another one: the two corrected each other without end.
    ['name', { name: 'x\ud83c' }],
    ['capacity', { capacity: 0 }],
    ['capacity', { capacity: 11 }],
    ['capacity', { capacity: Number.NaN }],
    ['capacity', { capacity: '1' }],
    ['maxPeers', { maxPeers: 0 }],
    ['maxPeers', { maxPeers: 2.5 }],
    ['maxPeers', { maxPeers: 101 }],
    ['iceServers', { iceServers: {} }],
    ['signaling', { signaling: undefined }],
    ['signaling', { signaling: 'ftp://a.example' }],
    ['signaling', { signaling: 'no address' }],
    ['signaling', { signaling: ['wss://a.example', 7] }],
    ['signaling', { signaling: '' }],
    ['signaling', { signaling: [] }],
    ['signaling', { signaling: 'wss://a.example/signal#room' }],
    ['signaling', { signaling: 'wss://a.example/signal#' }],
    ['replication', { replication: 3 }],
    ['replication.n', { replication: { n: 0 } }],
    ['replication.n', { replication: { n: 21 } }],
    ['replication.n', { replication: { n: 'some' } }],
    ['replication.n', { replication: { n: null as never } }],
    ['replication.r', { replication: { r: null as never } }],
    ['replication.w', { replication: { w: null as never } }],
    ['replication.r', { replication: { r: 4 } }],
    ['replication.r', { replication: { r: 0 } }],
    ['replication.w', { replication: { n: 2, w: 3 } }],
    ['replication.w', { replication: { w: 1.5 } }],
    ['replication.N', { replication: { N: 2 } }],
    ['signal', { signal: new AbortController() }],
    ['buckets', { buckets: 'carts' }],
    ['buckets', { buckets: ['carts'] }],
    ['buckets', { buckets: new Map([['carts', { n: 1 }]]) as never }],
    ['buckets', { buckets: { '': {} } }],
    ['buckets', { buckets: { ['x'.repeat(65)]: {} } }],
    // No peer took a Hello of that length, and nobody was told.
    ['buckets', { buckets: Object.fromEntries(Array.from({ length: 400 }, (_, i) => [`bucket ${i}`, { n: 1 }])) }],
    ['buckets.b', { buckets: { b: null } }],
    ['buckets.b', { buckets: { b: [] } }],
    ['replication', { replication: [] }],
    ['tuning', { tuning: 5 }],
    ['buckets.b.merges', { buckets: { b: { merges: () => 0 } } }],
    ['buckets.b.n', { buckets: { b: { n: -1 } } }],
    ['buckets.b.r', { buckets: { b: { r: 9 } } }],
    ['buckets.b.merge', { buckets: { b: { merge: 'union' } } }],
    ['buckets.b.ttl', { buckets: { b: { ttl: 0 } } }],
    ['buckets.b.ttl', { buckets: { b: { ttl: '1h' } } }],
    ['tuning.batchKeys', { tuning: { batchKeys: 16_385 } }],
    ['tuning.batchBytes', { tuning: { batchBytes: 1_000_000 } }],
    ['tuning.speed', { tuning: { speed: 1 } }],
    ['tuning.toString', { tuning: { toString: () => '' } }],
    ['tuning.partitions', { tuning: { partitions: 100 } }],
    ['tuning.partitions', { tuning: { partitions: 8192 } }],
    ['tuning.partitions', { tuning: { partitions: 0.5 } }],
    ['tuning.gossipIntervalMs', { tuning: { gossipIntervalMs: 0 } }],
    ['tuning.gossipIntervalMs', { tuning: { gossipIntervalMs: '1000' } }],
    ['tuning.readRepair', { tuning: { readRepair: 1 } }],
  ])('are refused by name: %s', (option, options) => {
    expect(() => read(options)).toThrow(OptionError)
    expect(() => read(options)).toThrow(expect.objectContaining({ option, code: 'option' }))
  })

  // A timer that is set for longer fires at once: a node would have gossiped without any pause.
  test.each([Number.POSITIVE_INFINITY, 2 ** 31])('are refused when a time is too long for a timer: %d ms', (time) => {
    expect(() => read({ tuning: { gossipIntervalMs: time } })).toThrow("'tuning.gossipIntervalMs'")
  })

  test.each([undefined, null, 'room'])('are refused when they are no object: %s', (options) => {
    expect(() => readOptions(options as unknown as OpenOptions)).toThrow(OptionError)
  })
})

describe('what all peers of a room must share', () => {
  test('is the same text, in whatever order the buckets were named, and tells a different n', () => {
    const config = (buckets: OpenOptions['buckets'], n = 3) => describeConfig(read({ buckets, replication: { n } }))
    expect(config({ a: { n: 1 }, b: { n: 'all' } })).toBe(config({ b: { n: 'all' }, a: { n: 1 } }))
    expect(config({ a: { n: 1 } })).not.toBe(config({ a: { n: 2 } }))
    expect(config({}, 3)).not.toBe(config({}, 4))
    expect(config({ a: { r: 1 } })).toBe(config({ a: { r: 2, ttl: 5 } }))
    // Tabs with an older version of the application were shut out of the ring by a new bucket.
    expect(config({ a: { r: 1 }, b: { n: 3 } })).toBe(config({}))
    expect(config({ 'a:1,b': { n: 1 } })).not.toBe(config({ a: { n: 1 }, b: { n: 1 } }))
    expect(config({ 'a%3A': { n: 1 } })).not.toBe(config({ 'a:': { n: 1 } }))
  })
})

describe('a key', () => {
  test.each(['k', ' ', '\0', 'é'.repeat(512), '🏿'.repeat(256), 'x'.repeat(1024)])('may be %j', (key) => {
    expect(() => checkKey(key)).not.toThrow()
  })

  test.each<[what: string, key: unknown, message: string]>([
    ['empty', '', 'must not be empty'],
    ['no text', 7, 'this is a number'],
    ['null', null, 'this is null'],
    ['longer than 1024 bytes in UTF-8', 'x'.repeat(1025), 'this one has 1025'],
    ['longer than that only in UTF-8', 'é'.repeat(513), 'this one has 1026'],
    ['half of a surrogate pair', 'x\ud83c', 'half a surrogate pair'],
  ])('must not be %s', (_, key, message) => {
    expect(() => checkKey(key)).toThrow(KeyError)
    expect(() => checkKey(key)).toThrow(message)
  })
})

describe('a bucket name', () => {
  test.each(['b', 'a/b', 'é'.repeat(32)])('may be %j', (name) => {
    expect(() => checkBucketName(name)).not.toThrow()
  })

  test.each(['', 'a\0b', '\ud83c', 'é'.repeat(33), 7, null])('must not be %j', (name) => {
    expect(() => checkBucketName(name)).toThrow(KeyError)
  })
})

describe('r and w of a call', () => {
  test('are from 1 to n, or any when all members are homes', () => {
    expect(() => checkQuorum(3, 3, 'r')).not.toThrow()
    expect(() => checkQuorum(50, 'all', 'r')).not.toThrow()
    for (const value of [0, -1, 1.5, Number.NaN, '2', 4]) expect(() => checkQuorum(value, 3, 'r')).toThrow("'r'")
  })
})

describe('what to watch', () => {
  test('is a key, or a prefix of keys, the empty one included', () => {
    expect(readWatchTarget('name')).toEqual({ key: 'name', prefix: '' })
    expect(readWatchTarget({ prefix: 'é'.repeat(512) })).toEqual({ prefix: 'é'.repeat(512) })
    expect(readWatchTarget({ prefix: '' })).toEqual({ prefix: '' })
  })

  // Peers refused a prefix longer than any key as malformed, and ended the link after a few.
  test.each<[unknown, typeof KeyError | typeof OptionError]>([
    ['', KeyError],
    [null, KeyError],
    [{}, OptionError],
    [{ prefix: 1 }, OptionError],
    [{ prefix: '\udfff' }, OptionError],
    [{ prefix: 'x'.repeat(1025) }, OptionError],
  ])('is not %j', (target, kind) => {
    expect(() => readWatchTarget(target as string)).toThrow(kind)
  })
})
