/**
 * What the tabs say of themselves: when every one of them says that all is where it belongs, it is (I15). And no tab says so of what it wrote just now and
 * nobody else has (I16): its application might close it.
 */
import type { NodeId } from '../../../src/core/ids.js'
import { MalformedError, decodeContainer } from '../../../src/core/versions/encoding.js'
import { ringOf } from '../checks.js'
import { type Write, nameOf } from '../history.js'
import type { OpenPlace, Place, World } from '../world.js'

/** Virtual time in which a write counts as one of now. */
const LATELY_MS = 10_000

export class Claims {
  /** Writes that need not be looked at any more. */
  private readonly done = new Set<Write>()
  /** Those that some other tab was seen to have. */
  private readonly shared = new Set<Write>()

  constructor(private readonly world: World) {}

  judge(): void {
    const { history, sights, places } = this.world
    const ring = ringOf(this.world)
    const [viewer] = ring
    if (!viewer || !ring.every((place) => saysAllIsWell(place, ring))) return
    sights.saw(HELD_TO_STATUS)
    const troubledAt = new Map(places.map((place) => [place.id, lastTrouble(place)]))
    const isTroubled = (node: NodeId, { time }: Write) => (troubledAt.get(node) ?? 0) >= time
    for (const key of history.keys())
      for (const write of history.writesOf(key)) {
        if (this.done.has(write)) continue
        this.done.add(write)
        // Whose disk fails or loses something cannot know what others lack.
        if (write.holders.size === 0 || write.refused || isTroubled(write.at, write) || history.isDeleted(write))
          continue
        const isExcused = (home: NodeId) => isTroubled(home, write) || this.shows(home, write)
        const lacking = viewer.node.routing.homes(key).filter((home) => !isExcused(home))
        if (lacking.length > 0)
          history.violation('I15', `all say that they are synced, and ${lacking} lack ${nameOf(key, write.dot)}`)
      }
  }

  /** Under faults. Who is alone, as it sees it, is all homes. */
  judgeLately(): void {
    const { history, sights, places, time } = this.world
    if (places.some(({ storage }) => storage?.isFailing)) return
    const since = Math.max(time.now - LATELY_MS, ...places.map(lastTrouble))
    for (let i = history.all.length - 1; i >= 0; i--) {
      const write = history.all[i] as Write
      if (write.time <= since) return
      const { key, at } = write
      const { node, asleep } = this.world.placeOf(at)
      if (!node?.coordinator.synced || asleep || this.shared.has(write) || history.isDeleted(write)) continue
      if (!write.byUser || write.refused || !write.holders.has(at)) continue
      const homes = node.routing.homes(key)
      const agrees = (home: NodeId) => String(this.world.placeOf(home).node?.routing.homes(key)) === String(homes)
      if (!homes.some((home) => home !== at && agrees(home))) continue
      sights.saw(HELD_TO_OWN)
      const copies = this.world.copiesOf(write)
      if (copies.size > 1 || !copies.has(at)) this.shared.add(write)
      else history.violation('I16', `${at} says that it is synced, and nobody else has ${nameOf(key, write.dot)}`)
    }
  }

  private shows(home: NodeId, write: Write): boolean {
    const row = this.world.placeOf(home).disk.records.get(write.key)
    try {
      return row !== undefined && this.world.history.shows(decodeContainer(row.container), write)
    } catch (error) {
      if (error instanceof MalformedError) return false
      throw error
    }
  }
}

/** Whose disk fails or loses something knows no better. */
function lastTrouble({ lostAt, failedAt }: Place): number {
  return Math.max(lostAt, failedAt)
}

/** An application that asks here, and everywhere else, is told that there is nothing to wait for. */
function saysAllIsWell({ node }: OpenPlace, ring: readonly OpenPlace[]): boolean {
  const { coordinator, replica, duties, membership, peers } = node
  return (
    coordinator.synced &&
    replica.hints.pending === 0 &&
    duties.filling().length === 0 &&
    membership.placed().length === ring.length &&
    peers.reachable().length === ring.length - 1
  )
}

export const HELD_TO_STATUS = 'all tabs said that they were synced'
export const HELD_TO_OWN = 'a tab that had just written said that it was synced'
