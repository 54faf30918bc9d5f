/**
 * Who belongs to the ring, and the placement that follows from it. Joining is explicit (opening a store), leaving as well; being closed or
 * unreachable for `replaceAfterMs` makes a member a sleeper. All records are persisted, sleepers and left ones too, so that
 * a restarted subset still knows the whole ring (P33). Who has left is remembered until nobody can still take it for a member.
 *
 * Invariant: the placement is a pure function of the records in state 'up', hence equal wherever the records are.
 */
import { Emitter } from '../emitter.js'
import type { Clock } from '../environment.js'
import type { NodeId, ReplicationFactor } from '../ids.js'
import { incarnations, members } from '../messages.js'
import { restored } from '../meta.js'
import { type Placement, placement } from '../ring/placement.js'
import { encodeMessagePack } from '../versions/messagepack.js'
import { type MemberRecord, hashRecords, newerRecord, sameRecord } from './records.js'

/**
 * More of those who left are not remembered, the latest of them. An older one could at worst be told of again by a sleeper that has
 * not heard; it would be placed, not answer, and sleep as well.
 */
const MAX_LEFT = 1000
/**
 * No node gets so far ahead of what others know of it, adopted a thousand times or not. Who believed it could be told the greatest incarnation that there
 * is, and no refutation lies above that.
 */
const MAX_AHEAD = 2 ** 30

export interface MembershipEvents {
  /** Some record changed; persist and show it. */
  changed: MemberRecord[]
  /** The placement changed: by members that came or went, or by their capacity. */
  placement: { joined: NodeId[] }
  /** Others had put this node to sleep, or taken it for one that leaves: it was replaced meanwhile. */
  replaced: undefined
}

export class Membership {
  readonly events = new Emitter<MembershipEvents>()
  private readonly records = new Map<NodeId, MemberRecord>()
  /** When there was last any sign of life, direct or told by gossip, on this node's clock. */
  private readonly evidence = new Map<NodeId, number>()
  /** When this node first heard of a member: the start of its patience with one that it never met. */
  private readonly knownSince = new Map<NodeId, number>()
  /** Since when this node knows that they have left, the first first. */
  private readonly leftSince = new Map<NodeId, number>()
  /** The incarnation in which a member that is back was last known as asleep, leaving or left. */
  private readonly cameBackFrom = new Map<NodeId, number>()
  /** In which incarnation each teller has told this node that it was replaced: one may know of a later absence than another, or have more to give. */
  private readonly heard = new Map<NodeId, number>()
  /** This node has known of another one, if only of one that has left and is forgotten by now. */
  hasMet = false
  private placements = new Map<ReplicationFactor, Placement>()
  private cachedHash: Uint8Array | undefined

  constructor(
    private own: MemberRecord,
    private readonly clock: Clock,
    private readonly partitions: number,
  ) {
    this.records.set(own.node, own)
  }

  get self(): MemberRecord {
    return this.own
  }

  /**
   * Takes up what an earlier life of this node knew.
   * @param heard which replacements of this node that one had heard of
   * @param met there if it had met anybody
   */
  restore(stored: Uint8Array | undefined, heard?: Uint8Array, met?: Uint8Array): void {
    this.hasMet = met !== undefined
    for (const [teller, incarnation] of restored(heard, incarnations) ?? []) this.heard.set(teller, incarnation)
    const known = restored(stored, members) ?? []
    this.merge(known)
    // With another capacity it is a home of other partitions than it was: of some it may have an old copy, not handed over yet.
    const former = known.find(({ node }) => node === this.own.node)
    if (former && former.capacity !== this.own.capacity) this.events.emit('replaced', undefined)
  }

  encoded(): Uint8Array {
    return encodeMessagePack([...this.records.values()])
  }

  encodedHeard(): Uint8Array {
    return encodeMessagePack([...this.heard])
  }

  all(): MemberRecord[] {
    return [...this.records.values()]
  }

  get(node: NodeId): MemberRecord | undefined {
    return this.records.get(node)
  }

  /** Members that take part in the placement, this node included unless it leaves. */
  placed(): NodeId[] {
    return this.up().map((record) => record.node)
  }

  private up(): MemberRecord[] {
    return this.all().filter((record) => record.state === 'up')
  }

  /** It has left, or is about to: it takes nothing any more. */
  isLeaving(node: NodeId): boolean {
    const state = this.records.get(node)?.state
    return state === 'leaving' || state === 'left'
  }

  hash(): Uint8Array {
    this.cachedHash ??= hashRecords(this.records.values())
    return this.cachedHash
  }

  placementFor(n: ReplicationFactor): Placement {
    let found = this.placements.get(n)
    if (!found) {
      found = placement(this.up(), this.partitions, n)
      this.placements.set(n, found)
    }
    return found
  }

  /**
   * Merges records from gossip. Says so when others are wrong about this node (§4.8.1; refutation: SWIM).
   * @param from who tells: of itself, it is believed however far its incarnation is from what others have told.
   */
  absorb(incoming: MemberRecord[], from?: NodeId): boolean {
    const isCredible = ({ node, incarnation }: MemberRecord) =>
      node === from || incarnation <= (this.records.get(node)?.incarnation ?? incarnation) + MAX_AHEAD
    return this.merge(incoming.filter(isCredible), from)
  }

  private merge(incoming: MemberRecord[], from?: NodeId): boolean {
    const before = this.weights()
    const changed: MemberRecord[] = []
    let replaced: number | undefined
    for (const record of incoming) {
      if (record.node === this.own.node) {
        if (newerRecord(record, this.own) === record && !sameRecord(record, this.own)) {
          this.own = { ...this.own, incarnation: record.incarnation + 1 }
          this.records.set(this.own.node, this.own)
          changed.push(this.own)
          if (record.state !== 'up') replaced = record.incarnation
        }
        continue
      }
      const known = this.records.get(record.node)
      const isOverstated = record.node === from && known && known.incarnation > record.incarnation + MAX_AHEAD
      const winner = known && !isOverstated ? newerRecord(known, record) : record
      if (known && sameRecord(known, winner)) continue
      this.records.set(record.node, winner)
      if (known && known.state !== 'up' && winner.state === 'up') this.cameBackFrom.set(record.node, known.incarnation)
      this.leftSince.delete(record.node)
      if (winner.state === 'left') this.leftSince.set(record.node, this.clock.now())
      if (known?.state !== 'up') this.knownSince.set(record.node, this.clock.now())
      changed.push(winner)
    }
    this.hasMet ||= this.records.size > 1
    if (changed.length > 0) this.settle(before, changed)
    if (replaced !== undefined) {
      if (from) this.heard.set(from, replaced)
      this.events.emit('replaced', undefined)
    }
    return changed.length > 0
  }

  /** In which incarnation that member was last known as one that takes no part, if it ever was. */
  replacedAs(node: NodeId): number | undefined {
    const record = this.records.get(node)
    return record && record.state !== 'up' ? record.incarnation : this.cameBackFrom.get(node)
  }

  /**
   * Others have known this node so in that incarnation. Its restart may have overridden their records before they came here; they remember as long as they
   * live, and say so whenever they greet it: whether it has noted that once is for itself to know, as its disk may have refused.
   */
  wasReplacedAs(incarnation: number, teller: NodeId): void {
    // Of its present incarnation and later ones gossip tells, and the refutation is the answer.
    const known = Math.max(this.heard.get(teller) ?? 0, this.heard.get(this.own.node) ?? 0)
    if (incarnation >= this.own.incarnation || incarnation <= known) return
    this.heard.set(teller, incarnation)
    this.events.emit('replaced', undefined)
  }

  /** Changes this node's own record: leaving, a new name. */
  declare(change: Partial<Pick<MemberRecord, 'state' | 'capacity' | 'name'>>): void {
    const before = this.weights()
    // That it left, or was about to, it need not be told by anybody.
    if (this.own.state !== 'up') this.heard.set(this.own.node, this.own.incarnation)
    this.own = { ...this.own, ...change, incarnation: this.own.incarnation + 1 }
    this.records.set(this.own.node, this.own)
    this.settle(before, [this.own])
  }

  /** There was a sign of life `agoMs` ago. */
  saw(node: NodeId, agoMs = 0): void {
    const at = this.clock.now() - agoMs
    if (at > (this.evidence.get(node) ?? Number.NEGATIVE_INFINITY)) this.evidence.set(node, at)
  }

  /** Milliseconds since the last sign of life; -1 when there never was one. Hearsay about a record is no sign of life. */
  evidenceAge(node: NodeId): number {
    if (node === this.own.node) return 0
    const at = this.evidence.get(node)
    return at === undefined ? -1 : Math.round(this.clock.now() - at)
  }

  /** For how long this node has had no reason to believe in that member, in milliseconds. */
  silence(node: NodeId): number {
    if (node === this.own.node) return 0
    return this.clock.now() - Math.max(this.evidence.get(node) ?? 0, this.knownSince.get(node) ?? 0)
  }

  /** Counts everybody's silence from now. */
  startListening(): void {
    for (const node of this.records.keys()) this.knownSince.set(node, this.clock.now())
  }

  /** Forgets who left longer than `afterMs` ago. Only when all members are here and know it: a sleeper may still take it for a member. */
  forgetLeft(afterMs: number): void {
    const now = this.clock.now()
    let surplus = this.leftSince.size - MAX_LEFT
    const forgotten = [...this.leftSince].filter(([, since]) => surplus-- > 0 || now - since >= afterMs)
    if (forgotten.length === 0) return
    for (const [node] of forgotten)
      for (const known of [this.records, this.evidence, this.knownSince, this.leftSince, this.cameBackFrom, this.heard])
        known.delete(node)
    // Nothing but what is kept on disk follows from it.
    this.events.emit('changed', [])
  }

  /** Puts those to sleep who have been silent for longer than `afterMs`. They keep their data and come back by refuting. */
  sleepSilent(afterMs: number): void {
    const before = this.weights()
    const changed: MemberRecord[] = []
    for (const record of this.all()) {
      if (record.node === this.own.node || record.state !== 'up' || this.silence(record.node) < afterMs) continue
      const asleep: MemberRecord = { ...record, state: 'asleep' }
      this.records.set(record.node, asleep)
      changed.push(asleep)
    }
    if (changed.length > 0) this.settle(before, changed)
  }

  /** What the placement depends on: who is in it, on which device, with how much capacity. */
  private weights(): Map<NodeId, string> {
    return new Map(this.up().map(({ node, device, capacity }) => [node, `${device} ${capacity}`]))
  }

  private settle(before: Map<NodeId, string>, changed: MemberRecord[]): void {
    this.cachedHash = undefined
    this.placements = new Map()
    const after = this.weights()
    const joined = [...after.keys()].filter((node) => !before.has(node))
    const isLess = [...before.keys()].some((node) => !after.has(node))
    const reweighted = [...after].some(([node, weight]) => before.get(node) !== weight)
    this.events.emit('changed', changed)
    if (isLess || reweighted) this.events.emit('placement', { joined })
  }
}
