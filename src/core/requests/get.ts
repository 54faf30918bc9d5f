/**
 * Coordinating one get (§4.5): one full answer from the nearest home, digests from the others, an answer at R votes, all
 * causally unrelated versions merged. Stragglers feed read repair (§5; read-repair.ts).
 *
 * Who may vote: a home, or a stand-in on duty, that has the whole partition, whatever it says; any other node only with data in hand. A fresh home or an empty
 * stand-in must not outvote the data by saying "not found" (P16).
 */
import type { CancelTimer, Digest } from '../environment.js'
import type { NodeId, StoreKey } from '../ids.js'
import { type Container, EMPTY_CONTAINER, dominates, mergeContainers } from '../versions/container.js'
import { isEmpty } from '../versions/context.js'
import { type Answer, askFor, digestIfAny } from './answer.js'
import type { Copies } from './copies.js'
import { MAX_ATTEMPTS, patience } from './patience.js'
import { type RepairContext, repairHomes } from './read-repair.js'

export interface GetOptions {
  r: number
  strictQuorum: boolean
}

export interface GetOutcome {
  container: Container
  met: boolean
  sloppy: boolean
  answers: number
  needed: number
  /** Something in the answer is known only from copies on this device: too few answered, or none can but this node. */
  cached: boolean
  /** It may hold a write of this tab that is still to be decided, and may be refused. */
  undecided: boolean
}

export interface GetContext extends RepairContext {
  copies: Copies
  /** Whether this node, as a home, has all data of the key's partition. */
  isComplete: (key: StoreKey) => boolean
  onError: (error: unknown) => void
}

/** @throws StorageFailure, or MalformedError for a damaged record, only when this tab's disk failed and no other node answered. */
export function coordinateGet(key: StoreKey, options: GetOptions, context: GetContext): Promise<GetOutcome> {
  return new Get(key, options, context).run()
}

class Get {
  private readonly homes: readonly NodeId[]
  /** Of nodes, where enough have voted: the homes, as many former ones, and who leaves. */
  private readonly maxAsked: number
  private readonly answers = new Map<NodeId, Answer>()
  /** Answers that have come. */
  private arrived = 0
  private readonly asked = new Set<NodeId>()
  private outstanding = 0
  private fullAsked = false
  /** Asked for a value, not only for a digest, and not answered yet. */
  private fullsOutstanding = 0
  /** The wait for the nearest home has been long enough: any way to the value will do. */
  private hurried = false
  private deciding = false
  private expired = false
  private repairing = false
  /** This tab's outbox was read with a write in it that may still be refused: a repair must not spread it. */
  private undecided = false
  private merged: Container = EMPTY_CONTAINER
  private copyAsked = false
  private cached = false
  private storageError: unknown
  private resolve: ((outcome: GetOutcome) => void) | undefined
  private reject: ((error: unknown) => void) | undefined
  private timers: CancelTimer[] = []

  constructor(
    private readonly key: StoreKey,
    private readonly options: GetOptions,
    private readonly context: GetContext,
  ) {
    this.homes = context.routing.homes(key)
    this.maxAsked = 2 * this.homes.length + context.routing.leavers().length
  }

  run(): Promise<GetOutcome> {
    const { routing, clock, tuning } = this.context
    const decided = new Promise<GetOutcome>((resolve, reject) => {
      this.resolve = resolve
      this.reject = reject
    })
    const targets = routing.targets(this.key).map((target) => target.node)
    // Nearest first: the first asked sends the value, the others only their digest.
    targets.sort((a, b) => routing.distance(a) - routing.distance(b))
    const homesFirst = [
      ...targets.filter((node) => this.homes.includes(node)),
      ...targets.filter((node) => !this.homes.includes(node)),
    ]
    this.asked.add(routing.self)
    this.askSelf()
    for (const node of homesFirst) if (node !== routing.self) this.ask(node, !this.fullAsked)
    this.hedgeLater(0)
    this.timers.push(
      clock.setTimer(tuning.requestTimeoutMs, () => {
        this.expired = true
        void this.consider()
      }),
    )
    return decided
  }

  /** This tab's own disk: a vote if it is a home, and in any case the writes it has not delivered yet. */
  private askSelf(): void {
    const { replica, routing, isComplete } = this.context
    const complete = isComplete(this.key)
    if (this.homes.includes(routing.self) && complete) this.fullAsked = true
    this.outstanding++
    this.undecided = replica.hints.isUnderWay(this.key)
    const read = replica.certainlyAbsent(this.key) ? Promise.resolve([EMPTY_CONTAINER]) : replica.read([this.key])
    // Each counts as arrived at once: a decision between the two would count its vote and not what it says.
    void read.then(
      ([container = EMPTY_CONTAINER]) => {
        this.undecided ||= replica.hints.isUnderWay(this.key)
        this.answers.set(routing.self, {
          digest: digestIfAny(this.key, container),
          container,
          complete: complete && isComplete(this.key),
          home: true,
        })
        this.answered()
      },
      (error) => {
        this.storageError = error
        this.answered()
      },
    )
  }

  private ask(node: NodeId, full: boolean): void {
    if (full) {
      this.fullAsked = true
      this.fullsOutstanding++
    }
    this.asked.add(node)
    this.outstanding++
    void this.requestFrom(node, full).then((answer) => {
      if (full) this.fullsOutstanding--
      if (answer) this.answers.set(node, answer)
      else this.askNext()
      this.answered()
    })
  }

  private requestFrom(node: NodeId, full: boolean): Promise<Answer | undefined> {
    const { peers, tuning } = this.context
    return askFor(this.key, node, full, peers, tuning)
  }

  /** The next reachable node of the preference list: a former home, or a stand-in that may hold hints. Before these, who is just leaving. */
  private askNext(): boolean {
    const { routing } = this.context
    if (!this.resolve) return false
    // These first: they may be the only ones who have something still.
    const candidates = [...routing.leavers(), ...routing.preferenceList(this.key)]
    const next = candidates.find((node) => !this.asked.has(node) && routing.isReachable(node))
    if (next) this.ask(next, true)
    return next !== undefined
  }

  /** A reply is slower than this peer's usual ones: do not wait for it alone. */
  private hedge(attempt: number): void {
    if (!this.resolve) return
    this.hurried = true
    if (!this.isCertain()) {
      const { routing, peers } = this.context
      for (const node of [...this.asked]) {
        if (node === routing.self || this.answers.has(node) || peers.isMoving(node) || this.askNext()) continue
        // Nobody else is left: the same again, as the frame may be lost.
        if (attempt < MAX_ATTEMPTS && routing.isReachable(node)) this.ask(node, true)
      }
      if (attempt < MAX_ATTEMPTS) this.hedgeLater(attempt)
    }
    void this.consider()
  }

  private hedgeLater(attempt: number): void {
    const wait = patience(this.asked, this.context, attempt)
    this.timers.push(this.context.clock.setTimer(wait, () => this.hedge(attempt + 1)))
  }

  private votes(): NodeId[] {
    return [...this.answers].filter(([node, answer]) => this.mayVote(node, answer)).map(([node]) => node)
  }

  private mayVote(node: NodeId, answer: Answer): boolean {
    if (this.options.strictQuorum && !this.isHome(node, answer)) return false
    // This tab, when it is no home, only adds its undelivered writes to what others say.
    if (node === this.context.routing.self && !this.homes.includes(node) && this.asked.size > 1) return false
    return answer.complete || answer.digest !== undefined
  }

  /** As both see it: while the placement changes, a former home may be taken for one, and lack what was written since. */
  private isHome(node: NodeId, { home }: Answer): boolean {
    return home && this.homes.includes(node)
  }

  /** Whether enough have voted without homes that still wait for their data: what these have may be from the last time that they were homes. */
  private isCertain(): boolean {
    const certain = this.votes().filter((node) => this.answers.get(node)?.complete || !this.homes.includes(node))
    return certain.length >= this.options.r
  }

  private answered(): void {
    this.arrived++
    this.outstanding--
    // A home that still waits for its data cannot say no: whoever had the partition before is further down the list.
    // Where enough others have voted all the same, only so many are asked in vain as there can be former homes.
    const isWorthIt = this.votes().length < this.options.r || this.asked.size < this.maxAsked
    if (this.resolve && this.outstanding === 0 && !this.isCertain() && isWorthIt) this.askNext()
    void this.consider()
  }

  /** Enough votes, with a value among them or none to be expected soon; or nothing more will come. */
  private mayDecide(): boolean {
    if (this.expired || this.outstanding === 0) return true
    // Homes that wait for their data are enough only where nobody else answers, however long that takes.
    if (!this.isCertain()) return false
    return this.hurried || this.fullsOutstanding === 0 || [...this.answers.values()].some(({ container }) => container)
  }

  private async consider(): Promise<void> {
    if (this.deciding) return
    this.deciding = true
    try {
      while (this.resolve && this.mayDecide()) {
        const known = this.arrived
        const isAllKnown = await this.fetchMissing()
        if (this.mayDecide() && (this.lacksQuorum() || this.isAloneWithNothing())) await this.addCopy()
        // What has come meanwhile would be a vote without being part of the answer.
        if (known !== this.arrived || !isAllKnown) continue
        if (!this.mayDecide()) break
        this.decide()
      }
    } catch (error) {
      this.reject?.(error)
      this.resolve = undefined
      this.context.onError(error)
    } finally {
      this.deciding = false
    }
    await this.repairLater()
  }

  /** Digests that differ from what is known so far stand for versions to fetch. @returns whether all that was answered is known now */
  private async fetchMissing(): Promise<boolean> {
    const unknown = this.unknown()
    await Promise.all([...unknown.values()].map((said) => this.fetch(said)))
    return unknown.size === 0 || this.unknown().size === 0
  }

  /**
   * Resolves when one of those that say the same has sent it, or none of them does. One is enough, and the next one is asked, or the same again, when
   * that takes longer than usual: the frame may be lost. Without time to find out, all are asked at once.
   */
  private fetch(said: readonly [NodeId, Answer][]): Promise<void> {
    const { clock, peers } = this.context
    return new Promise((resolve) => {
      let [asked, open, over] = [0, 0, false]
      let cancel: CancelTimer = () => {}
      const ask = () => {
        const [node, answer] = said[asked++ % said.length] as [NodeId, Answer]
        open++
        void this.requestFrom(node, true).then((full) => {
          open--
          // All that it says now: one that has lost its disk meanwhile does not know any more what there is.
          if (full?.container) Object.assign(answer, full)
          else if (over || open > 0) return
          else if (asked < said.length) return ask()
          else for (const [silent, lacking] of said) this.giveUp(silent, lacking)
          over = true
          cancel()
          resolve()
        })
      }
      const askAgain = (attempt: number) => {
        cancel = clock.setTimer(patience(this.asked, this.context, attempt), () => {
          if (!said.some(([node]) => peers.isMoving(node))) ask()
          if (attempt + 1 < MAX_ATTEMPTS) askAgain(attempt + 1)
        })
      }
      for (let i = this.expired ? said.length : 1; i > 0; i--) ask()
      askAgain(0)
    })
  }

  /** What cannot be had is no vote. */
  private giveUp(node: NodeId, answer: Answer): void {
    if (this.answers.get(node) === answer) this.answers.delete(node)
    this.askNext()
  }

  /** Merges what has come, and finds the answers that say more, by their digests. */
  private unknown(): Map<string, [NodeId, Answer][]> {
    const known = new Set<string>()
    for (const { container, digest } of this.answers.values()) {
      if (!container) continue
      this.merged = mergeContainers(this.merged, container)
      known.add(nameOf(digest))
    }
    known.add(nameOf(digestIfAny(this.key, this.merged)))
    const unknown = new Map<string, [NodeId, Answer][]>()
    for (const [node, answer] of this.answers) {
      const name = nameOf(answer.digest)
      if (answer.digest && !answer.container && !known.has(name))
        unknown.set(name, [...(unknown.get(name) ?? []), [node, answer]])
    }
    return unknown
  }

  private lacksQuorum(): boolean {
    return !this.options.strictQuorum && this.votes().length < this.options.r
  }

  /** A node that is on its own has all that there is, it believes; a closed tab of this device, which it has never met, may have more. */
  private isAloneWithNothing(): boolean {
    return !this.options.strictQuorum && isEmpty(this.merged.context) && this.context.peers.reachable().length === 0
  }

  /** Too few have a say: what passed through here before, and what closed tabs have left on this device, is better than nothing. */
  private async addCopy(): Promise<void> {
    const { copies, routing, onError } = this.context
    if (this.copyAsked) return
    this.copyAsked = true
    try {
      const copy = await copies.find(routing.addressOf(this.key))
      // What a closed tab has left moves to this disk: not here yet when this was asked for it, it may not have been there any more.
      this.merged = mergeContainers(this.merged, await this.readAgain())
      this.cached = !dominates(this.merged, copy)
      this.merged = mergeContainers(this.merged, copy)
    } catch (error) {
      onError(error)
    }
  }

  /** A failure of the own disk is told where it was first asked. */
  private async readAgain(): Promise<Container> {
    const { replica } = this.context
    if (replica.certainlyAbsent(this.key)) return EMPTY_CONTAINER
    const [own = EMPTY_CONTAINER] = await replica.read([this.key]).catch(() => [])
    this.undecided ||= replica.hints.isUnderWay(this.key)
    return own
  }

  private decide(): void {
    if (!this.resolve) return
    for (const cancel of this.timers) cancel()
    const voters = this.votes()
    const homes = voters.filter((node) => this.isHome(node, this.answers.get(node) as Answer)).length
    const { r } = this.options
    if (this.answers.size === 0 && this.storageError !== undefined && !this.cached) this.reject?.(this.storageError)
    else {
      this.resolve({
        container: this.merged,
        met: voters.length >= r,
        sloppy: homes < Math.min(voters.length, r),
        answers: voters.length,
        needed: r,
        cached: this.cached,
        undecided: this.undecided,
      })
    }
    this.resolve = undefined
  }

  /** After the answer, when the last straggler has come or is given up. */
  private async repairLater(): Promise<void> {
    const { tuning, onError } = this.context
    if (!tuning.readRepair || this.undecided || this.resolve || this.repairing || this.outstanding > 0) return
    this.repairing = true
    try {
      await this.fetchMissing()
      const homes = new Map([...this.answers].filter(([node]) => this.homes.includes(node)))
      await repairHomes(this.key, this.merged, homes, this.context)
    } catch (error) {
      onError(error)
    }
  }
}

function nameOf(digest: Digest | undefined): string {
  return digest ? `${digest.high} ${digest.low}` : ''
}
