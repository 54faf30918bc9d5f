/** Which nodes a request goes to: the preference list of its key (§4.3), seen through this node's opinion on who answers. */
import type { Address } from './environment.js'
import type { NodeId, Partition, ReplicationFactor, StoreKey } from './ids.js'
import { invariant } from './invariant.js'
import type { Membership } from './membership/membership.js'
import type { Peers } from './peers.js'
import { partitionIndex, replicationOf } from './ring/partitions.js'

export class Routing {
  constructor(
    readonly self: NodeId,
    private readonly membership: Membership,
    private readonly peers: Peers,
    readonly addressOf: (key: StoreKey) => Address,
    readonly partitions: number,
  ) {}

  /** All members that are up, in the order in which they are responsible for the key; the first n are its homes. */
  preferenceList(key: StoreKey): readonly NodeId[] {
    return this.listOf(this.addressOf(key).partition)
  }

  /** Members that hand everything over: in nobody's preference list any more, and perhaps the only ones who have something still. */
  leavers(): NodeId[] {
    return this.membership.all().flatMap(({ node, state }) => (state === 'leaving' ? [node] : []))
  }

  homes(key: StoreKey): readonly NodeId[] {
    return this.homesOf(this.addressOf(key).partition)
  }

  listOf(partition: Partition): readonly NodeId[] {
    const list = this.placement(partition).preferenceList(partitionIndex(partition, this.partitions))
    // A node that is not in the ring (leaving, or put to sleep by others and not yet back) still has to serve its own user.
    return list.length > 0 ? list : [this.self]
  }

  homesOf(partition: Partition): readonly NodeId[] {
    const homes = this.placement(partition).homes(partitionIndex(partition, this.partitions))
    return homes.length > 0 ? homes : [this.self]
  }

  /** Takes part in the placement: neither asleep nor gone. */
  isPlaced(node: NodeId): boolean {
    return this.membership.get(node)?.state === 'up'
  }

  isReachable(node: NodeId): boolean {
    return node === this.self || this.peers.isReachable(node)
  }

  /** Round trip in milliseconds; this node is nearest, an unmeasured one far. */
  distance(node: NodeId): number {
    return node === this.self ? -1 : (this.peers.rtt(node) ?? 1000)
  }

  /** Reachable homes and, for each home that is not, the next reachable node behind them to stand in for it (§4.6). */
  targets(key: StoreKey): { node: NodeId; standsFor: NodeId | undefined }[] {
    const homes = this.homes(key)
    const missing = homes.filter((home) => !this.isReachable(home))
    const standIns = this.preferenceList(key)
      .slice(homes.length)
      .filter((node) => this.isReachable(node))
    const targets: { node: NodeId; standsFor: NodeId | undefined }[] = homes
      .filter((home) => this.isReachable(home))
      .map((node) => ({ node, standsFor: undefined }))
    for (const home of missing) {
      const node = standIns.shift()
      if (node) targets.push({ node, standsFor: home })
    }
    return targets
  }

  private placement(partition: Partition): ReturnType<Membership['placementFor']> {
    const n: ReplicationFactor | undefined = replicationOf(partition, this.partitions)
    invariant(n !== undefined, 'a partition belongs to a replication class')
    return this.membership.placementFor(n)
  }
}
