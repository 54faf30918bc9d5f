/** The simulator's own judgement, on rings that are wronged on purpose. */
import { expect, test } from 'vitest'
import { settledState } from '../checks.js'
import { Ring, type Tab, named } from '../ring.js'

async function ringWith(keys: string[]): Promise<Ring> {
  const ring = new Ring({ seed: 1 })
  await ring.open(5)
  for (const key of keys) await ring.client(ring.tab(0)).put(key, 'value', { w: 3 })
  await ring.pass(5000)
  return ring
}

function judged(ring: Ring, key: string): string[] {
  const { history } = ring.world
  history.judge(named(key), settledState(ring.world, named(key)))
  return history.violations
}

function lose(tab: Tab, key: string): void {
  tab.disk.records.delete(named(key))
  tab.disk.hints.delete(named(key))
}

// Any change of any disk had forgiven the loss of every write.
test('a damaged byte elsewhere excuses no loss (I1)', async () => {
  const ring = await ringWith(['lost', 'other'])
  for (const tab of ring.tabs) lose(tab, 'lost')
  const [home] = ring.homes('other')
  ring.world.changeDisk(home, 'has a byte flipped', () => home.disk.flipByte(named('other'), 3))
  expect(judged(ring, 'lost')).toEqual([expect.stringMatching(/^I1: acknowledged write lost/)])
})

test('the disk that had the last copy excuses its loss (I1)', async () => {
  const ring = await ringWith(['lost'])
  for (const home of ring.homes('lost')) ring.world.changeDisk(home, 'loses a key', () => lose(home, 'lost'))
  expect(judged(ring, 'lost')).toEqual([])
})
