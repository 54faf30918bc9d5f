/**
 * What this node's disk has, and its homes may lack although no hint says so. That is so after a life that ended with puts under way of which it had a copy
 * itself, as a home, and whose other homes had not all confirmed theirs: the first of such puts puts a mark on the disk, in the transaction of its own copy,
 * that goes once they have all come to their end. And it is so when members join that were away or in another part of a ring that was split, or when there
 * were too few before: what was written here meanwhile had other or fewer homes. And it is so once this node has begun to hand everything over and stays all the
 * same, in this life or the next: its own hints are with others by then. In all these cases not everything is where it belongs before this node's Merkle trees and
 * those of every other home were seen to be equal, and what it is no home of any more is handed over (§4.7). Not known is when a hint arrives that another one
 * took over in a leave that was given up, of a key that this node is no home of.
 */
import type { Batch, CancelTimer, Clock, Storage } from '../environment.js'
import type { NodeId, Partition } from '../ids.js'
import type { Duties } from '../replica/duties.js'
import type { MerkleForest } from '../replica/merkle.js'
import type { Routing } from '../routing.js'

export const MARK = 'under way'
/** Puts one after the other share a mark. */
const UNMARK_AFTER_MS = 200

export class UnderWay {
  private puts = 0
  /** It is on the disk. */
  private isMarked = false
  /** The members that this node knew when it was closed do not join as it opens. */
  private isRestored = false
  /** Who lacks nothing, as far as it has been looked at since something may be lacking; undefined where nothing may, or all have been. */
  private compared: Set<NodeId> | undefined
  /** There was more here, which is to be fetched back as well. */
  private mustBeWhole = false
  private timer: CancelTimer | undefined

  constructor(
    private readonly storage: Storage,
    private readonly forest: MerkleForest,
    private readonly duties: Duties,
    private readonly routing: Routing,
    private readonly clock: Clock,
    /** Partitions on this disk that other nodes are to have in its place. */
    private readonly strays: () => readonly Partition[],
    /** Something that this node has a duty for is still to be fetched. */
    private readonly isLacking: () => boolean,
  ) {}

  restore(mark: Uint8Array | undefined): void {
    this.isRestored = true
    if (!mark) return
    this.isMarked = true
    this.mustBeWhole = true
    this.compared = new Set()
    this.look()
  }

  /** This node hands over all that it has, or did and stays. */
  handsOver(): void {
    if (!this.isRestored) return
    this.mustBeWhole = true
    this.compared = new Set()
    void this.keepMark()
  }

  /** It has handed everything over, and has left: what it held is the others' from now on. */
  handedOver(): void {
    this.mustBeWhole = false
    this.compared = undefined
  }

  /** There is nothing that some home may lack. */
  get isOver(): boolean {
    return this.compared === undefined
  }

  /** To be written together with the own copy of a put that has begun; empty where the disk has it. */
  get mark(): NonNullable<Batch['meta']> {
    return this.isMarked ? [] : [[MARK, new Uint8Array(1)]]
  }

  marked(): void {
    this.isMarked = true
  }

  began(): void {
    this.puts++
  }

  ended(): void {
    this.puts--
    this.unmarkSoon()
  }

  /** This node's copies of all that both should hold and the peer's are equal. */
  foundEqual(peer: NodeId): void {
    this.compared?.add(peer)
  }

  /**
   * Other homes may share other partitions.
   * @param lacking who has joined and may lack what this node has
   * @param members of the ring, these included
   */
  placementChanged(lacking: readonly NodeId[], members: readonly NodeId[]): void {
    if (!this.isRestored) return
    if (this.compared) this.compared.clear()
    else if (lacking.length > 0) this.compared = new Set(members.filter((node) => !lacking.includes(node)))
    this.look()
    if (this.compared) void this.keepMark()
  }

  /** The disk is another one. */
  lost(): void {
    this.isMarked = false
    this.mustBeWhole = false
    this.compared = undefined
  }

  async stop(): Promise<void> {
    this.timer?.()
    await this.unmark()
  }

  /** All has been compared, and what this node is no home of any more is still to be handed over. */
  get onlyStraysLeft(): boolean {
    return this.haveAll() && this.strays().length > 0
  }

  /** No other home lacks anything of what this node has a duty for. */
  private haveAll(): boolean {
    const { compared, duties, routing, forest } = this
    // Who leaves hands over, and has no duties that tell.
    if (!compared || !routing.isPlaced(routing.self)) return false
    if (this.mustBeWhole && this.isLacking()) return false
    const isDone = (home: NodeId) => home === routing.self || compared.has(home)
    const held = forest.held().filter((partition) => duties.isOnDuty(partition))
    return held.every((partition) => routing.homesOf(partition).every(isDone))
  }

  /** Whether what was left to be done has just come to its end. */
  look(): boolean {
    if (!this.haveAll() || this.strays().length > 0) return false
    this.compared = undefined
    this.mustBeWhole = false
    this.unmarkSoon()
    return true
  }

  /** A life that ends before all is compared leaves that to the next one. */
  private async keepMark(): Promise<void> {
    const { mark } = this
    if (mark.length === 0) return
    try {
      await this.storage.commit({ meta: mark }, 'relaxed')
    } catch {
      // A disk without room for it says so of each put.
      return
    }
    this.marked()
    // All may have been compared meanwhile.
    this.unmarkSoon()
  }

  private unmarkSoon(): void {
    if (!this.isMarked || this.puts > 0 || !this.isOver) return
    this.timer ??= this.clock.setTimer(UNMARK_AFTER_MS, () => {
      this.timer = undefined
      void this.unmark()
    })
  }

  private async unmark(): Promise<void> {
    if (!this.isMarked || this.puts > 0 || !this.isOver) return
    // Before that is written: a put that begins meanwhile marks it anew, behind this.
    this.isMarked = false
    await this.storage.commit({ meta: [[MARK, undefined]] }, 'relaxed').catch(() => {
      this.isMarked = true
    })
  }
}
