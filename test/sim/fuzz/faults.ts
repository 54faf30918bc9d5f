/** Does to a world what a plan's fault says. Faults stay within what can be recovered from: the last good copy of a key is never damaged. */
import type { StoreKey } from '../../../src/core/ids.js'
import { handEverythingOver } from '../../../src/store/leave.js'
import type { Disk, SimulatedStorage } from '../disk.js'
import type { Place, World } from '../world.js'
import type { FaultKind } from './plan.js'

const MAX_TABS = 9

export interface FaultTarget {
  place: Place
  other: Place
  /** 0 to 1: how much, where that means something. */
  amount: number
}

export class Faults {
  private readonly backups = new Map<Place, Disk>()
  /** Tabs that are about to leave, in this life. */
  private readonly leaving = new Map<Place, number>()
  /** Of these, the ones whose applications' writes wait. */
  private readonly holding = new Map<Place, number>()
  private readonly gone = new Set<Place>()
  private ended = false
  /** Who has adopted another one: perhaps nobody else knows yet that this one has left, and nobody will ever again find its disk. */
  private readonly heirs = new Set<Place>()

  constructor(
    private readonly world: World,
    /** The keys of the plan. */
    private readonly keys: readonly StoreKey[],
  ) {}

  /** It has left for good or been adopted, or is about to. */
  isLeaving(place: Place): boolean {
    return this.gone.has(place) || this.leaving.get(place) === place.lives || this.isAdopted(place)
  }

  /** As a store does with what its application writes while it leaves. */
  holdsWrites(place: Place): boolean {
    return this.holding.get(place) === place.lives
  }

  private isAdopted({ adopter }: Place): boolean {
    return adopter !== undefined && adopter.place.lives === adopter.life
  }

  private isKnown(place: Place): boolean {
    return this.world.alive().every(({ node }) => node.membership.get(place.id) !== undefined)
  }

  get someoneIsLeaving(): boolean {
    const { world } = this
    return (
      world.alive().some((place) => this.leaving.get(place) === place.lives) ||
      world.places.some((place) => !this.gone.has(place) && this.isAdopted(place))
    )
  }

  async apply(kind: FaultKind, { place, other, amount }: FaultTarget): Promise<void> {
    const { world } = this
    const { network } = world
    world.trace.event(world.time.now, `${kind}: ${place.id} ${other.id}`)
    const isOpen = place.node !== undefined
    const isDown = (each: Place) => world.isDown(each) && !this.gone.has(each)
    const isClosed = isDown(place)
    switch (kind) {
      case 'cut':
        this.touch(place, other)
        return network.cut(place.id, other.id)
      case 'one-way cut':
        this.touch(place, other)
        return network.block(place.id, other.id)
      case 'isolate':
        this.touch(...world.places)
        for (const each of world.places) network.cut(place.id, each.id)
        return
      case 'split': {
        this.touch(...world.places)
        const left = world.places.filter(() => world.random.chance(0.5))
        for (const a of left) for (const b of world.places) if (!left.includes(b)) network.cut(a.id, b.id)
        return
      }
      case 'unclog':
        this.touch(...world.places)
        return network.heal(place.id)
      case 'heal':
        this.touch(...world.places)
        return network.heal()
      case 'kill':
        if (world.alive().length > 2) world.kill(place)
        return
      case 'power cut':
        if (isOpen && world.alive().length > 2) world.cutPower(place)
        return
      case 'close':
        if (isOpen && !place.asleep && world.alive().length > 2) await world.close(place)
        return
      case 'open':
        if (isClosed) world.begin(place)
        return
      case 'mass restart':
        for (const each of world.alive())
          if (world.random.chance(0.5) && !this.isLeaving(each)) {
            world.kill(each)
            world.begin(each)
          }
        return
      case 'blackout': {
        // All at once, and some of them come back alone.
        const back = world.alive().filter((each) => !this.isLeaving(each))
        for (const each of world.alive()) world.kill(each)
        const first = Math.floor(amount * back.length)
        for (const [i, each] of back.entries()) if (i === first || world.random.chance(0.4)) world.begin(each)
        return
      }
      case 'hide':
        if (!isOpen || place.asleep) return
        this.touch(place)
        // Browsers call the timers of hidden tabs once in a second, and later much less often.
        place.timerStepMs = amount < 0.7 ? 1000 : 10_000
        place.node?.peers.setHidden(true)
        return
      case 'show':
        place.node?.peers.setHidden(false)
        return world.show(place)
      case 'freeze':
        return world.freeze(place)
      case 'thaw':
        return world.thaw(place)
      case 'join':
        if (world.places.length < MAX_TABS) world.begin(world.addPlace())
        return
      case 'leave':
        if (isOpen && world.alive().length > 4) this.leave(place)
        return
      case 'adopt':
        if (isClosed && !place.options.config) this.adopt(place, other)
        return
      case 'wipe':
        if (isClosed && !this.heirs.has(place)) world.changeDisk(place, 'loses its disk', () => place.disk.wipe())
        return
      case 'wipe open':
        if (isOpen && !place.asleep && !place.storage?.closed && !this.heirs.has(place))
          world.changeDisk(place, 'has its disk deleted under it', () => place.storage?.empty())
        return
      case 'wipe bookkeeping':
        // But not who the members are: a tab that has its records and has forgotten everybody takes itself for the whole ring, and
        // forgets tombstones alone. A database loses all of its stores or none.
        if (!isClosed) return
        for (const name of place.disk.meta.keys()) if (name !== 'members') place.disk.meta.delete(name)
        place.failedAt = world.time.now
        return
      case 'snapshot':
        this.backups.set(place, place.disk.snapshot())
        return
      case 'roll back': {
        const backup = this.backups.get(place)
        if (isClosed && backup && !this.heirs.has(place)) world.rollBack(place, backup)
        return
      }
      case 'swap disks':
        // Both have been members: whose disk nobody knows of, for that one nobody keeps a tombstone.
        if (isClosed && isDown(other) && [place, other].every((each) => this.isKnown(each))) {
          world.swapDisks(place, other)
          this.backups.clear()
        }
        return
      case 'fill disk':
        return this.failDisk(place, { failing: 'quota' })
      case 'free disk':
        world.noteFailing(place)
        if (place.storage) place.storage.failing = place.storage.failingReads = undefined
        return this.touch(place)
      case 'fail commit':
        return this.failDisk(place, { failingOnce: amount < 0.5 ? 'unknown' : 'quota' })
      case 'fail reads':
        return this.failDisk(place, { failingReads: 'unknown' })
      case 'lose outcome':
        return this.failDisk(place, { loseOutcome: true })
      case 'flip value':
        return this.damage(place, amount, (disk, key) => disk.flipByte(key, Math.floor(amount * 1000)))
      case 'flip leaf':
        // Leaves are read when a tab opens; until then, and until the next scrub, damage under an open one would show nowhere.
        if (isClosed) this.damage(place, amount, (disk, key) => disk.flipLeaf(key))
        return
      case 'jump clock':
        place.clockError = (amount - 0.5) * 4 * 3_600_000
        return
      case 'slow link':
        this.touch(place, other)
        return network.setSlow(place.id, other.id, { bytesPerMs: 0.5 + 20 * amount, bufferBytes: 20_000 })
      case 'fast links':
        this.touch(...world.places)
        return network.endSlowness()
      case 'signaling down':
        this.touch(...world.places)
        return network.setSignaling(false)
      case 'signaling up':
        return network.setSignaling(true)
    }
  }

  /** All faults end; who was closed stays closed. */
  end(): void {
    this.ended = true
    this.calm()
    for (const place of this.world.places) place.clockError = 0
    // Whose disk failed while it was leaving is out of the ring and not gone: its application tries again.
    for (const place of this.world.alive())
      if (place.node.membership.isLeaving(place.id) && !this.isLeaving(place)) this.leave(place)
  }

  /** What is broken is mended; who was closed stays closed. */
  calm(): void {
    const { network, places } = this.world
    network.heal()
    network.endSlowness()
    network.setSignaling(true)
    Object.assign(network.knobs, { lossRate: 0, duplicateRate: 0, reorderRate: 0 })
    for (const place of places) {
      this.world.thaw(place)
      place.node?.peers.setHidden(false)
      this.world.show(place)
      this.world.noteFailing(place)
      if (!place.storage) continue
      place.storage.failing = place.storage.failingOnce = place.storage.failingReads = undefined
      place.storage.loseOutcome = false
      // Without its disk for good, a tab is only good for a reload.
      if (place.storage.closed && place.node) this.world.kill(place)
    }
    this.touch(...places)
  }

  private failDisk(place: Place, how: Partial<SimulatedStorage>): void {
    if (place.storage) Object.assign(place.storage, how)
    this.world.noteFailing(place)
    this.touch(place)
  }

  private leave(place: Place): void {
    const { node } = place
    if (!node || this.isLeaving(place)) return
    const life = place.lives
    this.leaving.set(place, life)
    const holdWrites = (isHeld: boolean) => {
      if (isHeld) this.holding.set(place, life)
      else if (this.holding.get(place) === life) this.holding.delete(place)
    }
    handEverythingOver(node, { holdWrites }).then(
      () => {
        if (place.lives !== life) return
        this.world.kill(place)
        this.gone.add(place)
        place.disk.wipe()
      },
      // Nobody to hand anything to, or no disk to hand it from: it stays.
      () => this.leaving.delete(place),
    )
  }

  private adopt(orphan: Place, other: Place): void {
    const able = this.world.alive().filter((each) => !each.asleep && !each.options.config && !this.isLeaving(each))
    const adopter = able.find((each) => each === other) ?? able[0]
    if (!adopter) return
    const life = adopter.lives
    this.world.adopt(adopter, adopter.node, orphan).then(
      () => {
        if (adopter.lives !== life) return
        this.gone.add(orphan)
        this.heirs.add(adopter)
        orphan.disk.wipe()
      },
      // One of the two disks refused: it is opened again like any other.
      () => this.ended && this.world.isDown(orphan) && this.world.begin(orphan),
    )
  }

  /** Flips something of a key that two other tabs hold in the very same state. */
  private damage(place: Place, amount: number, flip: (disk: Disk, key: StoreKey) => boolean): void {
    const key = this.keys[Math.floor(amount * this.keys.length)] as StoreKey
    const mine = place.disk.records.get(key)
    const homes = this.world.alive()[0]?.node.routing.homes(key) ?? []
    const same = this.world.places.filter(({ id, disk }) => {
      const digest = disk.records.get(key)?.digest
      return homes.includes(id) && digest?.high === mine?.digest.high && digest?.low === mine?.digest.low
    })
    if (mine && same.length >= 2) this.world.changeDisk(place, `has ${key} damaged`, () => flip(place.disk, key))
  }

  private touch(...places: Place[]): void {
    for (const place of places) place.disturbedAt = this.world.time.now
  }
}
