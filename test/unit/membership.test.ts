/** Who belongs to the ring: one list from the same records, whatever way they came (§4.8.1). */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { DeviceId, NodeId } from '../../src/core/ids.js'
import { Membership, type MembershipEvents } from '../../src/core/membership/membership.js'
import type { MemberRecord, MemberState } from '../../src/core/membership/records.js'
import { encodeMessagePack } from '../../src/core/versions/messagepack.js'
import { VirtualClock } from '../support/virtual-clock.js'

const SELF = 'self______' as NodeId
const OTHER = 'other_____' as NodeId
const THIRD = 'third_____' as NodeId
const MINUTE = 60_000
const PARTITIONS = 8

function recordOf(node: NodeId, change: Partial<MemberRecord> = {}): MemberRecord {
  return { node, device: 'device____' as DeviceId, incarnation: 1, state: 'up', capacity: 1, name: '', ...change }
}

class Scene {
  readonly clock = new VirtualClock()
  readonly members = new Membership(recordOf(SELF), this.clock, PARTITIONS)
  readonly placements: MembershipEvents['placement'][] = []
  replaced = 0
  readonly changed: NodeId[][] = []

  constructor() {
    this.members.events.on('placement', (event) => this.placements.push(event))
    this.members.events.on('replaced', () => this.replaced++)
    this.members.events.on('changed', (records) => this.changed.push(records.map(({ node }) => node)))
  }

  stateOf(node: NodeId): MemberState | undefined {
    return this.members.get(node)?.state
  }
}

const placesOf = (members: Membership) =>
  Array.from({ length: PARTITIONS }, (_, index) => members.placementFor(3).preferenceList(index))
const byNode = (a: MemberRecord, b: MemberRecord) => (a.node < b.node ? -1 : 1)
const records: fc.Arbitrary<MemberRecord[]> = fc.array(
  fc.record({
    node: fc.constantFrom(...['aaaaaaaaaa', 'bbbbbbbbbb', 'cccccccccc', 'dddddddddd'].map((id) => id as NodeId)),
    device: fc.constantFrom('device___1' as DeviceId, 'device___2' as DeviceId),
    incarnation: fc.nat(3),
    state: fc.constantFrom<MemberState>('up', 'asleep', 'left'),
    capacity: fc.constantFrom(1, 2),
    name: fc.constantFrom('', 'x'),
  }),
  { maxLength: 12 },
)
const shuffled = records.chain((some) =>
  fc.tuple(fc.constant(some), fc.shuffledSubarray(some, { minLength: some.length })),
)

describe('the list of members', () => {
  test('is the same, with the same hash and placement, in whatever order and portions the records came', () => {
    fc.assert(
      fc.property(shuffled, fc.nat(12), ([some, others], cut) => {
        const [one, two] = [new Scene().members, new Scene().members]
        one.absorb(some)
        two.absorb(others.slice(0, cut))
        two.absorb(others.slice(cut))
        two.absorb(others)
        expect(two.all().sort(byNode)).toEqual(one.all().sort(byNode))
        expect(two.hash()).toEqual(one.hash())
        expect(placesOf(two)).toEqual(placesOf(one))
      }),
    )
  })

  test('changes its hash with every change of a record, and only then', () => {
    const { members, changed } = new Scene()
    const alone = members.hash()
    expect(members.absorb([recordOf(OTHER)])).toBe(true)
    const both = members.hash()
    expect(both).not.toEqual(alone)
    expect(members.absorb([recordOf(OTHER), recordOf(OTHER, { incarnation: 0, state: 'left' })])).toBe(false)
    expect(members.hash()).toEqual(both)
    expect(changed).toEqual([[OTHER]])
  })

  test('is placed as it is now, not as it was when last asked', () => {
    const { members } = new Scene()
    expect(members.placementFor(3).preferenceList(0)).toEqual([SELF])
    members.absorb([recordOf(OTHER)])
    expect([...members.placementFor(3).preferenceList(0)].sort()).toEqual([OTHER, SELF])
    members.declare({ state: 'left' })
    expect(members.placementFor(3).preferenceList(0)).toEqual([OTHER])
  })

  test('survives a restart, with those that sleep or left', () => {
    const before = new Scene().members
    before.absorb([recordOf(OTHER, { state: 'asleep' }), recordOf(THIRD, { state: 'left' })])
    const after = new Scene().members
    after.restore(before.encoded())
    expect(after.all().sort(byNode)).toEqual(before.all().sort(byNode))
    after.restore(undefined)
    expect(after.hash()).toEqual(before.hash())
  })

  test('tells of each change of the placement and who joined it, and of nothing else', () => {
    const { members, placements } = new Scene()
    members.absorb([recordOf(OTHER), recordOf(THIRD, { state: 'asleep' })])
    expect(placements).toEqual([{ joined: [OTHER] }])
    members.absorb([recordOf(OTHER, { state: 'left' }), recordOf(THIRD, { incarnation: 2 })])
    expect(placements.slice(1)).toEqual([{ joined: [THIRD] }])
    members.absorb([recordOf(THIRD, { incarnation: 3, name: 'renamed' })])
    expect(placements).toHaveLength(2)
    members.declare({ state: 'left' })
    expect(placements.slice(2)).toEqual([{ joined: [] }])
  })
})

describe('a node of which others are wrong', () => {
  test.each<MemberState>(['asleep', 'left'])(
    'raises its incarnation above theirs, and tells that it was %s',
    (state) => {
      const scene = new Scene()
      const { members, placements } = scene
      members.absorb([recordOf(SELF, { incarnation: 7, state })])
      expect(members.self).toEqual(recordOf(SELF, { incarnation: 8 }))
      expect(members.get(SELF)).toEqual(members.self)
      expect(scene.replaced).toBe(1)
      expect(placements).toEqual([])
    },
  )

  test('refutes its sleep at its present incarnation as well, so that everybody takes the refutation', () => {
    const { members } = new Scene()
    const rumour = recordOf(SELF, { state: 'asleep' })
    members.absorb([rumour])
    const other = new Membership(recordOf(OTHER), new VirtualClock(), PARTITIONS)
    other.absorb([rumour])
    other.absorb([members.self])
    expect(other.placed()).toContain(SELF)
  })

  test('outdoes a record of its former life without calling itself replaced, and lets old ones pass', () => {
    const scene = new Scene()
    const { members } = scene
    members.absorb([recordOf(SELF, { incarnation: 4, name: 'former' })])
    expect(members.self).toEqual(recordOf(SELF, { incarnation: 5 }))
    expect(members.absorb([recordOf(SELF, { incarnation: 3, state: 'left' })])).toBe(false)
    expect(members.absorb([{ ...members.self }])).toBe(false)
    expect(scene.replaced).toBe(0)
  })

  // Its restart overrode their record before that came here, and what it had missed was taken for whole.
  test('is told by those who remember, once, also where its restart has overridden what they said', () => {
    const other = new Membership(recordOf(OTHER), new VirtualClock(), PARTITIONS)
    other.absorb([recordOf(SELF, { incarnation: 4, state: 'asleep' })])
    expect(other.replacedAs(SELF)).toBe(4)
    const scene = new Scene()
    scene.members.restore(encodeMessagePack([recordOf(SELF, { incarnation: 4 })]))
    other.absorb([scene.members.self])
    expect(other.get(SELF)?.state).toBe('up')
    expect(other.replacedAs(SELF)).toBe(4)
    scene.members.wasReplacedAs(4, OTHER)
    scene.members.wasReplacedAs(4, OTHER)
    expect(scene.replaced).toBe(1)
    const again = new Scene()
    again.members.restore(scene.members.encoded(), scene.members.encodedHeard())
    again.members.wasReplacedAs(4, OTHER)
    expect(again.replaced).toBe(0)
    // Another one may know of a later absence, or have been met too late.
    again.members.wasReplacedAs(4, THIRD)
    expect(again.replaced).toBe(1)
    // Nobody is believed who knows more of it than it does.
    again.members.wasReplacedAs(2 ** 40, OTHER)
    expect(again.replaced).toBe(1)
  })
})

// One message with the greatest incarnation that there is banned a node for ever: it could not raise its own above it.
describe('an incarnation that no node counts up to', () => {
  const BANNED = { incarnation: 2 ** 48, state: 'left' } as const
  const FAR = 2 ** 32

  test('is not believed, neither by the node itself nor by others', () => {
    const scene = new Scene()
    const { members } = scene
    members.absorb([recordOf(OTHER)])
    expect(members.absorb([recordOf(SELF, BANNED), recordOf(OTHER, BANNED)], THIRD)).toBe(false)
    expect([members.self, members.get(OTHER)]).toEqual([recordOf(SELF), recordOf(OTHER)])
    expect(scene.replaced).toBe(0)
    const after = new Scene().members
    after.restore(members.encoded())
    expect(after.get(OTHER)).toEqual(recordOf(OTHER))
  })

  test('is not reached step by step in one message', () => {
    const { members } = new Scene()
    const steps = Array.from({ length: 100 }, (_, i) => recordOf(SELF, { incarnation: 1 + 2 ** 30 * i }))
    members.absorb(steps, THIRD)
    expect(members.self.incarnation).toBeLessThan(FAR)
  })

  test('is believed of whoever says it of itself, and so is the far lower one of a node of which others were told it', () => {
    const { members, placements } = new Scene()
    members.absorb([recordOf(OTHER)])
    members.absorb([recordOf(OTHER, { incarnation: FAR })], OTHER)
    expect(members.get(OTHER)?.incarnation).toBe(FAR)
    // Of a node that is not known yet, any word counts.
    members.absorb([recordOf(THIRD, BANNED)], OTHER)
    expect(members.placed()).not.toContain(THIRD)
    members.absorb([recordOf(THIRD)], OTHER)
    expect(members.placed()).not.toContain(THIRD)
    members.absorb([recordOf(THIRD)], THIRD)
    expect(members.get(THIRD)).toEqual(recordOf(THIRD))
    expect(placements.at(-1)).toEqual({ joined: [THIRD] })
  })

  test('outlasts a restart of the node that had to count so far', () => {
    const before = new Scene().members
    for (let i = 1; i <= 10; i++) before.absorb([recordOf(SELF, { incarnation: i * 2 ** 30, state: 'left' })], OTHER)
    expect(before.self.incarnation).toBeGreaterThan(FAR)
    const after = new Scene().members
    after.restore(before.encoded())
    expect(after.self.incarnation).toBeGreaterThan(before.self.incarnation)
  })

  test('adoption is believed, though it goes a million beyond', () => {
    const { members } = new Scene()
    members.absorb([recordOf(OTHER)])
    members.absorb([recordOf(OTHER, { incarnation: 10_000_000, state: 'left' })], THIRD)
    expect(members.placed()).toEqual([SELF])
  })
})

describe('silent members', () => {
  test('are put to sleep when the time has passed, not before, and this node never', async () => {
    const scene = new Scene()
    await scene.clock.advance(MINUTE)
    scene.members.absorb([recordOf(OTHER)])
    await scene.clock.advance(MINUTE - 1)
    scene.members.sleepSilent(MINUTE)
    expect(scene.stateOf(OTHER)).toBe('up')
    await scene.clock.advance(1)
    scene.members.sleepSilent(MINUTE)
    expect(scene.stateOf(OTHER)).toBe('asleep')
    expect(scene.members.placed()).toEqual([SELF])
    expect(scene.placements.at(-1)).toEqual({ joined: [] })
  })

  test('stay up while there is a sign of life, also one that others told; old hearsay takes nothing back', async () => {
    const scene = new Scene()
    scene.members.absorb([recordOf(OTHER), recordOf(THIRD)])
    expect(scene.members.evidenceAge(OTHER)).toBe(-1)
    await scene.clock.advance(MINUTE)
    scene.members.saw(OTHER, 20_000)
    scene.members.saw(OTHER, 50_000)
    expect(scene.members.evidenceAge(OTHER)).toBe(20_000)
    scene.members.sleepSilent(MINUTE)
    expect([scene.stateOf(OTHER), scene.stateOf(THIRD)]).toEqual(['up', 'asleep'])
  })

  test('have all their time again once they are back', async () => {
    const scene = new Scene()
    scene.members.absorb([recordOf(OTHER)])
    await scene.clock.advance(2 * MINUTE)
    scene.members.sleepSilent(MINUTE)
    scene.members.absorb([recordOf(OTHER, { incarnation: 2 })])
    scene.members.sleepSilent(MINUTE)
    expect(scene.stateOf(OTHER)).toBe('up')
    expect(scene.members.silence(OTHER)).toBe(0)
  })
})

test('who left and is back is not forgotten with those who left', async () => {
  const { members, clock } = new Scene()
  members.absorb([recordOf(OTHER, { state: 'left' }), recordOf(THIRD, { state: 'left' })])
  members.absorb([recordOf(OTHER, { incarnation: 2 })])
  await clock.advance(10 * MINUTE)
  members.forgetLeft(5 * MINUTE)
  expect([members.get(OTHER)?.state, members.get(THIRD)]).toEqual(['up', undefined])
})
