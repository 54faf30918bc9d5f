/**
 * Coordinating one put or delete (§4.5). The tab where it starts coordinates: it has minted the dot, writes its own copy and sends the container to the N
 * highest reachable nodes of the preference list, all at once. A home keeps it as a replica; a tab that is no home keeps it in its hints,
 * which serve as its outbox, until every home has confirmed. A home that does not answer in time is joined by a
 * stand-in, which keeps the container with a hint (§4.6).
 *
 * Invariant: the disks of all `acks` have it when the outcome is told, this tab's too unless it refused; `met` says whether they are enough. What
 * somebody took and homes have not confirmed by the end is in somebody's hints. What a former home took that this tab takes for one, it hands over.
 */
import { type CancelTimer, type Clock, type Durability, isQuota } from '../environment.js'
import type { NodeId } from '../ids.js'
import type { Message, MessageOf } from '../messages.js'
import type { Peers } from '../peers.js'
import type { Entry, Replica } from '../replica/replica.js'
import type { Routing } from '../routing.js'
import type { Tuning } from '../tuning.js'
import { encodeContainer } from '../versions/encoding.js'
import { MAX_ATTEMPTS, patience } from './patience.js'
import type { UnderWay } from './under-way.js'

export interface PutOptions {
  w: number
  /** Only homes count, and fewer than w of them is a failure. */
  strictQuorum: boolean
  /** strict: the coordinator's own copy is flushed, or, where it is no home, one home's in the end; all: every copy; relaxed: none. */
  durability: 'strict' | 'relaxed' | 'all'
}

export interface PutOutcome {
  met: boolean
  sloppy: boolean
  answers: number
  needed: number
  /** Nodes whose disk holds it now. */
  acks: NodeId[]
  /** Homes for which a durable hint exists. */
  hintedFor: NodeId[]
  /** Somebody who was asked has said nothing, or has a failing disk: it may be there as well. */
  mayBeElsewhere: boolean
  /** Too many siblings: nobody keeps it. */
  refused: boolean
  /** Why this tab's own disk did not take it. */
  storageError: unknown
}

export interface PutContext {
  routing: Routing
  peers: Peers
  replica: Replica
  underWay: UnderWay
  clock: Clock
  tuning: Tuning
  /** Reports what failed after the put was answered. */
  onError: (error: unknown) => void
}

/**
 * @returns the outcome at the moment when it was decided, and a promise that resolves when
 * every home has answered or been given up, and the hints tell which.
 */
export function coordinatePut(
  entry: Entry,
  options: PutOptions,
  context: PutContext,
): { outcome: Promise<PutOutcome>; settled: Promise<void> } {
  const put = new Put(entry, options, context)
  return { outcome: put.run(), settled: put.settled }
}

/** What one member has just heard, all hear within some milliseconds, or seconds where frames get lost. */
const ASK_AGAIN_MS = 50
/** Of all homes together. */
const MAX_ASKED_AGAIN = 12

class Put {
  readonly settled: Promise<void>
  private markSettled: () => void = () => {}
  private readonly homes: readonly NodeId[]
  private readonly isHome: boolean
  private readonly acks = new Set<NodeId>()
  /** Nodes that have taken it and count themselves no home of the key: their view of who the members are may be newer than this tab's. */
  private readonly notHomes = new Set<NodeId>()
  /** Stand-ins that were asked, with the home they stand for. */
  private readonly standIns = new Map<NodeId, NodeId>()
  private readonly asked = new Set<NodeId>()
  private readonly hinted = new Set<NodeId>()
  /** Of these, the ones whose hint is this node's own. */
  private readonly hintedHere = new Set<NodeId>()
  /** Nodes that the write is on its way to. */
  private readonly awaited = new Set<NodeId>()
  private outstanding = 0
  private askedAgain = 0
  private localDone = false
  private storageError: unknown
  /** Some replica had too many siblings already. */
  private limited = false
  /** Nodes that were asked and said nothing, or whose disk failed: they may have taken it or not. */
  private readonly uncertain = new Set<NodeId>()
  private afterLimit: Promise<void> | undefined
  private resolve: ((outcome: PutOutcome) => void) | undefined
  private timers: CancelTimer[] = []

  constructor(
    private readonly entry: Entry,
    private readonly options: PutOptions,
    private readonly context: PutContext,
  ) {
    this.settled = new Promise((resolve) => {
      this.markSettled = resolve
    })
    this.homes = context.routing.homes(entry.key)
    this.isHome = this.homes.includes(context.routing.self)
  }

  run(): Promise<PutOutcome> {
    const { routing, clock, tuning } = this.context
    const decided = new Promise<PutOutcome>((resolve) => {
      this.resolve = resolve
    })
    this.context.replica.hints.putBegan(this.entry.key)
    const targets = routing.targets(this.entry.key)
    for (const { node, standsFor } of targets) {
      if (standsFor) this.standIns.set(node, standsFor)
      this.asked.add(node)
    }
    this.asked.add(routing.self)
    this.writeOwn()
    const bytes = encodeContainer(this.entry.container)
    for (const { node, standsFor } of targets) if (node !== routing.self) this.send(node, standsFor, bytes)
    this.escalateLater(bytes, 0)
    this.timers.push(
      clock.setTimer(tuning.requestTimeoutMs, () => {
        this.awaited.clear()
        void this.conclude()
      }),
    )
    return decided
  }

  /** Homes whose confirmation is not to be expected now: their hints are written together with the own copy. */
  private hintTargets(): NodeId[] {
    const { routing, tuning } = this.context
    if (!this.isHome) return [...this.homes]
    return tuning.hintedHandoff ? this.homes.filter((home) => !routing.isReachable(home)) : []
  }

  private writeOwn(): void {
    const { replica, routing, tuning, underWay } = this.context
    const durability: Durability = this.options.durability === 'relaxed' ? 'relaxed' : 'strict'
    const hintFor = this.hintTargets()
    const { maxSiblings } = tuning
    // Of a tab that is no home, its outbox tells.
    const meta = this.isHome ? underWay.mark : []
    this.outstanding++
    void replica
      .store([this.entry], { asRecord: this.isHome, hintFor, own: true, durability, maxSiblings, meta })
      .then(
        (refused) => {
          if (meta.length > 0) underWay.marked()
          if (refused.length > 0) {
            this.limited = true
            return
          }
          this.acks.add(routing.self)
          this.hintHere(hintFor)
        },
        (error) => {
          this.storageError = error
        },
      )
      .then(() => {
        this.localDone = true
        this.answered()
      })
  }

  private hintHere(homes: readonly NodeId[]): void {
    for (const home of homes) {
      this.hinted.add(home)
      this.hintedHere.add(home)
    }
  }

  private send(node: NodeId, standsFor: NodeId | undefined, bytes: Uint8Array): void {
    const { peers, tuning } = this.context
    const message: MessageOf<'Store'> = {
      type: 'Store',
      entries: [[this.entry.key, bytes]],
      hintFor: standsFor ? [standsFor] : [],
      strict: this.mustFlush(node),
      fresh: true,
    }
    this.outstanding++
    this.awaited.add(node)
    void peers.request(node, message, tuning.requestTimeoutMs).then((reply) => {
      this.awaited.delete(node)
      if (isCertain(reply)) this.uncertain.delete(node)
      else this.uncertain.add(node)
      if (reply?.type === 'Stored' && reply.refused.length === 0) {
        this.acks.add(node)
        if (standsFor) this.hinted.add(standsFor)
        if (reply.home !== false) this.notHomes.delete(node)
        else {
          this.notHomes.add(node)
          if (this.isMissed(node)) return this.askAgain(node, bytes)
        }
      } else if (reply?.type === 'Stored') this.limited = true
      else this.replace(node, bytes)
      this.answered()
    })
  }

  /** The outbox of a tab that is no home is a flushed copy for a while: it is given up only once a home has another one. */
  private mustFlush(node: NodeId): boolean {
    const { durability } = this.options
    return durability === 'all' || (durability === 'strict' && !this.isHome && node === this.homes[0])
  }

  /** A strict put needs it, and it may just not have heard yet that it is a home. */
  private isMissed(node: NodeId): boolean {
    const isHome = this.homes.includes(node) && this.context.routing.homes(this.entry.key).includes(node)
    return this.options.strictQuorum && this.resolve !== undefined && isHome && this.askedAgain < MAX_ASKED_AGAIN
  }

  /** Its answer counts as outstanding until then. */
  private askAgain(node: NodeId, bytes: Uint8Array): void {
    this.context.clock.setTimer(ASK_AGAIN_MS * 2 ** (this.askedAgain++ / this.homes.length), () => {
      if (!this.resolve) return this.answered()
      this.outstanding--
      this.send(node, undefined, bytes)
    })
  }

  /** The next reachable node of the preference list takes over from one that failed or is slow. False when there is none. */
  private replace(failed: NodeId, bytes: Uint8Array): boolean {
    const { routing, tuning } = this.context
    if (!this.resolve || !tuning.hintedHandoff) return false
    const home = this.standIns.get(failed) ?? failed
    if (this.acks.has(home)) return false
    const { self } = routing
    const mayStandIn = (node: NodeId) =>
      node === self ? !this.isHome && !this.standIns.has(self) : !this.asked.has(node) && routing.isReachable(node)
    const next = routing.preferenceList(this.entry.key).find(mayStandIn)
    if (!next) return false
    if (next === self) {
      // What is in this tab's outbox is as good as any stand-in's hint.
      this.standIns.set(self, home)
      return true
    }
    this.asked.add(next)
    // It may be a home that has come back since the put began: that one takes it as its own.
    const standsFor = this.homes.includes(next) ? undefined : home
    if (standsFor) this.standIns.set(next, standsFor)
    this.send(next, standsFor, bytes)
    return true
  }

  /** The quorum takes too long: stand-ins join in; where there are none, the same nodes are asked again, as the frame may be lost. */
  private escalate(bytes: Uint8Array, attempt: number): void {
    const { routing, peers } = this.context
    if (!this.resolve || this.afterLimit || this.answers() >= this.options.w) return
    for (const node of [...this.asked]) {
      if (node === routing.self || this.acks.has(node) || this.replace(node, bytes)) continue
      if (attempt < MAX_ATTEMPTS && routing.isReachable(node) && !peers.isMoving(node))
        this.send(node, this.standIns.get(node), bytes)
    }
    this.decideIfMet()
    if (attempt < MAX_ATTEMPTS) this.escalateLater(bytes, attempt)
  }

  private escalateLater(bytes: Uint8Array, attempt: number): void {
    const wait = patience(this.asked, this.context, attempt)
    this.timers.push(this.context.clock.setTimer(wait, () => this.escalate(bytes, attempt + 1)))
  }

  /** Homes as both see it, like those of a get: readers who know better do not ask a former one. */
  private homeAcks(): number {
    return this.homes.filter((home) => this.acks.has(home) && !this.notHomes.has(home)).length
  }

  private answers(): number {
    if (this.options.strictQuorum) return this.homeAcks()
    // A stand-in counts for its home, not besides it: its copy goes there and ends.
    const covered = new Set(this.homes.filter((home) => this.acks.has(home)))
    for (const [node, home] of this.standIns) if (this.acks.has(node)) covered.add(home)
    return covered.size
  }

  private decideIfMet(): void {
    if (this.localDone && this.answers() >= this.options.w) this.decide()
  }

  private answered(): void {
    this.outstanding--
    this.decideIfMet()
    if (this.outstanding > 0) return
    void this.conclude().then(() => this.finish())
  }

  private mayBeElsewhere(): boolean {
    return this.outstanding > 0 || this.uncertain.size > 0
  }

  /** Nothing more is waited for. Where the limit was met and nobody is known to have it, it is made certain whether it is there. */
  private async conclude(): Promise<void> {
    const { self } = this.context.routing
    const isTaken = [...this.acks].some((node) => this.isHome || node !== self)
    if (this.resolve && this.localDone && this.limited && !isTaken)
      this.afterLimit ??= this.mayBeElsewhere() ? this.keep() : this.withdraw()
    await this.afterLimit
    this.decide()
  }

  /** Somebody who does not answer, or whose disk failed, may have taken it: then it is a version like any other, and this tab has it too. */
  private async keep(): Promise<void> {
    const { replica, routing } = this.context
    if (this.acks.has(routing.self)) return
    const hintFor = this.homes.filter((home) => home !== routing.self)
    const durability = this.options.durability === 'relaxed' ? 'relaxed' : 'strict'
    try {
      await replica.store([this.entry], { asRecord: this.isHome, hintFor, own: true, durability, maxSiblings: 0 })
      this.acks.add(routing.self)
      this.hintHere(hintFor)
    } catch (error) {
      this.storageError = error
    }
  }

  /** All have refused it: it must not come about later through this tab's outbox, unless that cannot be without it any more. */
  private async withdraw(): Promise<void> {
    const { replica, routing, onError } = this.context
    if (!this.acks.has(routing.self)) return
    try {
      if (!(await replica.withdraw(this.entry))) return
    } catch (error) {
      onError(error)
      // A full disk has left it where it is. Of any other failure nobody knows whether it is gone.
      if (isQuota(error)) return
      this.storageError = error
    }
    this.acks.delete(routing.self)
    this.hinted.clear()
    this.hintedHere.clear()
  }

  private decide(): void {
    if (!this.resolve || !this.localDone) return
    for (const cancel of this.timers) cancel()
    const { routing } = this.context
    let answers = this.answers()
    const homes = this.homeAcks()
    const refused = this.limited && this.acks.size === 0 && this.storageError === undefined
    // Nobody else could be found: this tab, no home of the key and not in the list of stand-ins either, is the one place that holds it.
    if (answers === 0 && !this.options.strictQuorum && this.acks.has(routing.self)) answers = 1
    this.resolve({
      met: answers >= this.options.w,
      sloppy: homes < Math.min(answers, this.options.w),
      answers,
      needed: this.options.w,
      acks: [...this.acks],
      // Who may still confirm it gets it by this put, and only otherwise by a hint.
      hintedFor: this.homes.filter((home) => this.hinted.has(home) && !this.acks.has(home) && !this.awaited.has(home)),
      mayBeElsewhere: this.mayBeElsewhere(),
      refused,
      storageError: this.storageError,
    })
    this.resolve = undefined
  }

  /** Everybody answered or was given up: clear the outbox of what homes confirmed, and hint for those that did not. */
  private finish(): void {
    const { replica, routing, tuning, onError } = this.context
    const confirmed = this.homes.filter((home) => this.acks.has(home))
    // Also for homes whose stand-in has one: only of its own hints does this node know that they have arrived. And the homes of now are meant: those that
    // it has only since the placement changed meanwhile may have looked at what this node's disk had before it had this.
    const unhinted = routing
      .homes(this.entry.key)
      .filter((home) => home !== routing.self && !this.acks.has(home) && !this.hintedHere.has(home))
    const hintFor = tuning.hintedHandoff ? unhinted : []
    // As homes that refused what others took get it by a hint, this one takes it now.
    const asRecord = this.isHome && !this.acks.has(routing.self) && this.storageError === undefined
    const work: Promise<unknown>[] = []
    if (replica.hints.has(this.entry.key) && confirmed.length > 0)
      work.push(replica.hintDelivered([this.entry], confirmed))
    if ((hintFor.length > 0 || asRecord) && this.acks.size > 0) {
      const options = { asRecord, hintFor, own: true, durability: 'strict', maxSiblings: 0 } as const
      work.push(replica.store([this.entry], options))
    }
    // Until its hints are on the disk it is under way: whoever is asked in between would not know of it.
    const end = () => {
      replica.hints.putEnded(this.entry.key)
      this.markSettled()
    }
    Promise.all(work).then(end, (error) => {
      end()
      onError(error)
    })
  }
}

/** Whether it tells if the node has taken the write: what a failing disk did last, nobody knows. */
function isCertain(reply: Message | undefined): boolean {
  return reply?.type === 'Stored' || (reply?.type === 'Failed' && (reply.kind === 'quota' || reply.kind === 'leaving'))
}
