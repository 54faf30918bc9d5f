/** What a node keeps of itself and the others: whether it is on the disk, also where two writes overlap. */
import { expect, test } from 'vitest'
import { Bookkeeping } from '../../src/core/bookkeeping.js'
import type { Storage } from '../../src/core/environment.js'
import { VirtualClock } from '../support/virtual-clock.js'

function scene() {
  const clock = new VirtualClock()
  const commits: (() => void)[] = []
  const storage = { commit: () => new Promise((resolve) => commits.push(() => resolve([]))) } as unknown as Storage
  const bookkeeping = new Bookkeeping(
    storage,
    clock,
    () => [],
    () => {},
  )
  /** All that the disk was asked for is done. */
  const done = async () => {
    for (const end of commits.splice(0)) end()
    await clock.advance(0)
  }
  return { clock, bookkeeping, done }
}

// The same changes were taken off twice: nothing was forgotten in the whole room any more, or something that a restart would not know.
test('two writes that overlap are counted once', async () => {
  const { clock, bookkeeping, done } = scene()
  bookkeeping.changed()
  const first = bookkeeping.write()
  await clock.advance(200)
  await done()
  await first
  expect(bookkeeping.isWritten).toBe(true)
  bookkeeping.changed()
  expect(bookkeeping.isWritten).toBe(false)
  await clock.advance(200)
  await done()
  expect(bookkeeping.isWritten).toBe(true)
})

test('a change during a write is not written with it', async () => {
  const { clock, bookkeeping, done } = scene()
  bookkeeping.changed()
  const first = bookkeeping.write()
  bookkeeping.changed()
  await done()
  await first
  expect(bookkeeping.isWritten).toBe(false)
  await clock.advance(200)
  await done()
  expect(bookkeeping.isWritten).toBe(true)
})
