/** Bad input and failures get what the contract says: each error has a test, in a real tab. */
import { describe, expect, test } from 'vitest'
import { TestSignaling } from './support/servers.js'
import type { Tab } from './support/tab.js'
import { useWorld } from './support/world.js'

const world = useWorld()

/** What a call in the page rejects with, as data. */
interface Caught {
  name: string
  code: string
  message: string
  tabring: boolean
  [field: string]: unknown
}

/** Runs an expression with `store` and `tabring` at hand, and returns what it rejects with; fails when it does not. */
async function caught(tab: Tab, expression: string): Promise<Caught> {
  const result = await tab.page.evaluate(async (source) => {
    try {
      const AsyncFunction = (async () => {}).constructor as new (
        ...text: string[]
      ) => (store: unknown, tabring: unknown) => Promise<unknown>
      const value = await new AsyncFunction('store', 'tabring', `return (${source})`)(
        (window as unknown as { store: unknown }).store,
        window.tabring,
      )
      return { value: String(value) }
    } catch (error) {
      const { name, code, message, ...fields } = error as Caught
      const { option, bytes, limit, answers, needed, outcome, reason } = fields
      return {
        error: {
          name,
          code,
          message,
          option,
          bytes,
          limit,
          answers,
          needed,
          outcome,
          reason,
          tabring: error instanceof window.tabring.TabringError,
          cause: String((error as Error).cause),
        },
      }
    }
  }, expression)
  if (!('error' in result)) throw new Error(`${expression} did not reject but gave ${result.value}`)
  return result.error as unknown as Caught
}

const offline = () => world.tab({ options: { signaling: null } })

describe('openStore', () => {
  test.each([
    ['{}', 'room'],
    ["{ room: '' }", 'room'],
    ['{ room: 7 }', 'room'],
    ["{ room: 'r', replication: { n: 0 } }", 'replication.n'],
    ["{ room: 'r', replication: { n: 2.5 } }", 'replication.n'],
    ["{ room: 'r', replication: { n: 3, r: 4 } }", 'replication.r'],
    ["{ room: 'r', replication: { w: 0 } }", 'replication.w'],
    ["{ room: 'r', buckets: { carts: { w: 9 } } }", 'buckets.carts.w'],
    ["{ room: 'r', buckets: { carts: { merge: 'union' } } }", 'buckets.carts.merge'],
    ["{ room: 'r', buckets: { carts: { ttl: -1 } } }", 'buckets.carts.ttl'],
    ["{ room: 'r', signaling: 'ftp://example.org' }", 'signaling'],
    ["{ room: 'r', signaling: [1] }", 'signaling'],
    ["{ room: 'r', signaling: '' }", 'signaling'],
    ["{ room: 'r', iceServers: 'stun:x' }", 'iceServers'],
    ["{ room: 'r', iceServers: ['stun:x'] }", 'iceServers'],
    ["{ room: 'r', iceServers: [5] }", 'iceServers'],
    ["{ room: 'r', iceServers: [{}] }", 'iceServers'],
    ["{ room: 'r', iceServers: [{ urls: 'nonsense' }] }", 'iceServers'],
    ["{ room: 'r', iceServers: [{ urls: 'turn:x' }] }", 'iceServers'],
    ["{ room: 'r', name: 5 }", 'name'],
    ["{ room: 'r', rom: 'typo' }", 'rom'],
    ["{ room: 'r', tuning: { partitions: 100 } }", 'tuning.partitions'],
    ["{ room: 'r', tuning: { gossip: 1 } }", 'tuning.gossip'],
  ])('%s names the option %s', async (options, option) => {
    const tab = await offline()
    const error = await caught(tab, `tabring.openStore({ signaling: null, ...${options} })`)
    expect(error).toMatchObject({ name: 'OptionError', code: 'option', option, tabring: true })
    expect(error.message).toContain(option)
  })

  test('a secret is refused as long as rooms with one are not built', async () => {
    const error = await caught(await offline(), "tabring.openStore({ room: 'r', signaling: null, secret: 'x' })")
    expect(error).toMatchObject({ name: 'SecretError', code: 'secret', tabring: true })
  })

  test('without Web Locks or IndexedDB a StorageError says what is missing', async () => {
    const tab = await offline()
    await tab.page.evaluate(() => Object.defineProperty(navigator, 'locks', { value: undefined }))
    const locks = await caught(tab, "tabring.openStore({ room: 'r2', signaling: null })")
    expect(locks).toMatchObject({ name: 'StorageError', code: 'storage', reason: 'unavailable', tabring: true })
    expect(locks.message).toMatch(/Web Locks.*https/)
  })

  // As in Firefox, where cookies are blocked. It was of an unknown kind.
  test('where the user lets the site store nothing, a StorageError says that it is unavailable', async () => {
    const tab = await offline()
    await tab.page.evaluate(() => {
      IDBFactory.prototype.open = () => {
        throw new DOMException('The operation is insecure.', 'SecurityError')
      }
    })
    expect(await caught(tab, "tabring.openStore({ room: 'r4', signaling: null })")).toMatchObject({
      name: 'StorageError',
      reason: 'unavailable',
      message: expect.stringContaining('insecure'),
    })
  })

  // It said that there is no document, once its node ran: that one could not be stopped any more, and went on to adopt closed tabs onto a closed disk.
  test('a worker has no page, and nothing is begun there', async () => {
    const tab = await world.tab({ options: { signaling: null } })
    const { told, databases } = await tab.evaluate((_, room) => window.tabring.openInWorker(room), 'in a worker')
    expect(told).toMatch(/^StorageError \(unavailable\): .*worker/)
    expect(databases.filter((name) => name.includes('worker'))).toEqual([])
  })

  test('is given up with the reason of its signal', async () => {
    const error = await caught(
      await offline(),
      "tabring.openStore({ room: 'r3', signaling: null, signal: AbortSignal.abort(new RangeError('enough')) })",
    )
    expect(error).toMatchObject({ name: 'RangeError', message: 'enough' })
  })

  // It waited as long as the other connection did.
  test('is given up at once while somebody else holds the database, and leaves nothing behind', async () => {
    const tab = await offline()
    const seen = await tab.evaluate(async ({ status }) => {
      const { room, node } = status
      await window.store.close()
      // Without a listener for 'versionchange' it stays open, and the deletion and whatever comes after that wait for it.
      const holder = await window.tabring.openDatabaseOf(node)
      const deleted = new Promise((resolve) => {
        indexedDB.deleteDatabase(holder.name).onsuccess = resolve
      })
      const abort = new AbortController()
      setTimeout(() => abort.abort(new RangeError('enough')), 100)
      const begun = performance.now()
      const reason = await window.tabring.openStore({ room, signaling: null, signal: abort.signal }).catch(String)
      const tookMs = performance.now() - begun
      holder.close()
      await deleted
      const locks = async () => (await navigator.locks.query()).held?.length
      for (let i = 0; (await locks()) && i < 100; i++) await new Promise((resolve) => setTimeout(resolve, 20))
      const left = await locks()
      window.store = await window.tabring.openStore({ room, signaling: null })
      return { reason, tookMs, left, same: window.store.status.node === node }
    })
    expect(seen).toMatchObject({ reason: 'RangeError: enough', left: 0, same: true })
    expect(seen.tookMs).toBeLessThan(1000)
  })
})

describe('keys and values', () => {
  test.each([
    ["store.get('')", /empty/],
    ['store.get(7)', /number/],
    ['store.put(null, 1)', /null/],
    ["store.put('x'.repeat(1025), 1)", /1025/],
    ["store.put('é'.repeat(513), 1)", /1026/],
    ["store.delete('\\ud800')", /surrogate/],
    ["store.bucket('')", /bucket/],
    ["store.bucket('a\\0b')", /bucket/],
    ["store.bucket('x'.repeat(65))", /64/],
    ["store.watch('').next()", /empty/],
    ["store.subscribe('', () => {})", /empty/],
  ])('%s is a KeyError', async (call, message) => {
    const error = await caught(await offline(), call)
    expect(error).toMatchObject({ name: 'KeyError', code: 'key', tabring: true })
    expect(error.message).toMatch(message)
  })

  test('keys of exactly 1,024 bytes are keys', async () => {
    const tab = await offline()
    for (const key of ['x'.repeat(1024), 'é'.repeat(512), '\0']) {
      await tab.put(key, 'fits')
      expect((await tab.get(key)).value).toBe('fits')
    }
  })

  test.each([
    'undefined',
    '() => {}',
    "Symbol('s')",
    'new (class Point {})()',
    '[undefined]',
    '{ a: { b: () => {} } }',
    'new Date(NaN)',
    '/regex/',
    '(() => { const a = []; a.push(a); return a })()',
    'new WeakMap()',
  ])('the value %s is a ValueError', async (value) => {
    expect(await caught(await offline(), `store.put('k', ${value})`)).toMatchObject({
      name: 'ValueError',
      code: 'value',
      tabring: true,
    })
  })

  test('a value over 1 MiB is a ValueTooLargeError with its size; one of just 1 MiB is kept', async () => {
    const tab = await offline()
    const error = await caught(tab, "store.put('k', new Uint8Array(1024 * 1024 - 4))")
    expect(error).toMatchObject({
      name: 'ValueTooLargeError',
      code: 'value-too-large',
      limit: 1024 * 1024,
      bytes: 1024 * 1024 + 1,
      tabring: true,
    })
    await tab.evaluate((store) => store.put('k', new Uint8Array(1024 * 1024 - 5)))
    expect(await tab.evaluate(async (store) => (await store.get('k')).value.length)).toBe(1024 * 1024 - 5)
  })

  test('every kind of value comes back as it was', async () => {
    const tab = await offline()
    const same = await tab.evaluate(async (store) => {
      const value = {
        nothing: null,
        yes: true,
        int: -7,
        float: 0.1,
        big: 2n ** 100n,
        negative: -(10n ** 30n),
        text: 'ünïcode 💍',
        empty: '',
        date: new Date(1e12),
        bytes: new Uint8Array([0, 255]),
        list: [1, [2, ['3']]],
        map: new Map<unknown, unknown>([
          ['a', new Set([1n, 'x'])],
          [2, { deep: new Map() }],
        ]),
        set: new Set([new Date(5)]),
        inf: -Infinity,
        max: Number.MAX_SAFE_INTEGER,
        object: { a: { b: {} } },
      }
      await store.put('all', value)
      const back = (await store.get('all')).value as typeof value
      const show = (x: unknown): string =>
        x instanceof Map
          ? `Map(${[...x].map(([k, v]) => `${show(k)}=>${show(v)}`)})`
          : x instanceof Set
            ? `Set(${[...x].map(show)})`
            : x instanceof Date
              ? `Date(${x.getTime()})`
              : x instanceof Uint8Array
                ? `Bytes(${x})`
                : Array.isArray(x)
                  ? `[${x.map(show)}]`
                  : typeof x === 'bigint'
                    ? `${x}n`
                    : x !== null && typeof x === 'object'
                      ? `{${Object.entries(x).map(([k, v]) => `${k}:${show(v)}`)}}`
                      : `${typeof x} ${x}`
      return [show(value), show(back)]
    })
    expect(same[1]).toBe(same[0])
  })
})

describe('calls', () => {
  test('name the option that they refuse', async () => {
    const tab = await offline()
    for (const [call, option] of [
      ["store.get('k', { r: 4 })", 'r'],
      ["store.get('k', { r: 0 })", 'r'],
      ["store.put('k', 1, { w: 1.5 })", 'w'],
      ["store.put('k', 1, { quorum: 'loose' })", 'quorum'],
      ["store.put('k', 1, { durability: 'maybe' })", 'durability'],
      ['store.subscribe({ prefix: 1 }, () => {})', 'prefix'],
      ["store.subscribe('k')", 'listener'],
      // A misspelt context changed the causality without a word.
      ["store.put('k', 1, { contxt: null })", 'contxt'],
      ["store.get('k', { w: 1 })", 'w'],
      ["store.delete('k', { r: 1 })", 'r'],
      ["store.update('k', () => 1, { context: null })", 'context'],
      ["store.update('k', 1)", 'change'],
      ["store.getMany(['k'], { strict: true })", 'strict'],
      ["store.getMany('text')", 'keys'],
      ['store.getMany()', 'keys'],
      ["store.putMany([['k', 1]], { context: null })", 'context'],
      ["store.putMany(['kv'])", 'pairs'],
      ["store.putMany([['k', 1, {}]])", 'pairs'],
      ['store.putMany({ k: 1 })', 'pairs'],
      ["store.watch('k', { prefix: '' })", 'prefix'],
      ["store.watch({ prefix: '', key: 'k' })", 'key'],
      ['store.getMany([], { r: 9 })', 'r'],
      ['store.putMany([], { w: 9 })', 'w'],
      ["store.putMany([], { durability: 'maybe' })", 'durability'],
      ["store.update('k', () => fail('was called'), { w: 9 })", 'w'],
      ["store.update('k', () => fail('was called'), { durability: 'maybe' })", 'durability'],
      ['store.ready({ peer: 1 })', 'peer'],
      ["store.ready({ peers: 'x' })", 'peers'],
      ['store.ready({ peers: NaN })', 'peers'],
      ['store.ready({ peers: 1.5 })', 'peers'],
      ['store.flush({ timeout: 1 })', 'timeout'],
      ["store.verify({ repair: 'yes' })", 'repair'],
      ['store.leave({ force: true })', 'force'],
      ["store.get('k', { signal: new AbortController() })", 'signal'],
      ["store.get('k', 3)", 'options'],
      ['store.scan({ limit: -1 })', 'limit'],
      ['store.scan({ prefix: 1 })', 'prefix'],
      ['store.scan({ from: "a" })', 'from'],
    ] as const)
      expect(await caught(tab, call), call).toMatchObject({
        name: 'OptionError',
        code: 'option',
        option,
        tabring: true,
      })
  })

  test('null is as good as no options', async () => {
    const tab = await offline()
    await tab.evaluate(async (store) => {
      const none = null as unknown as undefined
      await store.put('k', 1, none)
      await store.get('k', none)
      await store.update('k', (n) => n + 1, none)
      await store.getMany(['k'], none)
      await store.putMany([['l', 1]], none)
      await store.watch('k', none).next()
      for await (const _ of store.scan(none));
      await store.verify(none)
      await store.flush(none)
    })
  })

  test('a context of another key, of another room, or a damaged one is a ContextError', async () => {
    const tab = await offline()
    await tab.put('a', 1)
    for (const context of [
      "(await store.get('b')).context",
      "(await (await tabring.openStore({ room: 'elsewhere', signaling: null })).put('a', 1)).context",
      "(await store.get('a')).context.map((byte, i) => (i === 12 ? byte ^ 1 : byte))",
      'new Uint8Array(3)',
      "'text'",
      '{}',
    ]) {
      expect(await caught(tab, `store.put('a', 2, { context: ${context} })`)).toMatchObject({
        name: 'ContextError',
        code: 'context',
        tabring: true,
      })
    }
    const stored = await tab.evaluate(async (store) => JSON.stringify([...(await store.get('a')).context]))
    await tab.evaluate((store, kept) => store.put('a', 2, { context: JSON.parse(kept) }), stored)
    expect((await tab.get('a')).siblings).toEqual([2])
  })

  test('strict quorums reject with QuorumError while too few homes answer; the outcome of such a put is unknown', async () => {
    const [a, b] = (await world.ring(2)) as [Tab, Tab]
    await a.put('k', 'before', { quorum: 'strict' })
    await a.evaluate((store) => window.tabring.faults(store).cut())
    expect(await caught(a, "store.put('k', 'after', { quorum: 'strict' })")).toMatchObject({
      name: 'QuorumError',
      code: 'quorum',
      answers: 1,
      needed: 2,
      outcome: 'unknown',
      tabring: true,
    })
    expect(await caught(a, "store.get('k', { quorum: 'strict' })")).toMatchObject({
      name: 'QuorumError',
      code: 'quorum',
      answers: 1,
      needed: 2,
      outcome: 'none',
      tabring: true,
    })
    expect((await a.get('k')).quorum).toMatchObject({ met: false, answers: 1, needed: 2 })
    await a.evaluate((store) => window.tabring.faults(store).heal())
    await b.waitFor('the put of unknown outcome', async (store) => (await store.get('k')).value === 'after')
  })

  test.each(['abort', 'close'])('a put that had not begun when it came to an end (%s) never happens', async (end) => {
    const tab = await offline()
    await tab.put('k', 'old')
    await tab.reload()
    // What a new page's put descends from has to be read first.
    const outcome = await tab.evaluate(async (store, how) => {
      const signal = new AbortController()
      const put = store.put('k', 'new', { signal: signal.signal }).then(
        () => 'done',
        ({ name }: Error) => name,
      )
      if (how === 'abort') signal.abort()
      else void store.close()
      return put
    }, end)
    expect(outcome).toBe(end === 'abort' ? 'AbortError' : 'ClosedError')
    await tab.reload()
    expect((await tab.get('k')).siblings).toEqual(['old'])
  })

  // It was told to give the signal of an AbortController, which it had given.
  test('the signal of another frame of the page is as good as any', async () => {
    const tab = await offline()
    const told = await tab.evaluate(async (store) => {
      const frame = document.body.appendChild(document.createElement('iframe'))
      const abort = new (frame.contentWindow as Window & typeof globalThis).AbortController()
      await store.get('k', { signal: abort.signal })
      const waiting = store.ready({ peers: 1, signal: abort.signal }).catch((error) => error.message)
      abort.abort(new RangeError('enough'))
      return waiting
    })
    expect(told).toBe('enough')
  })

  test('an aborted call rejects with the reason of its signal', async () => {
    const tab = await offline()
    for (const call of [
      "store.get('k', S)",
      "store.put('k', 1, S)",
      "store.delete('k', S)",
      "store.update('k', () => 1, S)",
      'store.flush(S)',
      'store.ready({ peers: 9, ...S })',
      "store.watch('k', S).next()",
      'store.getMany([], S)',
      'store.putMany([], S)',
      'store.scan({ limit: 0, ...S })[Symbol.asyncIterator]().next()',
    ]) {
      const error = await caught(tab, call.replace('S', "{ signal: AbortSignal.abort(new RangeError('enough')) }"))
      expect(error).toMatchObject({ name: 'RangeError', message: 'enough' })
    }
    expect(await caught(tab, 'store.ready({ peers: 1, signal: AbortSignal.timeout(20) })')).toMatchObject({
      name: 'TimeoutError',
    })
  })

  // What had no error of its own rejected with one of the core's.
  test('reject with StorageError, whichever it is, once the disk is gone', async () => {
    const tab = await offline()
    await tab.put('k', 1)
    await tab.reload()
    await tab.evaluate(async (store) => {
      const db = await window.tabring.openDatabaseOf(store.status.node)
      db.close()
      const { name, version } = db
      await new Promise((resolve) => {
        indexedDB.open(name, version + 1).onsuccess = resolve
      })
    })
    for (const call of [
      "store.get('k')",
      "store.put('k', 2)",
      "store.update('k', (value) => value + 1)",
      "store.getMany(['k'])",
      "store.putMany([['k', 2]])",
      'store.verify()',
      "store.trace('k')",
      'store.scan()[Symbol.asyncIterator]().next()',
      "store.watch({ prefix: '' }).next()",
      "store.watch('k').next()",
    ]) {
      const error = await caught(tab, call)
      expect(error, call).toMatchObject({ name: 'StorageError', code: 'storage', reason: 'closed', tabring: true })
    }
  })

  test('a putMany that waits for its source, or never comes to its end, is given up like any other call', async () => {
    const tab = await offline()
    const taken = await tab.evaluate(async (store) => {
      const stalled = async function* (): AsyncGenerator<[string, number]> {
        yield ['first', 1]
        await new Promise(() => {})
      }
      let given = 0
      let returned = false
      const endless = async function* (): AsyncGenerator<[string, number]> {
        try {
          for (;;) {
            yield [`k${given % 50}`, given++]
            await new Promise((resolve) => setTimeout(resolve, 1))
          }
        } finally {
          returned = true
        }
      }
      const errors: string[] = []
      for (const source of [stalled(), endless()])
        await store
          .putMany(source, { signal: AbortSignal.timeout(50) })
          .catch((error: Error) => errors.push(error.name))
      const givenThen = given
      while (!returned) await new Promise((resolve) => setTimeout(resolve, 1))
      return { errors, more: given - givenThen, first: (await store.get('first')).value }
    })
    expect(taken).toEqual({ errors: ['TimeoutError', 'TimeoutError'], more: expect.any(Number), first: 1 })
    expect(taken.more).toBeLessThan(2)
  })

  test('after close every verb rejects with ClosedError, what was waiting as well, and closing again is fine', async () => {
    const tab = await offline()
    const stalled = caught(tab, 'store.putMany((async function* () { await new Promise(() => {}); yield ["k", 1] })())')
    const waiting = caught(tab, 'store.ready({ peers: 1 })')
    const watching = caught(tab, "(async () => { for await (const _ of store.watch('k')); })()")
    await tab.put('k', 1)
    await tab.evaluate(async (store) => {
      await Promise.all([store.close(), store.close()])
      await store.close()
    })
    for (const error of [await waiting, await watching, await stalled])
      expect(error).toMatchObject({ name: 'ClosedError', code: 'closed', tabring: true })
    for (const call of [
      "store.get('k')",
      "store.put('k', 1)",
      "store.delete('k')",
      "store.update('k', () => 1)",
      "store.getMany(['k'])",
      "store.putMany([['k', 1]])",
      'store.getMany([])',
      'store.putMany([])',
      "store.watch('k').next()",
      "store.subscribe('k', () => {})",
      'store.scan()',
      "store.bucket('b')",
      'store.ready()',
      'store.flush()',
      'store.verify()',
      "store.trace('k')",
      'store.connect()',
      'store.disconnect()',
    ]) {
      expect(await caught(tab, call)).toMatchObject({ name: 'ClosedError', code: 'closed', tabring: true })
    }
  })

  describe('what keeps a tab alone is told in an error event, once', () => {
    /** Opens a store and tells of the errors that it is told within some time after the first. */
    const errorsOf = (tab: Tab, signaling: string) =>
      tab.page.evaluate(
        async ({ signaling, room }) => {
          const store = await window.tabring.openStore({ room, signaling })
          const errors: { name: string; code: string; message: string; tabring: boolean }[] = []
          await new Promise<void>((resolve) =>
            store.addEventListener('error', ({ detail }) => {
              const error = detail as Error & { code: string }
              const { name, code, message } = error
              errors.push({ name, code, message, tabring: error instanceof window.tabring.TabringError })
              // Nothing tells that no second one comes.
              setTimeout(resolve, 3000)
            }),
          )
          await store.close()
          return errors
        },
        { signaling, room: world.room },
      )

    test('a signaling server that takes no more', async () => {
      const signaling = new TestSignaling({ peersPerRoom: 1 })
      await signaling.start()
      try {
        const first = await world.tab({ options: { signaling: signaling.url } })
        await first.evaluate(async (store) => {
          while (!store.status.online) await new Promise((resolve) => setTimeout(resolve, 20))
        })
        expect(await errorsOf(await offline(), signaling.url)).toEqual([
          {
            name: 'ConnectionError',
            code: 'connection',
            message: expect.stringContaining('the room has 1 peers, and takes no more'),
            tabring: true,
          },
        ])
      } finally {
        await signaling.kill()
      }
    })

    test('an address that the page may not connect to', async () => {
      const tab = await offline()
      await tab.page.evaluate(() => {
        window.WebSocket = class {
          constructor() {
            throw new DOMException('insecure', 'SecurityError')
          }
        } as unknown as typeof WebSocket
      })
      expect(await errorsOf(tab, 'ws://example.org/signal')).toEqual([
        {
          name: 'ConnectionError',
          code: 'connection',
          message: expect.stringContaining('ws://example.org/signal'),
          tabring: true,
        },
      ])
    })

    // Chromium tells of it by an 'error' without a 'close', and nothing came of that: neither a word nor another try.
    test.each(['chromium', 'firefox'] as const)(
      'an address that the security policy of the page forbids, in %s',
      async (browser) => {
        world.expectNoise(/Content.Security.Policy/)
        const tab = await world.tab({ browser, options: { signaling: null } })
        await tab.page.evaluate(() => {
          const policy = Object.assign(document.createElement('meta'), { content: "connect-src 'none'" })
          policy.httpEquiv = 'Content-Security-Policy'
          document.head.append(policy)
        })
        expect(await errorsOf(tab, world.signaling.url)).toEqual([
          {
            name: 'ConnectionError',
            code: 'connection',
            message: expect.stringContaining(world.signaling.url),
            tabring: true,
          },
        ])
      },
    )

    test('a browser without WebRTC', async () => {
      const context = await (await world.browser('chromium')).newContext()
      await context.addInitScript(() => {
        for (const name of ['RTCPeerConnection', 'webkitRTCPeerConnection']) Reflect.deleteProperty(window, name)
      })
      const tab = await world.tab({ context, options: { signaling: null } })
      await world.tab()
      expect(await errorsOf(tab, world.signaling.url)).toEqual([
        { name: 'ConnectionError', code: 'connection', message: expect.stringContaining('WebRTC'), tabring: true },
      ])
    })
  })

  test('peers with other room parameters are told of by a ConfigMismatchError, on both sides', async () => {
    const a = await world.tab()
    const b = await world.tab({ options: { replication: { n: 2 } } })
    for (const tab of [a, b]) {
      const error = await caught(tab, 'store.ready()')
      expect(error).toMatchObject({ name: 'ConfigMismatchError', code: 'config-mismatch', tabring: true })
      expect(error.message).toContain('n=2')
    }
    await a.put('k', 1)
    expect((await b.get('k')).value).toBeUndefined()
  })

  test('a tab with other room parameters that has gone, or is not the only one here, keeps nobody from being ready', async () => {
    const a = await world.tab()
    const stranger = await world.tab({ options: { replication: { n: 2 } } })
    expect(await caught(a, 'store.ready()')).toMatchObject({ name: 'ConfigMismatchError' })
    const b = await world.tab()
    for (const tab of [b, a]) await tab.evaluate((store) => store.ready())
    expect(await caught(b, 'store.ready({ peers: 2 })')).toMatchObject({ name: 'ConfigMismatchError' })
    await b.close()
    await stranger.close()
    await a.waitFor('both to be gone', (store) => store.status.peers === 0)
    await a.evaluate((store) => {
      Object.assign(window, { waiting: store.ready() })
    })
    const c = await world.tab()
    await Promise.all([c.ready(1), a.evaluate(() => (window as unknown as { waiting: Promise<void> }).waiting)])
  })

  test('a tab that comes back with the right room parameters is let in at once', async () => {
    const a = await world.tab()
    const b = await world.tab({ options: { replication: { n: 2 } } })
    for (const tab of [a, b]) expect(await caught(tab, 'store.ready()')).toMatchObject({ name: 'ConfigMismatchError' })
    const ready = b.page.evaluate(
      async ([room, signaling]) => {
        const { node } = window.store.status
        await window.store.close()
        window.store = await window.tabring.openStore({ room, signaling })
        await window.store.ready()
        return window.store.status.node === node
      },
      [world.room, world.signaling.url] as const,
    )
    expect(await ready).toBe(true)
    await a.evaluate((store) => store.ready())
  })

  test('a full disk rejects own writes with StorageError and the DOMException as cause', async () => {
    const context = await (await world.browser('chromium')).newContext()
    const page = await context.newPage()
    const cdp = await context.newCDPSession(page)
    await cdp.send('Storage.overrideQuotaForOrigin', { origin: new URL(world.url).origin, quotaSize: 3_000_000 })
    await page.goto(world.url)
    const failure = await page.evaluate(async () => {
      const store = await window.tabring.openStore({ room: 'full', signaling: null })
      for (let i = 0; i < 100; i++) {
        try {
          await store.put(`k${i}`, crypto.getRandomValues(new Uint8Array(60_000)))
        } catch (error) {
          const { name, code, reason, cause } = error as InstanceType<typeof window.tabring.StorageError>
          const kept = (await store.getMany(Array.from({ length: i }, (_, n) => `k${n}`))).filter(
            (entry) => entry.value?.length === 60_000,
          ).length
          return { name, code, reason, cause: (cause as DOMException).name, everythingElseKept: kept === i }
        }
      }
      return undefined
    })
    expect(failure).toEqual({
      name: 'StorageError',
      code: 'storage',
      reason: 'quota',
      cause: 'QuotaExceededError',
      everythingElseKept: true,
    })
    await context.close()
  })

  test('a key with a hundred unresolved versions refuses one more until they are resolved', async () => {
    const tab = await offline()
    await tab.evaluate(async (store) => {
      for (let i = 0; i < 100; i++) await store.put('bomb', i, { context: null })
    })
    expect(await caught(tab, "store.put('bomb', 'more', { context: null })")).toMatchObject({
      name: 'SiblingLimitError',
      code: 'sibling-limit',
      tabring: true,
    })
    const { siblings, context } = await tab.get('bomb')
    expect(siblings).toHaveLength(100)
    await tab.put('bomb', 'resolved', { context })
    expect((await tab.get('bomb')).siblings).toEqual(['resolved'])
  })
})
