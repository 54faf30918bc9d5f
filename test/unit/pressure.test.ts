/** What a node refuses when its disk runs out of room, by grades, and that it tries again. */
import { expect, test } from 'vitest'
import { StorageFailure } from '../../src/core/environment.js'
import { Pressure } from '../../src/core/pressure.js'
import { VirtualClock } from '../support/virtual-clock.js'

const full = new StorageFailure('quota', 'full')

test('by what the browser says of the room: hints and copies from nine tenths on, replicas of others from nineteen twentieths', () => {
  const pressure = new Pressure(new VirtualClock())
  const changes: string[] = []
  pressure.events.on('changed', (refuses) => changes.push(refuses))
  for (const usage of [0, 89, 90, 94, 95, 99, 92, 10]) pressure.note({ usage, quota: 100 })
  expect(changes).toEqual(['hints', 'replicas', 'hints', 'nothing'])
  expect(pressure.estimate).toEqual({ usage: 10, quota: 100 })
})

test('a browser that knows no quota leads to no refusal', () => {
  const pressure = new Pressure(new VirtualClock())
  pressure.note({ usage: 100, quota: 0 })
  expect(pressure.refuses).toBe('nothing')
})

test('by what the disk has refused: a grade more each time, and one less after a while, to try again', async () => {
  const clock = new VirtualClock()
  const pressure = new Pressure(clock)
  pressure.commitFailed(new StorageFailure('unknown', 'broken'))
  pressure.commitFailed(new Error('something else'))
  expect(pressure.refuses).toBe('nothing')
  pressure.commitFailed(full)
  // These were on their way.
  pressure.commitFailed(full)
  pressure.commitFailed(full)
  expect([pressure.refuses, pressure.refusesHints, pressure.refusesReplicas]).toEqual(['hints', true, false])
  await clock.advance(500)
  pressure.commitFailed(full)
  await clock.advance(500)
  pressure.commitFailed(full)
  expect([pressure.refuses, pressure.refusesHints, pressure.refusesReplicas]).toEqual(['replicas', true, true])
  await clock.advance(4900)
  expect(pressure.refuses).toBe('replicas')
  await clock.advance(200)
  expect(pressure.refuses).toBe('hints')
  pressure.commitFailed(full)
  expect(pressure.refuses).toBe('replicas')
  await clock.advance(10_100)
  expect(pressure.refuses).toBe('nothing')
})

test('the worse of both counts', async () => {
  const clock = new VirtualClock()
  const pressure = new Pressure(clock)
  pressure.note({ usage: 91, quota: 100 })
  pressure.commitFailed(full)
  expect(pressure.refuses).toBe('hints')
  pressure.note({ usage: 10, quota: 100 })
  expect(pressure.refuses).toBe('hints')
  await clock.advance(5000)
  expect(pressure.refuses).toBe('nothing')
})
