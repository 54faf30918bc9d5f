/** The budget of all background work (§6.5), on a clock that passes when told. */
import { describe, expect, test } from 'vitest'
import { Background, type BackgroundKind } from '../../src/core/background.js'
import { VirtualClock } from '../support/virtual-clock.js'

const KINDS: BackgroundKind[] = ['hints', 'transfer', 'sync', 'scrub', 'reap']

class Scene {
  readonly clock = new VirtualClock()
  readonly background = new Background(this.clock)
  /** Which kinds got their turns, and when. */
  readonly turns: { kind: BackgroundKind; at: number }[] = []
  readonly failures: unknown[] = []

  ask(kind: BackgroundKind, times = 1): void {
    for (let i = 0; i < times; i++)
      void this.background.turn(kind).then(
        () => this.turns.push({ kind, at: this.clock.now() }),
        (error) => this.failures.push(error),
      )
  }

  /** A worker that asks for the next turn as soon as it had one. */
  async always(kind: BackgroundKind): Promise<void> {
    for (;;) {
      await this.background.turn(kind)
      this.turns.push({ kind, at: this.clock.now() })
    }
  }

  operation(latencyMs: number): Promise<void> {
    return this.background.foreground(new Promise((resolve) => void this.clock.setTimer(latencyMs, resolve)))
  }

  /** Users' operations one after another. */
  async busy(operations: number, latencyMs: number): Promise<void> {
    for (let i = 0; i < operations; i++) {
      const done = this.operation(latencyMs)
      await this.clock.advance(latencyMs)
      await done
    }
  }

  /** An operation that does not end. */
  strain(): void {
    void this.background.foreground(new Promise<void>(() => {}))
  }

  gaps(): number[] {
    return this.turns.slice(1).map(({ at }, i) => at - (this.turns[i]?.at ?? 0))
  }

  count(kind: BackgroundKind): number {
    return this.turns.filter((turn) => turn.kind === kind).length
  }
}

describe('background work', () => {
  test('does not wait while nobody waits for gets and puts', async () => {
    const scene = new Scene()
    for (const kind of KINDS) scene.ask(kind, 100)
    await scene.clock.advance(0)
    expect(scene.turns).toHaveLength(500)
    expect(scene.turns.every(({ at }) => at === 0)).toBe(true)
  })

  test('comes turn by turn while users are served: hints, transfers, sync, scrub, reaping', async () => {
    const scene = new Scene()
    await scene.busy(20, 10)
    scene.strain()
    scene.ask('scrub')
    await scene.clock.advance(0)
    for (const kind of KINDS.slice().reverse()) scene.ask(kind)
    await scene.clock.advance(500)
    expect(scene.turns.map(({ kind }) => kind)).toEqual(['scrub', ...KINDS])
    expect(Math.min(...scene.gaps())).toBeGreaterThan(0)
  })

  test('comes the more rarely the slower users are served', async () => {
    const turnsWhen = async (latencyMs: number) => {
      const scene = new Scene()
      await scene.busy(50, 5)
      void scene.always('sync')
      scene.turns.length = 0
      const start = scene.clock.now()
      await scene.busy(Math.ceil(2000 / latencyMs), latencyMs)
      return scene.turns.length / (scene.clock.now() - start)
    }
    const [unhurried, strained, overloaded] = [await turnsWhen(5), await turnsWhen(15), await turnsWhen(50)]
    expect(strained).toBeLessThan(unhurried / 2)
    expect(overloaded).toBeLessThan(strained)
  })

  test('always keeps a share: a turn in every tenth of a second, however slow users are served', async () => {
    const scene = new Scene()
    await scene.busy(50, 1)
    void scene.always('sync')
    await scene.busy(10, 1000)
    expect(Math.max(...scene.gaps())).toBeLessThanOrEqual(100)
    expect(scene.turns.length).toBeGreaterThanOrEqual(99)
  })

  test('of the last rank gets its turns under a flood of the first', async () => {
    const scene = new Scene()
    await scene.busy(50, 1)
    scene.strain()
    for (let i = 0; i < 3; i++) void scene.always('hints')
    void scene.always('reap')
    await scene.clock.advance(10_000)
    expect(scene.count('reap')).toBeGreaterThanOrEqual(8)
    expect(scene.count('hints')).toBeGreaterThan(10 * scene.count('reap'))
  })

  test('of one kind keeps its order', async () => {
    const scene = new Scene()
    scene.strain()
    const order: number[] = []
    for (let i = 0; i < 20; i++) void scene.background.turn('sync').then(() => order.push(i))
    await scene.clock.advance(5000)
    expect(order).toEqual(Array.from({ length: 20 }, (_, i) => i))
  })

  test('runs freely again soon after users have gone', async () => {
    const scene = new Scene()
    await scene.busy(50, 1)
    await scene.busy(5, 200)
    await scene.clock.advance(200)
    scene.turns.length = 0
    scene.ask('transfer', 50)
    await scene.clock.advance(0)
    expect(scene.turns).toHaveLength(50)
  })

  test('takes an operation that fails as one that ended, and passes its error on', async () => {
    const scene = new Scene()
    await expect(scene.background.foreground(Promise.reject(new Error('no disk')))).rejects.toThrow('no disk')
    await scene.clock.advance(100)
    scene.ask('sync', 10)
    await scene.clock.advance(0)
    expect(scene.turns).toHaveLength(10)
  })

  test('gets no turn after the node has stopped, and is told so at once', async () => {
    const scene = new Scene()
    await scene.busy(5, 10)
    scene.strain()
    scene.ask('sync', 10)
    await scene.clock.advance(0)
    scene.background.stop()
    const before = scene.turns.length
    scene.ask('hints')
    await scene.clock.advance(10_000)
    expect(scene.turns).toHaveLength(before)
    expect(scene.turns.length + scene.failures.length).toBe(11)
    expect(scene.failures).toContainEqual(expect.objectContaining({ name: 'StorageFailure', kind: 'closed' }))
  })
})
