/** What the tabs say of themselves (I15): when every one of them says that all is where it belongs, it is. */
import type { NodeId } from '../../../src/core/ids.js'
import { MalformedError, decodeContainer } from '../../../src/core/versions/encoding.js'
import { ringOf } from '../checks.js'
import { type Write, nameOf } from '../history.js'
import type { OpenPlace, World } from '../world.js'

export class Claims {
  /** Writes that need not be looked at any more. */
  private readonly done = new Set<Write>()

  constructor(private readonly world: World) {}

  judge(): void {
    const { history, sights, places } = this.world
    const ring = ringOf(this.world)
    const [viewer] = ring
    if (!viewer || !ring.every((place) => saysAllIsWell(place, ring))) return
    sights.saw(HELD_TO_STATUS)
    const troubledAt = new Map(places.map(({ id, lostAt, failedAt }) => [id, Math.max(lostAt, failedAt)]))
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
