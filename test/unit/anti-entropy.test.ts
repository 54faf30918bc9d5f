/** How often homes compare what they hold where something keeps them from becoming equal. */
import { expect, test } from 'vitest'
import { type Tab, openRing } from '../paper/ring.js'
import type { SimulatedStorage } from '../sim/disk.js'

// Each turn of a peer began one more row of repetitions: 466 comparisons in a minute.
test('a home that cannot become equal to the others is compared in its turn and a moment later, not more often', async () => {
  const seconds = 60
  const ring = await openRing(3, { hintedHandoff: false, readRepair: false, syncIntervalMs: 2000 }, { quiet: false })
  const [tab, ...others] = ring.tabs as [Tab, Tab, Tab]
  await ring.client(tab).put('k', 'value', { w: 3 })
  ring.partition([tab], others)
  for (let i = 0; i < 20; i++) await ring.client(others[0]).put(`key ${i}`, 'value', { w: 2 })
  const storage = tab.storage as SimulatedStorage
  storage.failingReads = 'unknown'
  ring.heal()
  await ring.pass(seconds * 1000)
  const sent = await ring.messages(() => ring.pass(seconds * 1000))
  const comparisons = sent.filter(({ type }) => type === 'CompareRoots').length
  // Each of the three has a turn every two seconds, and as often one more for each of the others.
  expect(comparisons).toBeGreaterThan(seconds)
  expect(comparisons).toBeLessThan((3 * seconds) / 2 + (6 * seconds) / 2)
})
