/**
 * What a life of this node leaves under way when it ends: puts of which it had a copy itself, as a home, and whose other homes had not all confirmed theirs.
 * No hint tells of them. So the first of such puts puts a mark on the disk, in the transaction of its own copy, that goes once they have all come to
 * their end; and who finds one as it opens has not brought everything to its homes before its Merkle trees and those of every other home were seen
 * to be equal (§4.7).
 */
import type { Batch, CancelTimer, Clock, Storage } from '../environment.js'
import type { NodeId } from '../ids.js'
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
  /** Who has been compared with since a life before this one left something under way; undefined where none did, or all have been. */
  private compared: Set<NodeId> | undefined
  private timer: CancelTimer | undefined

  constructor(
    private readonly storage: Storage,
    private readonly forest: MerkleForest,
    private readonly duties: Duties,
    private readonly routing: Routing,
    private readonly clock: Clock,
  ) {}

  restore(mark: Uint8Array | undefined): void {
    if (!mark) return
    this.isMarked = true
    this.compared = new Set()
    this.look()
  }

  /** Nothing is left of a former life that some home may lack. */
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

  /** This node's copies of all that both should hold and the peer's are equal. @returns whether that was what was left to be done */
  foundEqual(peer: NodeId): boolean {
    this.compared?.add(peer)
    return this.look()
  }

  /** Other homes may share other partitions. */
  placementChanged(): void {
    this.compared?.clear()
    this.look()
  }

  /** The disk is another one. */
  lost(): void {
    this.isMarked = false
    this.compared = undefined
  }

  async stop(): Promise<void> {
    this.timer?.()
    await this.unmark()
  }

  private look(): boolean {
    const { compared, duties, routing, forest } = this
    if (!compared) return false
    const isDone = (home: NodeId) => home === routing.self || compared.has(home)
    const isOpen = duties
      .held()
      .some((partition) => forest.recordsIn(partition) > 0 && !routing.homesOf(partition).every(isDone))
    if (isOpen) return false
    this.compared = undefined
    this.unmarkSoon()
    return true
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
