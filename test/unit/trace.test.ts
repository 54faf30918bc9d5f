/** `trace`: what each place of a key says that it holds, and what is not known of it. */
import { expect, test } from 'vitest'
import type { TracedPlace } from '../../src/core/trace.js'
import { type Ring, type Tab, named, nodeOf, openRing } from '../paper/ring.js'
import { answerOf, storeAt } from './support/stores.js'

/** A ring of three that hold a key, and what a trace at the first of them says of the others. */
async function traced(change: (ring: Ring, tab: Tab) => void): Promise<(TracedPlace | undefined)[]> {
  const ring = await openRing(3, { scrubIntervalMs: 1e9 }, { quiet: false })
  const [asker, changed, other] = ring.tabs as [Tab, Tab, Tab]
  await ring.client(asker).put('k', 'there', { w: 3 })
  change(ring, changed)
  const { homes } = await answerOf(ring, storeAt(asker).store.trace('k'))
  return [changed, other].map(({ id }) => homes.find(({ node }) => node === id))
}

const HELD = { reachable: true, holds: true, failure: null, versions: [{ counter: 1, deleted: false }] }

test('of a home without the key it says that it holds nothing', async () => {
  const [place] = await traced((_, { disk, node }) => {
    disk.records.clear()
    node?.replica.forest.clear()
  })
  expect(place).toMatchObject({ reachable: true, holds: false, failure: null, versions: [] })
})

// One answer that cannot be read was told as damage of this tab's own disk; a damaged record over there, as none.
test.each<[what: string, failure: TracedPlace['failure'], change: (ring: Ring, tab: Tab) => void]>([
  ['whose record is damaged', 'unreadable', (_, { disk }) => disk.flipByte(named('k'), 20)],
  [
    'that answers nonsense',
    'unreadable',
    (_, tab) =>
      nodeOf(tab).peers.handle('Read', () => ({
        type: 'ReadResult',
        digest: new Uint8Array(8),
        container: new Uint8Array(5),
        complete: true,
        home: true,
      })),
  ],
  [
    'whose disk fails',
    'disk',
    (_, tab) => nodeOf(tab).peers.handle('Read', () => ({ type: 'Failed', kind: 'unknown' })),
  ],
  ['that does not answer', 'silent', (_, tab) => nodeOf(tab).peers.handle('Read', () => undefined)],
])('of a home %s it says that nobody knows, and why; of the others, what they hold', async (_, failure, change) => {
  const [place, other] = await traced(change)
  expect(place).toMatchObject({ reachable: true, holds: false, failure, versions: [] })
  expect(other).toMatchObject(HELD)
})

// It rejected, just where somebody looks at what is wrong.
test.each<[what: string, failure: TracedPlace['failure'], change: (tab: Tab) => void]>([
  ['record is damaged', 'unreadable', ({ disk }) => disk.flipByte(named('k'), 20)],
  [
    'disk fails',
    'disk',
    ({ storage }) => {
      if (storage) storage.failingReads = 'unknown'
    },
  ],
])('where the own %s it says so, and of the others, what they hold', async (_, failure, change) => {
  const ring = await openRing(3, { scrubIntervalMs: 1e9 }, { quiet: false })
  const [tab] = ring.tabs as [Tab]
  await ring.client(tab).put('k', 'there', { w: 3 })
  change(tab)
  const { homes } = await answerOf(ring, storeAt(tab).store.trace('k'))
  for (const home of homes)
    expect(home).toMatchObject(home.node === tab.id ? { reachable: true, holds: false, failure } : HELD)
})
