/** Puts for which neither a home nor the own disk's hints answer: what they wait for, and no longer. */
import { expect, test } from 'vitest'
import type { ActorId } from '../../src/core/ids.js'
import { Unhinted } from '../../src/core/requests/unhinted.js'
import { Forgettings } from '../../src/core/sync/forgettings.js'
import { EMPTY_CONTAINER } from '../../src/core/versions/container.js'
import { named, nodeOf, openRing } from '../paper/ring.js'

// A deletion that its home got by sync, and that all forgot then, was waited for by `flush` for ever.
test('what all members have forgotten is waited for no longer', async () => {
  const ring = await openRing(3)
  const [tab, home] = ring.homes('k')
  const { routing, peers, replica, background, options } = nodeOf(tab)
  const { time } = ring.world
  const forgettings = new Forgettings()
  const clock = { now: () => time.now, wallTime: () => time.now, setTimer: time.at.bind(time) }
  let fewer = 0
  const context = { routing, peers, replica, forgettings, background, clock, tuning: options.tuning }
  const unhinted = new Unhinted(
    context,
    async () => EMPTY_CONTAINER,
    () => fewer++,
  )
  unhinted.add(named('k'), { actor: 'someone000.1' as ActorId, counter: 1 }, [home.id])
  await ring.pass(60_000)
  expect([unhinted.size, fewer]).toEqual([1, 0])
  forgettings.note([named('k')])
  await ring.pass(60_000)
  expect([unhinted.size, fewer]).toEqual([0, 1])
})
