/**
 * Which partitions this node must hold, and whether it has all of their data: the bookkeeping of transfers (§4.9). It is a home
 * where the placement says so, a stand-in where a home has been unreachable for a while. A new home is 'filling' until it
 * has fetched the partition from somebody who had it whole; until then its "not found" counts for nothing (P11, P16).
 */
import type { NodeId, Partition, ReplicationFactor } from '../ids.js'
import type { Membership } from '../membership/membership.js'
import { partitions } from '../messages.js'
import { restored } from '../meta.js'
import { classBase, replicationOf } from '../ring/partitions.js'
import type { Routing } from '../routing.js'
import { encodeMessagePack } from '../versions/messagepack.js'

export class Duties {
  /** Partitions of which this node had all data when it last looked. Kept on disk, so that a restart need not fetch them again. */
  private readonly whole = new Set<Partition>()
  private homes = new Set<Partition>()
  private standIns = new Set<Partition>()
  private readonly classes = new Set<ReplicationFactor>()
  /** Of these, the ones whose homes have been looked up: only from then on is a partition new here that was not this node's before. */
  private readonly placed = new Set<ReplicationFactor>()
  /** How often this node has been without its data, or without what others wrote meanwhile, in this life. */
  distrusted = 0
  /** As often, it has all been looked at since. */
  private trusted = 0
  /** Whole only because nobody else was in the placement: whoever brings something may have more of them, also after a restart. */
  private readonly wholeAlone = new Set<Partition>()
  /** How often what was being fetched of them ceased to be all there is. */
  private readonly interrupted = new Map<Partition, number>()

  constructor(
    private readonly self: NodeId,
    private readonly routing: Routing,
    private readonly membership: Membership,
    private readonly partitions: number,
    private readonly recordsIn: (partition: Partition) => number,
    private readonly changed: () => void,
  ) {}

  restore(whole: Uint8Array | undefined, alone?: Uint8Array): void {
    for (const partition of restored(whole, partitions) ?? []) this.whole.add(partition)
    for (const partition of restored(alone, partitions) ?? [])
      if (this.whole.has(partition)) this.wholeAlone.add(partition)
  }

  encoded(): Uint8Array {
    return encodeMessagePack([...this.whole])
  }

  encodedAlone(): Uint8Array {
    return encodeMessagePack([...this.wholeAlone])
  }

  /** A replication factor that is in use here: its partitions count from now on. */
  addClass(n: ReplicationFactor): void {
    if (this.classes.has(n)) return
    this.classes.add(n)
    this.placementChanged([])
  }

  partitionsOf(n: ReplicationFactor): Partition[] {
    const base = classBase(n, this.partitions)
    return Array.from({ length: this.partitions }, (_, index) => (base + index) as Partition)
  }

  /** Partitions of a replication class of which this node is no home, or not a whole one. */
  lacking(n: ReplicationFactor): Partition[] {
    return this.partitionsOf(n).filter((partition) => !this.isComplete(partition))
  }

  /**
   * The placement may be another now. A partition that is new here has to be fetched; so has one of which this node holds nothing at all
   * when others joined: they may come from a ring that has it. So is one that was whole only because nobody else was there, whatever this node wrote to it.
   */
  placementChanged(joined: NodeId[]): void {
    const before = this.homes
    this.homes = new Set()
    const isAlone = this.membership.placed().every((node) => node === this.self)
    for (const n of this.classes) {
      const isFirst = !this.placed.has(n)
      this.placed.add(n)
      for (const partition of this.partitionsOf(n)) {
        if (!this.routing.homesOf(partition).includes(this.self)) {
          if (before.has(partition)) this.interrupt(partition)
          // A founder counted as complete everywhere while it was alone; where it holds nothing it has nothing to give.
          if (this.recordsIn(partition) === 0 && !this.standIns.has(partition)) {
            this.whole.delete(partition)
            this.wholeAlone.delete(partition)
          }
          continue
        }
        this.homes.add(partition)
        if (isAlone) this.countAsWhole(partition)
        else if (joined.length > 0 && (this.wholeAlone.has(partition) || this.recordsIn(partition) === 0))
          this.doubt(partition)
        else if (!before.has(partition) && !isFirst && !this.standIns.has(partition)) this.doubt(partition)
      }
    }
    this.changed()
  }

  /** Before these joined, the ring had fewer members than it should keep copies. */
  wereTooFew(joined: readonly NodeId[]): boolean {
    const before = this.membership.placed().length - joined.length
    return [...this.classes].some((n) => n !== 'all' && before < n)
  }

  /** Takes over for homes that have been away too long; drops what is over. @returns whether that is news */
  setStandIns(partitions: Set<Partition>): boolean {
    if (partitions.size === this.standIns.size && [...partitions].every((partition) => this.standIns.has(partition)))
      return false
    for (const partition of this.standIns)
      if (!partitions.has(partition) && !this.homes.has(partition)) this.doubt(partition)
    for (const partition of partitions)
      if (!this.standIns.has(partition) && !this.homes.has(partition)) this.doubt(partition)
    this.standIns = partitions
    this.changed()
    return true
  }

  /** It belongs to a replication class that is in use here. */
  isInUse(partition: Partition): boolean {
    const n = replicationOf(partition, this.partitions)
    return n !== undefined && this.classes.has(n)
  }

  isHome(partition: Partition): boolean {
    return this.homes.has(partition)
  }

  /** As a home or as a stand-in, it should hold the partition now. */
  isOnDuty(partition: Partition): boolean {
    return this.homes.has(partition) || this.standIns.has(partition)
  }

  /** Changes when what was fetched of the partition before counts for nothing any more. */
  generationOf(partition: Partition): number {
    return this.distrusted + (this.interrupted.get(partition) ?? 0)
  }

  /** This node was replaced while it was away: what it has may be old, all of it has to be looked at. */
  distrustAll(): void {
    this.distrusted++
    this.whole.clear()
    this.changed()
  }

  /** It has been without its data, or without what others wrote meanwhile, and has not looked at all of it since. */
  get isDistrusted(): boolean {
    return this.distrusted > this.trusted
  }

  /** It has something whole only because nobody else was there. Who comes with nothing does not change that. */
  get isFounder(): boolean {
    return this.wholeAlone.size > 0
  }

  /** Nothing is to be fetched any more. */
  lookedAtAll(): void {
    this.trusted = this.distrusted
  }

  /** Home or stand-in on duty, with all data: if there were something, this node would know, and its "not found" is a vote. */
  isComplete(partition: Partition): boolean {
    return this.whole.has(partition) && this.isOnDuty(partition)
  }

  /** Has all data as of when it was last on duty: good to fetch from, as a former home is that has not handed its copy over. */
  isSource(partition: Partition): boolean {
    return this.isComplete(partition) || (this.whole.has(partition) && this.recordsIn(partition) > 0)
  }

  /** The partition was fetched, all of it in that generation; if it was not this node's duty all the time, writes have gone elsewhere meanwhile and it counts for nothing. */
  markComplete(partition: Partition, generation: number): void {
    if (generation !== this.generationOf(partition) || !this.isOnDuty(partition)) return
    this.whole.add(partition)
    this.wholeAlone.delete(partition)
    this.changed()
  }

  /** This node gives its copy up: there may be anything of it missing here, also of what was just fetched. */
  released(partition: Partition): void {
    this.doubt(partition)
    this.changed()
  }

  /** There is nobody else who could have more of it. */
  private countAsWhole(partition: Partition): void {
    if (!this.whole.has(partition)) this.wholeAlone.add(partition)
    this.whole.add(partition)
  }

  /** There may be more of it than this node has, and than it is fetching. */
  private doubt(partition: Partition): void {
    this.whole.delete(partition)
    this.wholeAlone.delete(partition)
    this.interrupt(partition)
  }

  private interrupt(partition: Partition): void {
    this.interrupted.set(partition, (this.interrupted.get(partition) ?? 0) + 1)
  }

  held(): Partition[] {
    return [...this.homes]
  }

  /** All partitions that this node should hold now, each once: one that it stands in for may just have become its own. */
  onDuty(): Partition[] {
    return [...new Set([...this.homes, ...this.standIns])]
  }

  /** Homes and stand-in duties whose data is not all here yet. */
  filling(): Partition[] {
    return this.onDuty().filter((partition) => !this.whole.has(partition))
  }

  inUse(): ReplicationFactor[] {
    return [...this.classes]
  }
}
