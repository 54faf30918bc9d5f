/** Whom a node believes to be there (§4.8.3), on a clock that passes when told. */
import { describe, expect, test } from 'vitest'
import type { NodeId } from '../../src/core/ids.js'
import { FailureDetector } from '../../src/core/membership/failure-detector.js'
import { VirtualClock } from '../support/virtual-clock.js'

const PEER = 'peer______' as NodeId
const OTHER = 'other_____' as NodeId
const INTERVAL = 1000

class Scene {
  readonly clock = new VirtualClock()
  readonly detector = new FailureDetector(this.clock, INTERVAL, 8)

  /** A peer that beats regularly, for a while. */
  async beating(node: NodeId, beats: number, every = INTERVAL): Promise<void> {
    this.detector.watch(node)
    for (let i = 0; i < beats; i++) {
      await this.clock.advance(every)
      this.detector.heard(node)
    }
  }

  /** How long it takes from now on to suspect a silent peer. */
  async patience(node: NodeId, limitMs = 120_000): Promise<number> {
    let waited = 0
    while (!this.detector.suspects(node) && waited < limitMs) {
      await this.clock.advance(100)
      waited += 100
    }
    return waited
  }
}

describe('the failure detector', () => {
  test('suspects nobody who beats in time', async () => {
    const scene = new Scene()
    scene.detector.watch(PEER)
    for (let i = 0; i < 200; i++) {
      await scene.clock.advance(INTERVAL * (i % 3 === 0 ? 1.4 : 0.9))
      expect(scene.detector.suspects(PEER)).toBe(false)
      scene.detector.heard(PEER)
    }
  })

  test('suspects one that fell silent within a few intervals, and not after the first that is missed', async () => {
    const scene = new Scene()
    await scene.beating(PEER, 50)
    const patience = await scene.patience(PEER)
    expect(patience).toBeGreaterThan(2 * INTERVAL)
    expect(patience).toBeLessThan(6 * INTERVAL)
  })

  test('trusts again at the first sign of life', async () => {
    const scene = new Scene()
    await scene.beating(PEER, 50)
    await scene.patience(PEER)
    scene.detector.heard(PEER)
    expect(scene.detector.suspects(PEER)).toBe(false)
  })

  test('suspects a peer that it does not watch, and one that it was told to forget', async () => {
    const scene = new Scene()
    expect(scene.detector.suspects(PEER)).toBe(true)
    await scene.beating(PEER, 5)
    scene.detector.forget(PEER)
    expect(scene.detector.suspects(PEER)).toBe(true)
    expect(scene.detector.lastHeard(PEER)).toBeUndefined()
  })

  test('gives a peer that it hardly knows a fair chance', async () => {
    const scene = new Scene()
    scene.detector.watch(PEER)
    expect(await scene.patience(PEER)).toBeGreaterThan(2 * INTERVAL)
  })

  test('has more patience with a peer whose beats come irregularly', async () => {
    const [regular, irregular] = [new Scene(), new Scene()]
    await regular.beating(PEER, 30)
    irregular.detector.watch(PEER)
    for (let i = 0; i < 30; i++) {
      await irregular.clock.advance(i % 2 === 0 ? 300 : 4000)
      irregular.detector.heard(PEER)
    }
    expect(await irregular.patience(PEER)).toBeGreaterThan(await regular.patience(PEER))
  })

  test('does not learn impatience from bursts of frames', async () => {
    const scene = new Scene()
    await scene.beating(PEER, 30)
    for (let i = 0; i < 100; i++) {
      await scene.clock.advance(1)
      scene.detector.heard(PEER)
    }
    expect(await scene.patience(PEER)).toBeGreaterThan(2 * INTERVAL)
  })

  test('does not learn from one long silence to wait forever', async () => {
    const scene = new Scene()
    await scene.beating(PEER, 30)
    await scene.clock.advance(3_600_000)
    scene.detector.heard(PEER)
    expect(await scene.patience(PEER)).toBeLessThan(30 * INTERVAL)
  })

  // After four outages of some seconds each, the fifth was seen after nine seconds instead of three.
  test('notices the next outage as soon as the first', async () => {
    const scene = new Scene()
    await scene.beating(PEER, 50)
    const first = await scene.patience(PEER)
    for (let i = 0; i < 6; i++) {
      for (const silence of [10, 1, 1, 1, 1, 1]) {
        await scene.clock.advance(silence * INTERVAL)
        scene.detector.heard(PEER)
      }
    }
    expect(await scene.patience(PEER)).toBeLessThan(1.7 * first)
  })

  test('needs two unanswered requests and a missed beat, less than silence alone would need', async () => {
    const scene = new Scene()
    await scene.beating(PEER, 50)
    await scene.clock.advance(1)
    scene.detector.unanswered(PEER, scene.clock.now())
    await scene.clock.advance(1600)
    expect(scene.detector.suspects(PEER)).toBe(false)
    scene.detector.unanswered(PEER, scene.clock.now())
    expect(scene.detector.suspects(PEER)).toBe(true)
  })

  test('does not count a request unanswered if its peer gave any sign of life after it', async () => {
    const scene = new Scene()
    await scene.beating(PEER, 50)
    const sentAt = scene.clock.now()
    await scene.clock.advance(10)
    scene.detector.heard(PEER)
    for (let i = 0; i < 5; i++) scene.detector.unanswered(PEER, sentAt)
    await scene.clock.advance(1600)
    expect(scene.detector.suspects(PEER)).toBe(false)
  })

  test('waits longer for a peer that said that its timers run late', async () => {
    const scene = new Scene()
    await scene.beating(PEER, 30)
    await scene.beating(OTHER, 30)
    scene.detector.heard(PEER)
    scene.detector.reportedLag(PEER, 60_000)
    await scene.clock.advance(30_000)
    expect(scene.detector.suspects(PEER)).toBe(false)
    expect(scene.detector.suspects(OTHER)).toBe(true)
  })

  test('of a node that was paused itself accuses nobody: everybody gets a fresh chance', async () => {
    const scene = new Scene()
    await scene.beating(PEER, 30)
    await scene.clock.advance(60_000)
    expect(scene.detector.suspects(PEER)).toBe(true)
    scene.detector.ownTick(59_000)
    expect(scene.detector.suspects(PEER)).toBe(false)
  })

  test('of a node that runs late widens its limits, and narrows them again once it runs in time', async () => {
    const usual = new Scene()
    await usual.beating(PEER, 30)
    const late = new Scene()
    await late.beating(PEER, 30)
    late.detector.ownTick(1500)
    expect(late.detector.lagMs).toBe(1500)
    expect(await late.patience(PEER)).toBeGreaterThan((await usual.patience(PEER)) + 2000)
    for (let i = 0; i < 40; i++) late.detector.ownTick(0)
    expect(late.detector.lagMs).toBeLessThan(1)
  })
})
