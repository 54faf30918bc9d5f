/** Leaving takes a while: what is told of it meanwhile, and what has to wait. */
import { expect, test } from 'vitest'
import { type LeaveProgress, handEverythingOver } from '../../src/store/leave.js'
import { type Ring, nodeOf, openRing } from '../paper/ring.js'

// The first was told of the first attempt's end, when nearly everything was over.
test('the progress is told from the beginning, partition by partition', async () => {
  const ring = await openRing(5)
  for (let i = 0; i < 200; i++) await ring.client(ring.tab(i % 5)).put(`k${i}`, 'value', { w: 3 })
  await ring.pass(5000)
  const told: LeaveProgress[] = []
  const leaving = handEverythingOver(nodeOf(ring.tab(0)), { progress: (left) => told.push(left) })
  await ring.pass(1)
  const [first] = told
  expect(first?.partitionsLeft).toBeGreaterThan(5)
  await ring.await(leaving)
  const left = told.map(({ partitionsLeft }) => partitionsLeft)
  expect(left.slice().sort((a, b) => b - a)).toEqual(left)
  expect(new Set(left).size).toBeGreaterThan(5)
  expect(left.at(-1)).toBe(0)
})

// A tab that wrote all the time had not left after half a minute.
test('after some seconds what the tab itself writes waits', async () => {
  const ring = await openRing(5)
  for (let i = 0; i < 50; i++) await ring.client(ring.tab(i % 5)).put(`k${i}`, 'value', { w: 3 })
  const leaver = ring.tab(0)
  const held: [at: number, isHeld: boolean][] = []
  let [isHeld, isOver] = [false, false]
  const began = ring.world.time.now
  const leaving = handEverythingOver(nodeOf(leaver), {
    holdWrites(hold) {
      isHeld = hold
      held.push([ring.world.time.now - began, hold])
    },
  }).then(() => {
    isOver = true
  })
  for (let i = 0; !isOver && i < 20_000; i++) {
    if (!isHeld) void ring.client(leaver).put(`k${i % 50}`, `value ${i}`)
    await ring.pass(2)
  }
  await leaving
  expect(held.find(([, hold]) => hold)?.[0]).toBeLessThanOrEqual(3100)
  expect(held.at(-1)?.[1]).toBe(true)
})

// A timer held the writes of a tab that had been told to stay, or that could hand nothing to anybody.
test.each<[what: string, hinder: (ring: Ring) => void, abortAfterMs: number]>([
  ['was given up while its last step goes on', (ring) => ring.world.freeze(ring.tab(1)), 1000],
  ['cannot go on', (ring) => ring.partition([ring.tab(0)], ring.tabs.slice(1)), 60_000],
])('writes do not wait for a leave that %s', async (_, hinder, abortAfterMs) => {
  const ring = await openRing(5)
  for (let i = 0; i < 200; i++) await ring.client(ring.tab(i % 5)).put(`k${i}`, 'value', { w: 3 })
  const held: boolean[] = []
  const given = new AbortController()
  hinder(ring)
  const leaving = handEverythingOver(nodeOf(ring.tab(0)), {
    signal: given.signal,
    holdWrites: (hold) => held.push(hold),
  }).catch((error) => error)
  await ring.pass(abortAfterMs)
  expect(held.includes(true)).toBe(false)
  given.abort('enough')
  await ring.pass(60_000)
  expect(held.includes(true)).toBe(false)
  expect(await leaving).toBe('enough')
})
