/** What the ring promises to whom at this moment, as far as the world's own knowledge of tabs, links and disks tells. */
import type { NodeId, Partition, StoreKey } from '../../../src/core/ids.js'
import type { OpenPlace, Place, World } from '../world.js'
import type { Faults } from './faults.js'
import { type Plan, type Step, calmAfterMs } from './plan.js'

/** The homes of a key as a tab sees them, in no order. */
export function homesSeenBy(place: OpenPlace, key: StoreKey): string {
  return [...place.node.routing.homes(key)].sort().join(' ')
}

/** Whether some home of the key has lost or given up anything that it had, since then. */
export function hasLost(world: World, place: OpenPlace, key: StoreKey, since: number): boolean {
  const partition = place.node.partitionOf(key)
  return place.node.routing.homes(key).some((home) => {
    const { lostAt, releasedAt } = world.placeOf(home)
    return lostAt >= since || (releasedAt.get(partition) ?? -1) >= since
  })
}

/**
 * Looks now, and again when the result is called: whether each of these partitions had, then or now, a home that this tab reached and that
 * has all of it. A home that a fault has met meanwhile, or that has fetched it and is none any more, may have had it in between.
 */
export function coverage(world: World, place: OpenPlace, partitions: Partition[]): () => boolean {
  const start = world.time.now
  const { node } = place
  const reached = new Set([place.id, ...node.peers.reachable()])
  const isCovered = (partition: Partition, homes: readonly NodeId[]) =>
    homes.some((home) => {
      const { node: other, disturbedAt, filledAt } = world.placeOf(home)
      const mayHaveHad = disturbedAt >= start || (filledAt.get(partition) ?? -1) >= start
      return reached.has(home) && (mayHaveHad || other?.duties.isComplete(partition))
    })
  const began = partitions.map((partition) => {
    const homes = [...node.routing.homesOf(partition)]
    return { partition, homes, covered: isCovered(partition, homes) }
  })
  // It may have become a home after the start, and be none any more.
  const wasFilled = (partition: Partition) =>
    [...reached].some((id) => (world.placeOf(id).filledAt.get(partition) ?? -1) >= start)
  return () =>
    began.every(
      ({ partition, homes, covered }) =>
        covered || isCovered(partition, [...homes, ...node.routing.homesOf(partition)]) || wasFilled(partition),
    )
}

/** I9: when W nodes will certainly take a put. */
export class Availability {
  constructor(
    private readonly world: World,
    private readonly plan: Plan,
    private readonly faults: Faults,
  ) {}

  /**
   * Whether the put has to meet its quorum: W of those that can take it are linked with this tab, and nothing has happened to any of them
   * for a while. To be asked again when it has ended.
   */
  promised(place: OpenPlace, key: StoreKey, { w, strict }: Step & { do: 'put' }): () => boolean {
    const { world } = this
    const { node } = place
    const start = world.time.now
    const since = start - calmAfterMs(this.plan)
    // Where few siblings are allowed, some homes may take what others refuse.
    if (!this.isFit(place, since) || (this.plan.tuning.maxSiblings ?? 100) < 100) return () => false
    const homes = node.routing.homes(key)
    // Without hinted handoff nobody stands in for a home.
    const { hintedHandoff, requestTimeoutMs } = node.options.tuning
    const onlyHomes = strict || !hintedHandoff
    // One that has not heard yet that it is a home is asked again, for as long as the put has time.
    const knowIt = homes.every((home) => world.placeOf(home).node?.routing.homes(key).includes(home))
    if (onlyHomes && !knowIt && requestTimeoutMs < ROUND_MS) return () => false
    const reachable = node.routing.preferenceList(key).filter((id) => node.routing.isReachable(id))
    const asked = reachable.map((id) => world.placeOf(id)).filter((each) => each !== place)
    const isLinked = (each: Place) => world.network.isLinked(place.id, each.id)
    // One that only seems to be there takes time that it costs to find out.
    if (!asked.every((each) => this.isFit(each, since) && isLinked(each))) return () => false
    const able = [place, ...asked].filter(({ id }) => !onlyHomes || homes.includes(id))
    return () =>
      able.length >= w &&
      [place, ...asked].every((each) => this.isFit(each, start)) &&
      (!onlyHomes || homes.every((home) => node.routing.homes(key).includes(home)))
  }

  /** Open and awake, with a disk that works, has room and is not behind, and untouched since. */
  private isFit(place: Place, since: number): boolean {
    const { node, storage, asleep, timerStepMs, disturbedAt } = place
    return (
      node !== undefined &&
      !asleep &&
      timerStepMs === 0 &&
      disturbedAt < since &&
      !storage?.failing &&
      !storage?.failingOnce &&
      !storage?.loseOutcome &&
      !storage?.closed &&
      !node.replica.pressure.refusesHints &&
      !this.faults.isLeaving(place) &&
      this.world.backlog(place) < BACKLOG_MS &&
      this.world.network.knobs.lossRate === 0
    )
  }
}

/** In which gossip surely gets around. */
const ROUND_MS = 2000
/** A disk that is behind by more answers too late for the shortest time-out. */
const BACKLOG_MS = 150
