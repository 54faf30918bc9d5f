/** What a node is known by follows what it is: the last 'status' event comes after the last change. */
import { expect, test } from 'vitest'
import { statusOf } from '../../src/store/status.js'
import { type Tab, nodeOf, openRing } from '../paper/ring.js'
import { answerOf, passing, storeAt } from './support/stores.js'

/** Looks at a node's status at each event, as the page does that shows it. */
function following(tab: Tab) {
  const now = () => statusOf(nodeOf(tab), 'room', true)
  let told = now()
  nodeOf(tab).events.on('status', () => {
    told = now()
  })
  return { now, told: () => told }
}

// It was silent about partitions that a tab began to stand in for, and about members of whom it heard from others only.
test('each change is told of: homes that are away, their return, a newcomer, and who leaves', async () => {
  const ring = await openRing(5)
  const [first, second, ...rest] = [0, 1, 2, 3, 4].map((index) => ring.tab(index)) as [Tab, Tab, ...Tab[]]
  const alone = following(first)
  const others = following(second)
  const expectTold = (what: string) => {
    for (const { now, told } of [alone, others]) expect(told(), what).toEqual(now())
  }
  await ring.pass(5000)
  expectTold('at rest')
  ring.partition([first], [second, ...rest])
  await ring.until('standing in', () => alone.now().partitionsFilling > 0)
  await ring.pass(5000)
  expectTold('in a partition')
  const newcomer = await ring.join()
  await ring.pass(5000)
  expectTold('with a newcomer on the other side')
  ring.heal()
  await ring.until('all six', () => alone.now().members === 6 && alone.now().partitionsFilling === 0)
  await ring.pass(5000)
  expectTold('healed')
  await ring.leave(newcomer)
  await ring.pass(5000)
  expectTold('when one has left')
})

// It was the node's own list: an application that sorted it to show it sent its gets and puts to other nodes than those that have the data.
test('the homes that an application is given are its own to change', async () => {
  const ring = await openRing(5)
  const { store } = storeAt(ring.tab(0))
  const homes = store.ring.homes(0)
  ;(homes as string[]).length = 1
  expect(store.ring.homes(0)).toHaveLength(3)
})

// It was 'unreachable' first, without a sign of life, for no time at all.
test('a newcomer that is met is up from the first event on', async () => {
  const ring = await openRing(1)
  const { store } = storeAt(ring.tab(0))
  const told: object[] = []
  store.addEventListener('member', ({ detail }) => told.push(detail))
  const newcomer = await ring.join()
  await passing(ring, 5000)
  expect(new Set(told.map((member) => JSON.stringify(member, ['node', 'state', 'connected'])))).toEqual(
    new Set([JSON.stringify({ node: newcomer.id, state: 'up', connected: true })]),
  )
})

// All others were told of as unreachable, as it had hung up on them: a page that shows them drew them so when its store had closed.
test('a store that has ended tells no more of members', async () => {
  const ring = await openRing(3)
  const { store } = storeAt(ring.tab(0))
  const told: object[] = []
  store.addEventListener('member', ({ detail }) => told.push(detail))
  await answerOf(ring, store.close())
  await passing(ring, 200)
  expect(told).toEqual([])
})
