/** What a watch yields of the states that it reads, and what it reads for that. */
import { expect, onTestFinished, test } from 'vitest'
import { Emitter } from '../../src/core/emitter.js'
import { type StoreKey, storeKey } from '../../src/core/ids.js'
import type { Interest, InterestEvents } from '../../src/core/requests/interests.js'
import type { Entry } from '../../src/store/entry.js'
import type { StoreInside } from '../../src/store/inside.js'
import { Lifetime } from '../../src/store/lifetime.js'
import { watch } from '../../src/store/watch.js'
import { openRing } from '../paper/ring.js'
import { answerOf, passing, storeAt } from './support/stores.js'

const named = (key: string) => storeKey(3, '', key)
const QUORUM = { met: true, sloppy: false, answers: 2, needed: 2, cached: false }

/** A watch over a table that stands for the ring. */
class Scene {
  readonly events = new Emitter<InterestEvents>()
  readonly seen: string[] = []
  readonly reads: StoreKey[] = []
  /** How long it waited, each time, before it looked again, in milliseconds. */
  readonly pauses: number[] = []
  /** Whether enough homes answer. */
  isMet = true
  private readonly table = new Map<StoreKey, Entry>()
  private writes = 0

  constructor(interest: Interest = { prefix: named('') }) {
    const lifetime = new Lifetime()
    onTestFinished(() => lifetime.end())
    const node = {
      interests: { events: this.events, add: () => () => {} },
      events: new Emitter(),
      peers: { reachable: () => ['a peer'] },
      pause: (ms: number) => {
        this.pauses.push(ms)
        return rest()
      },
    }
    const entries = watch(
      {
        interest,
        inside: { lifetime, wallTime: () => 0, node } as unknown as StoreInside,
        read: async (key) => {
          this.reads.push(key)
          const entry = this.table.get(key) ?? { key: 'k', siblings: [], context: new Uint8Array(0) }
          return { ...entry, quorum: { ...QUORUM, met: this.isMet } } as Entry
        },
        scan: () => Object.assign(this.alive(), { covered: true }),
        storeKey: named,
        outlivesFailure: false,
      },
      undefined,
    )
    const run = async () => {
      for await (const { key, siblings } of entries) this.seen.push(`${key}=${siblings.join('|')}`)
    }
    run().catch(() => {})
  }

  private async *alive() {
    yield* [...this.table.values()].filter(({ siblings }) => siblings.length > 0)
  }

  /** Without text, a delete. @param isTold whether this tab hears of it */
  async write(key: string, text?: string, isTold = true): Promise<void> {
    const siblings = text === undefined ? [] : [text]
    const context = new Uint8Array([++this.writes])
    const value = siblings[0]
    this.table.set(named(key), { key, value, siblings, conflict: false, context, quorum: QUORUM })
    if (isTold) this.told(key)
    await rest()
  }

  told(key: string): void {
    this.events.emit('changed', { key: named(key), digest: { high: 0, low: 0 } })
  }

  async missed(): Promise<void> {
    this.reads.length = 0
    this.events.emit('missed', undefined)
    await rest()
  }
}

const rest = () => new Promise((resolve) => setTimeout(resolve, 5))

// They were kept for ever, and each link that came back had all of them read with a quorum.
test('keys whose deletion was shown are not asked for again', async () => {
  const scene = new Scene()
  for (let i = 0; i < 20; i++) {
    await scene.write(`k${i}`, 'there')
    await scene.write(`k${i}`)
  }
  await scene.write('alive', 'there')
  expect(scene.seen.length).toBe(41)
  await scene.missed()
  expect(scene.reads).toEqual([])
  expect(scene.seen.length).toBe(41)
})

test('a deletion is shown once, however often it is told of, and a key that is there again is shown again', async () => {
  const scene = new Scene()
  await scene.write('k', '1')
  await scene.write('k')
  scene.told('k')
  await rest()
  await scene.write('k')
  await scene.missed()
  expect(scene.seen).toEqual(['k=1', 'k='])
  await scene.write('k', '2')
  await scene.write('k')
  expect(scene.seen).toEqual(['k=1', 'k=', 'k=2', 'k='])
})

test('what was deleted behind a cut is found out once the link is back', async () => {
  const scene = new Scene()
  await scene.write('k', '1')
  await scene.write('k', undefined, false)
  await scene.missed()
  await scene.missed()
  expect(scene.seen).toEqual(['k=1', 'k='])
})

test('a link that is back has a watched key read, and no other', async () => {
  const scene = new Scene({ key: named('k') })
  await rest()
  await scene.write('k', '1', false)
  await scene.write('other', '1', false)
  await scene.missed()
  expect(scene.reads).toEqual([named('k')])
  expect(scene.seen).toEqual(['k=', 'k=1'])
})

test('a watch looks ever more seldom as long as too few homes answer, and soon again after that was over', async () => {
  const scene = new Scene({ key: named('k') })
  await rest()
  for (let trouble = 0; trouble < 2; trouble++) {
    scene.isMet = false
    scene.told('k')
    while (scene.pauses.length < 3 * (trouble + 1)) await rest()
    scene.isMet = true
    await rest()
    await rest()
  }
  expect(scene.pauses).toEqual([1000, 2000, 4000, 1000, 2000, 4000])
})

test('a subscription that ends, by its own function or with the store, is no error, and shows nothing more', async () => {
  const ring = await openRing(1)
  const { store, errors } = storeAt(ring.tab(0))
  const seen: unknown[] = []
  const end = store.subscribe('k', ({ value }) => seen.push(value))
  store.subscribe({ prefix: '' }, ({ value }) => seen.push(value))
  await passing(ring, 200)
  end()
  await answerOf(ring, store.put('k', 1))
  await passing(ring, 200)
  await answerOf(ring, store.close())
  await passing(ring, 200)
  expect({ seen, errors }).toEqual({ seen: [undefined, 1], errors: [] })
})

// An entry that was on its way already came all the same: to a part of the page that had been taken down, say.
test.each(['subscription', 'store'])(
  'a listener hears nothing more once its %s has ended, at whatever moment',
  async (what) => {
    const heard = { inTime: 0, late: 0 }
    for (let turns = 0; turns < 40; turns++) {
      const ring = await openRing(1)
      let onRead = async () => {}
      const merge = ([first]: unknown[]) => {
        void onRead()
        return first
      }
      const { store } = storeAt(ring.tab(0), { buckets: { b: { merge } } })
      const bucket = store.bucket('b')
      for (const version of [1, 2]) await answerOf(ring, bucket.put('k', version, { context: null }))
      let isOver = false
      const end = bucket.subscribe('k', () => heard[isOver ? 'late' : 'inTime']++)
      onRead = async () => {
        for (let turn = 0; turn < turns; turn++) await null
        if (what === 'store') void store.close()
        else end()
        isOver = true
      }
      await passing(ring, 200)
    }
    expect(heard.inTime).toBeGreaterThan(0)
    expect(heard.late).toBe(0)
  },
)
