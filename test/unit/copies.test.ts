/** Copies of keys that belong elsewhere: what is in memory about them is what is on the disk, also when that refuses something. */
import { describe, expect, test } from 'vitest'
import { StorageFailure } from '../../src/core/environment.js'
import { type ActorId, type StoreKey, storeKey } from '../../src/core/ids.js'
import { Copies } from '../../src/core/requests/copies.js'
import { addressOf } from '../../src/core/ring/partitions.js'
import { type Container, writtenContainer } from '../../src/core/versions/container.js'
import { EMPTY_CONTEXT, joinContexts, withDot } from '../../src/core/versions/context.js'
import { digestOf } from '../../src/core/versions/encoding.js'
import { Disk, SimulatedStorage } from '../sim/disk.js'
import { VirtualClock } from '../support/virtual-clock.js'

const [KEY, OTHER] = [storeKey(3, '', 'k'), storeKey(3, '', 'other')]

/** The version of that number, by the only one who writes. */
function version(counter: number, bytes = 10): Container {
  const dot = { actor: 'node_a____.AAAAAAAA' as ActorId, counter }
  const value = new Uint8Array(bytes).fill(counter)
  const context = counter > 1 ? version(counter - 1).context : EMPTY_CONTEXT
  return writtenContainer(context, { dot, value, expiresAt: 0, checksum: 0 })
}

class Scene {
  readonly clock = new VirtualClock()
  readonly disk = new Disk()
  readonly storage = new SimulatedStorage(this.disk, { schedule: (work) => this.clock.setTimer(1, work) })
  readonly errors: unknown[] = []
  readonly copies: Copies

  constructor(private readonly maxBytes = 1_000_000) {
    this.copies = this.open()
  }

  open(): Copies {
    const onError = (error: unknown) => this.errors.push(error)
    return new Copies(this.storage, this.clock, this.maxBytes, undefined, onError, onError)
  }

  async keep(key: StoreKey, container: Container): Promise<void> {
    this.copies.keep(key, container, true)
    await this.clock.advance(1000)
  }

  /** The keys of which there are copies on the disk, sorted. */
  get onDisk(): string[] {
    return [...this.disk.copies.keys()].map((row) => row.slice(row.indexOf('3/'))).sort()
  }

  async read(key: StoreKey, copies = this.copies): Promise<number | undefined> {
    const found = copies.find(addressOf(key, 16))
    await this.clock.advance(10)
    return (await found).siblings[0]?.dot.counter
  }

  /** What a later life finds. */
  reopened(): Copies {
    const copies = this.open()
    copies.restore([...this.disk.copies.keys()].sort())
    return copies
  }
}

// It had left the memory and was not on the disk yet: a get that found no home said 'absent'.
describe('a copy that is being written', () => {
  /** What is read at every moment around the writing, which has to wait for others' commits. */
  async function readings(scene: Scene): Promise<Set<number | undefined>> {
    await scene.clock.advance(199.5)
    const found: ReturnType<Copies['find']>[] = []
    for (let i = 0; i < 40; i++) {
      void scene.storage.commit({ meta: [['x', new Uint8Array(1)]] }, 'relaxed')
      found.push(scene.copies.find(addressOf(KEY, 16)))
      await scene.clock.advance(0.1)
    }
    await scene.clock.advance(1000)
    return new Set((await Promise.all(found)).map(({ siblings }) => siblings[0]?.dot.counter))
  }

  test('can be read all the while', async () => {
    const scene = new Scene()
    scene.copies.keep(KEY, version(1), true)
    expect(await readings(scene)).toEqual(new Set([1]))
    expect(scene.onDisk).toEqual([KEY])
  })

  test('can be read together with what it adds to', async () => {
    const scene = new Scene()
    await scene.keep(KEY, version(2))
    scene.copies.keep(KEY, version(1), false)
    expect(await readings(scene)).toEqual(new Set([2]))
  })

  test('is not to be read any more once it is dropped', async () => {
    const scene = new Scene()
    scene.copies.keep(KEY, version(1), true)
    await scene.clock.advance(200.5)
    const dropped = scene.copies.drop([KEY])
    expect(await scene.read(KEY)).toBe(undefined)
    await dropped
    expect(scene.onDisk).toEqual([])
  })
})

test('what is seen while the former copy is being read is written as well', async () => {
  const scene = new Scene()
  await scene.keep(KEY, version(1))
  scene.copies.keep(KEY, version(2), false)
  await scene.clock.advance(200.5)
  scene.copies.keep(KEY, version(3), true)
  await scene.clock.advance(1000)
  expect(await scene.read(KEY, scene.reopened())).toBe(3)
})

test('the least recently used go first', async () => {
  const third = storeKey(3, '', 'third')
  const scene = new Scene(600)
  for (const key of [KEY, OTHER]) await scene.keep(key, version(1, 200))
  expect(scene.onDisk).toEqual([KEY, OTHER])
  await scene.read(KEY)
  await scene.keep(third, version(1, 200))
  expect(scene.onDisk).toEqual([KEY, third])
})

// The memory said that it was there: seen again, it was never written.
describe('a copy that the disk has refused', () => {
  test('is written when it is seen again', async () => {
    const scene = new Scene()
    scene.storage.failingOnce = 'unknown'
    await scene.keep(KEY, version(1))
    expect([scene.errors.length, scene.onDisk, scene.copies.size]).toEqual([1, [], 0])
    await scene.keep(KEY, version(1))
    expect(scene.onDisk).toEqual([KEY])
    expect(await scene.read(KEY, scene.reopened())).toBe(1)
  })

  test('leaves the former one as it was, until it is seen again', async () => {
    const scene = new Scene()
    await scene.keep(KEY, version(1))
    scene.storage.failingOnce = 'unknown'
    await scene.keep(KEY, version(2))
    expect(await scene.read(KEY)).toBe(1)
    await scene.keep(KEY, version(2))
    expect(await scene.read(KEY)).toBe(2)
    expect(scene.onDisk).toEqual([KEY])
  })

  test('does not save the former one from being dropped meanwhile', async () => {
    const scene = new Scene()
    await scene.keep(KEY, version(1))
    scene.storage.failingOnce = 'unknown'
    scene.copies.keep(KEY, version(2), true)
    await scene.clock.advance(200.5)
    const dropped = scene.copies.drop([KEY])
    await scene.clock.advance(1000)
    await dropped
    expect([scene.onDisk, scene.copies.size, scene.copies.has(KEY)]).toEqual([[], 0, false])
  })

  // Tried again, the drop found nothing to drop: the deleted value came back with the next life.
  test('to drop is still there, and dropped when that is tried again', async () => {
    const scene = new Scene()
    await scene.keep(KEY, version(1))
    scene.storage.failingOnce = 'unknown'
    const refused = expect(scene.copies.drop([KEY])).rejects.toThrow('simulated')
    await scene.clock.advance(10)
    await refused
    expect([scene.onDisk, await scene.read(KEY)]).toEqual([[KEY], 1])
    const dropped = scene.copies.drop([KEY])
    await scene.clock.advance(10)
    await dropped
    expect([scene.onDisk, scene.copies.size]).toEqual([[], 0])
  })

  test('makes no room that was not made: what should have gone for it is still counted', async () => {
    const scene = new Scene(300)
    await scene.keep(KEY, version(1, 200))
    const { size } = scene.copies
    scene.storage.failingOnce = 'unknown'
    await scene.keep(OTHER, version(1, 200))
    expect([scene.onDisk, scene.copies.size]).toEqual([[KEY], size])
    await scene.keep(OTHER, version(1, 200))
    expect(scene.onDisk).toEqual([OTHER])
  })

  test('is not counted where it was too large to stay', async () => {
    const scene = new Scene(300)
    scene.storage.failingOnce = 'unknown'
    await scene.keep(KEY, version(1, 400))
    expect([scene.copies.size, scene.copies.has(KEY)]).toEqual([0, false])
  })

  // Each may be there all the same, and is to be removed once the disk works again.
  test('is not followed by any number of others', async () => {
    const scene = new Scene()
    let most = 0
    scene.storage.commit = async ({ copies = [] }) => {
      most = Math.max(most, copies.filter(([, bytes]) => bytes === undefined).length)
      throw new StorageFailure('unknown', 'simulated')
    }
    for (let i = 0; i < 400; i++) await scene.keep(storeKey(3, '', `k${i}`), version(1))
    expect(most).toBeLessThan(300)
  })

  test('is not counted on a disk that came in the place of that one', async () => {
    const scene = new Scene()
    await scene.keep(KEY, version(1))
    scene.storage.failingOnce = 'lost'
    scene.copies.keep(KEY, version(2), true)
    await scene.clock.advance(200.5)
    scene.disk.wipe()
    scene.copies.lost()
    await scene.clock.advance(1000)
    expect([scene.onDisk, scene.copies.size, scene.copies.has(KEY)]).toEqual([[], 0, false])
  })
})

// It went with the context, though nobody had replaced what it shows.
describe('a copy of a key that lives, whose long context is about to be forgotten', () => {
  const others = withDot(EMPTY_CONTEXT, { actor: 'node_b____.BBBBBBBB' as ActorId, counter: 1 })
  const long = (counter: number): Container => {
    const { siblings, context } = version(counter)
    return { siblings, context: joinContexts(context, others) }
  }
  const agreed = [{ key: KEY, left: digestOf(KEY, version(2)) }]

  async function settle(scene: Scene): Promise<void> {
    for (let phase = 0; phase < 2; phase++) {
      const settled = scene.copies.settle(agreed)
      await scene.clock.advance(1000)
      await settled
    }
  }

  test('stays, with as short a context as the homes have', async () => {
    const scene = new Scene()
    await scene.keep(KEY, long(2))
    await settle(scene)
    expect(await scene.read(KEY, scene.reopened())).toBe(2)
    const found = scene.reopened().own(KEY)
    await scene.clock.advance(10)
    expect((await found).context).toEqual(version(2).context)
  })

  test('goes where it shows another version', async () => {
    const scene = new Scene()
    await scene.keep(KEY, long(1))
    await settle(scene)
    expect([scene.onDisk, scene.copies.has(KEY)]).toEqual([[], false])
  })

  test('goes where it cannot be read', async () => {
    const scene = new Scene()
    await scene.keep(KEY, long(2))
    scene.storage.failingReads = 'unknown'
    await settle(scene)
    expect([scene.onDisk, scene.copies.has(KEY)]).toEqual([[], false])
  })

  // It was shown again after a restart: what had replaced it was in memory only, and nobody knew of that any more.
  test('takes an older row with it, which it has replaced in memory only', async () => {
    const scene = new Scene()
    await scene.keep(KEY, version(1))
    scene.copies.keep(KEY, long(2), true)
    for (let phase = 0; phase < 2; phase++) {
      const settled = scene.copies.settle(agreed)
      await scene.clock.advance(20)
      await settled
    }
    expect(await scene.read(KEY, scene.reopened())).not.toBe(1)
    await scene.clock.advance(1000)
    expect(await scene.read(KEY, scene.reopened())).toBe(2)
  })

  test('is not put in the place of what comes meanwhile', async () => {
    const scene = new Scene()
    await scene.keep(KEY, long(2))
    const settled = scene.copies.settle(agreed)
    scene.copies.keep(KEY, version(3), true)
    await scene.clock.advance(1000)
    await settled
    expect(await scene.read(KEY, scene.reopened())).toBe(3)
  })

  test('nor of what comes while its row is being removed', async () => {
    const scene = new Scene()
    await scene.keep(KEY, long(2))
    const settled = scene.copies.settle(agreed)
    await scene.clock.advance(1.5)
    scene.copies.keep(KEY, version(3), true)
    await scene.clock.advance(1000)
    await settled
    expect(await scene.read(KEY, scene.reopened())).toBe(3)
  })
})
