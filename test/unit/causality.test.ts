/** What a put without a context replaces: what its handle has been shown, all of it and nothing else. */
import { describe, expect, test } from 'vitest'
import { storeKey } from '../../src/core/ids.js'
import type { Bucket } from '../../src/store/bucket.js'
import type { Store } from '../../src/store/store.js'
import { type Ring, type Tab, containerAt, nodeOf, openRing } from '../paper/ring.js'
import { answerOf, passing, storeAt } from './support/stores.js'

type Verbs = Pick<Bucket<unknown>, 'get' | 'put' | 'getMany' | 'scan' | 'watch'>

// The read went on without its caller, and what it found counted as seen.
test('a get that was given up has shown nothing: a put after it stands beside what it would have shown', async () => {
  const ring = await openRing(3)
  const [a, b] = ring.tabs.map((tab) => storeAt(tab).store)
  if (!a || !b) throw new Error('three tabs')
  await answerOf(ring, a.put('k', 'from a'))
  const given = new AbortController()
  const got = b.get('k', { signal: given.signal })
  const many = b.getMany(['k'], { signal: given.signal })
  given.abort(new Error('given up'))
  await expect(got).rejects.toThrow('given up')
  await expect(many).rejects.toThrow('given up')
  await passing(ring, 2000)
  await answerOf(ring, b.put('k', 'from b'))
  const { siblings } = await answerOf(ring, a.get('k'))
  expect([...siblings].sort()).toEqual(['from a', 'from b'])
})

/** A ring in which the second tab has written a value; the stores of all three, the first one's first. */
async function theirs(options: Parameters<typeof storeAt>[1] = {}) {
  const ring = await openRing(3, {}, { quiet: false })
  const [mine, other, third] = ring.tabs as [Tab, Tab, Tab]
  const stores = [storeAt(mine, options), storeAt(other), storeAt(third)].map(({ store }) => store)
  const [store, writer, reader] = stores as [Store, Store, Store]
  await answerOf(ring, writer.put('k', 'theirs', { w: 3 }))
  return { ring, mine, other, store, writer, reader }
}

/** As everybody else sees it after two puts of the tab. Once the first was confirmed, the second replaced what that had spared. */
async function siblingsAfterPut(ring: Ring, store: Verbs, reader: Verbs): Promise<unknown[]> {
  await answerOf(ring, store.put('k', 'first', { w: 3 }))
  await answerOf(ring, store.put('k', 'mine', { w: 3 }))
  return [...(await answerOf(ring, reader.get('k', { r: 3 }))).siblings].sort()
}

function throwing(): never {
  throw new Error('no merge')
}

// All of these counted as read from the moment on when it was read, and the put replaced what nobody had been shown.
describe('what was read and not shown is replaced by no put:', () => {
  test('by a getMany that rejects because of another key', async () => {
    const { ring, other, store, reader } = await theirs()
    await ring.client(other).put('unreadable', 'not MessagePack', { w: 3 })
    await expect(answerOf(ring, store.getMany(['k', 'unreadable']))).rejects.toThrow('cannot be read')
    expect(await siblingsAfterPut(ring, store, reader)).toEqual(['mine', 'theirs'])
  })

  test('by a get of a version that this application cannot read', async () => {
    const { ring, other, store } = await theirs()
    await ring.client(other).put('unreadable', 'not MessagePack', { w: 3 })
    await expect(answerOf(ring, store.get('unreadable'))).rejects.toThrow('cannot be read')
    await answerOf(ring, store.put('unreadable', 'mine', { w: 3 }))
    expect(await ring.client(other).get('unreadable', { r: 3 })).toHaveLength(2)
  })

  test('by a get whose merge fails', async () => {
    const { ring, store, writer, reader } = await theirs({ buckets: { b: { merge: throwing } } })
    await answerOf(ring, writer.bucket('b').put('k', 'one', { w: 3, context: null }))
    await answerOf(ring, reader.bucket('b').put('k', 'two', { w: 3, context: null }))
    await expect(answerOf(ring, store.bucket('b').get('k'))).rejects.toThrow('no merge')
    expect(await siblingsAfterPut(ring, store.bucket('b'), reader.bucket('b'))).toEqual(['mine', 'one', 'two'])
  })

  test('by a watch that ends while it reads', async () => {
    const { ring, mine, store, writer, reader } = await theirs()
    const end = new AbortController()
    const watch = store.watch('k', { signal: end.signal })
    expect((await answerOf(ring, watch.next())).value).toMatchObject({ value: 'theirs' })
    const next = watch.next().catch((error) => error)
    await passing(ring, 500)
    const { coordinator } = nodeOf(mine)
    const get = coordinator.get.bind(coordinator)
    coordinator.get = async (...asked) => {
      end.abort(new Error('enough'))
      return get(...asked)
    }
    await answerOf(ring, writer.put('k', 'later', { w: 3 }))
    expect(await answerOf(ring, next)).toMatchObject({ message: 'enough' })
    await passing(ring, 1000)
    expect(await siblingsAfterPut(ring, store, reader)).toEqual(['later', 'mine'])
  })
})

describe('what was shown is replaced by a put:', () => {
  test.each<[what: string, show: (store: Verbs) => Promise<unknown>]>([
    ['a get', (store) => store.get('k')],
    ['a getMany', (store) => store.getMany(['k'])],
    ['a scan', (store) => store.scan()[Symbol.asyncIterator]().next()],
    ['a watch of the key', (store) => store.watch('k').next()],
    ['a watch of everything', (store) => store.watch().next()],
  ])('by %s', async (_, show) => {
    const { ring, store, reader } = await theirs()
    await answerOf(ring, show(store))
    expect(await siblingsAfterPut(ring, store, reader)).toEqual(['mine'])
  })

  test('by a scan that shows all versions, as their merge fails', async () => {
    const { ring, store, writer, reader } = await theirs({ buckets: { b: { merge: throwing } } })
    await answerOf(ring, writer.bucket('b').put('k', 'one', { w: 3, context: null }))
    await answerOf(ring, reader.bucket('b').put('k', 'two', { w: 3, context: null }))
    const { value } = await answerOf(ring, store.bucket('b').scan()[Symbol.asyncIterator]().next())
    expect(value?.siblings).toHaveLength(2)
    expect(await siblingsAfterPut(ring, store.bucket('b'), reader.bucket('b'))).toEqual(['mine'])
  })
})

// The handle forgot all that it knew of the key when others had agreed to forget what its long context says of replaced versions.
test.each(['a home', 'no home'] as const)(
  'a put replaces what was read, also after everybody has shortened its long context (at %s)',
  async (where) => {
    const ring = await openRing(5, { reapAfterMs: 5000 })
    const homes = ring.homes('k')
    // Each life of a tab is an actor of its own.
    for (let life = 0; life < 16; life++) {
      ring.crash(homes[0])
      await ring.reopen(homes[0])
      await ring.until('it is up', () => nodeOf(homes[0]).peers.reachable().length === 4)
      await answerOf(ring, storeAt(homes[0]).store.put('k', `v${life}`, { w: 3 }))
    }
    const { store } = storeAt(where === 'a home' ? homes[1] : (ring.others('k')[0] as Tab))
    expect((await answerOf(ring, store.get('k'))).value).toBe('v15')
    expect(containerAt(homes[0], 'k').context.vector.size).toBeGreaterThan(12)
    await passing(ring, 30_000)
    expect(containerAt(homes[0], 'k').context.vector.size).toBe(1)
    await answerOf(ring, store.put('k', 'mine'))
    expect((await answerOf(ring, store.get('k'))).siblings).toEqual(['mine'])
    expect(nodeOf(homes[0]).replica.hints.pending).toBe(0)
  },
)

// One whose function never ends kept all later ones waiting, until the page was loaded anew.
test('an update that was given up writes nothing, and those behind it do not wait for its function', async () => {
  const ring = await openRing(3)
  const { store } = storeAt(ring.tab(0))
  const given = new AbortController()
  let end = (_: string) => {}
  const change = () =>
    new Promise<string>((resolve) => {
      end = resolve
    })
  const first = store.update<string>('k', change, { signal: given.signal })
  const second = store.update<string>('k', () => 'second')
  await passing(ring, 500)
  given.abort(new Error('given up'))
  await expect(first).rejects.toThrow('given up')
  await answerOf(ring, second)
  end('first')
  await passing(ring, 500)
  await answerOf(
    ring,
    store.update<string>('k', (value) => `${value} third`),
  )
  expect((await answerOf(ring, store.get('k'))).siblings).toEqual(['second third'])
})

test('a merge that sorts its siblings in place leaves those of the entry as they were', async () => {
  const ring = await openRing(3)
  const merge = (siblings: unknown[]) => siblings.sort().reverse()[0]
  const [a, b] = ring.tabs.map((tab) => storeAt(tab, { buckets: { sorted: { merge } } }).store.bucket('sorted'))
  if (!a || !b) throw new Error('three tabs')
  const order = async () => (await answerOf(ring, a.get('k'))).siblings
  await answerOf(ring, a.put('k', 'one', { context: null }))
  await answerOf(ring, b.put('k', 'two', { context: null }))
  await answerOf(ring, a.put('k', 'three', { context: null }))
  const unmerged = storeAt(ring.tab(2)).store.bucket('sorted')
  expect(await order()).toEqual((await answerOf(ring, unmerged.get('k'))).siblings)
  expect((await answerOf(ring, a.get('k'))).value).toBe('two')
})

// The first version showed what the others had put into it, to an update and to a page that lists the versions of a conflict.
test('a merge that changes what its siblings hold leaves those of the entry as they were', async () => {
  const ring = await openRing(3)
  const merge = (siblings: unknown[]) => siblings.reduce((all, one) => Object.assign(all as object, one))
  const { store } = storeAt(ring.tab(0), { buckets: { mixed: { merge } } })
  const bucket = store.bucket('mixed')
  await answerOf(ring, bucket.put('k', { a: 1 }, { context: null }))
  await answerOf(ring, bucket.put('k', { b: 2 }, { context: null }))
  const { value, siblings } = await answerOf(ring, bucket.get('k'))
  expect(value).toEqual({ a: 1, b: 2 })
  expect(siblings).toEqual([{ a: 1 }, { b: 2 }])
})

// The Promise was the value, and where it rejected, that was an error of the page which nobody had caused.
test('a merge that gives a Promise fails, as one that throws', async () => {
  const ring = await openRing(3)
  const merge = (async () => {
    throw new RangeError('late')
  }) as never
  const { store, errors } = storeAt(ring.tab(0), { buckets: { slow: { merge } } })
  const bucket = store.bucket('slow')
  for (const value of [1, 2]) await answerOf(ring, bucket.put('k', value, { context: null }))
  await expect(answerOf(ring, bucket.get('k'))).rejects.toThrow('gave a Promise')
  const scan = bucket.scan()
  const all = (async () => {
    for await (const { siblings } of scan) expect(siblings).toEqual([1, 2])
  })()
  await answerOf(ring, all)
  expect(errors.map(String)).toEqual([expect.stringContaining('gave a Promise')])
})

// The first of very many had been read long before the last, and the application had written that key again meanwhile.
test('getMany gives no version that is older than what the handle has written by the time it answers', async () => {
  const ring = await openRing(3)
  const { store } = storeAt(ring.tab(0))
  await answerOf(ring, store.put('own', 1))
  const many = store.getMany(['own', ...Array.from({ length: 2000 }, (_, i) => `k${i}`)])
  let isAnswered = false
  many.then(
    () => {
      isAnswered = true
    },
    () => {},
  )
  await passing(ring, 100)
  const written = store.put('own', 2)
  await answerOf(ring, written)
  expect(isAnswered).toBe(false)
  const [own] = await answerOf(ring, many)
  expect(own?.value).toBe(2)
})

// It was read at once, and waited for another key until its time was over.
test('getMany gives nothing that has expired by the time it answers', async () => {
  const ring = await openRing(4)
  const named = (key: string) => storeKey(3, 'short', key)
  const isHomeOf = (tab: Tab, key: string) => nodeOf(ring.tab(0)).routing.homes(named(key)).includes(tab.id)
  const slow = ring.tabs.find((tab) => tab !== ring.tab(0) && !isHomeOf(tab, 'k')) ?? ring.tab(1)
  const other = Array.from({ length: 100 }, (_, i) => `k${i}`).find((key) => isHomeOf(slow, key)) ?? ''
  const { store } = storeAt(ring.tab(0), { buckets: { short: { ttl: 400 } } }, () => ring.world.wallTime(ring.tab(0)))
  const short = store.bucket('short')
  await answerOf(ring, short.put('k', 'value'))
  ring.world.freeze(slow)
  expect((await answerOf(ring, short.get('k', { r: 3 }))).siblings).toEqual(['value'])
  const [entry] = await answerOf(ring, short.getMany(['k', other], { r: 3 }))
  expect(entry?.siblings).toEqual([])
})

// It took its pairs one by one, later: a put that was called after it was replaced by an older value, and an update did not see it.
test('what is called after a putMany comes after it', async () => {
  const ring = await openRing(3)
  const { store } = storeAt(ring.tab(0))
  const pairs = ['a', 'b', 'c'].map((key) => [key, 1] as const)
  await answerOf(
    ring,
    Promise.all([
      store.putMany(pairs),
      store.put('b', 2),
      store.update<number>('c', (value = 0) => value + 10),
      store.putMany(new Map([['a', 3]])),
    ]),
  )
  const entries = await answerOf(ring, store.getMany(['a', 'b', 'c']))
  expect(entries.map(({ siblings }) => siblings)).toEqual([[3], [2], [11]])
})
