/** The time of the simulator, of which everything else in it is made. */
import { expect, test } from 'vitest'
import { VirtualTime } from '../sim/virtual-time.js'

// A scenario that waits for two things at once saw it fall from 57 seconds to 34, and one of the two never came.
test('does not go back, however many wait for it at once', async () => {
  const time = new VirtualTime()
  const seen: number[] = []
  const see = () => seen.push(time.now)
  for (const at of [1, 50]) time.at(at, see)
  await Promise.all([time.advance(5).then(see), time.advance(60).then(see)])
  expect(seen).toEqual([1, 50, 60, 60])
})
