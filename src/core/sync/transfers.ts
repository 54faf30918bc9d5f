/**
 * Moving partitions on a change of the placement, in two phases (§4.9): holders offer what they hold and no longer own, new homes fetch it from
 * somebody who has it whole; the old home keeps serving its copy and lets go only when all N homes hold the very same (a leaver: those that are here).
 */
import type { Background } from '../background.js'
import { Emitter } from '../emitter.js'
import { type CancelTimer, type Clock, type Digest, isQuota } from '../environment.js'
import type { NodeId, Partition, StoreKey } from '../ids.js'
import { invariant } from '../invariant.js'
import type { Membership } from '../membership/membership.js'
import type { MessageOf } from '../messages.js'
import type { Peers } from '../peers.js'
import type { Duties } from '../replica/duties.js'
import { NOTHING, sameDigest, xor } from '../replica/merkle.js'
import type { Entry, Replica } from '../replica/replica.js'
import { replicationOf } from '../ring/partitions.js'
import type { Routing } from '../routing.js'
import type { Container } from '../versions/container.js'
import { type Exchange, type ExchangeResult, inParallel } from './exchange.js'

const ASK_TIMEOUT_MS = 5000
const RETRY_MS = 2000
/** Where only damaged records are missing: another home's good copy comes with sync, or somebody writes the key anew. */
const DAMAGED_RETRY_MS = 10_000
const GATHER_MS = 200
const SOURCES_AT_ONCE = 2
const RELEASED_AT_ONCE = 4
const PAGE_BYTES = 1_000_000
const NOTHING_CAME: ExchangeResult = { pulled: 0, pushed: 0, complete: false, damaged: new Set() }
/** A peer that said what it lacks is probably fetching that for this long. */
const FETCHING_MS = 5000
/** When it still says so, it is stuck; only after this long does it count as fetching anew. */
const STUCK_MS = 60_000

export interface TransferEvents {
  /** Partitions that this node has fetched, and how many it still lacks. */
  filled: { from: NodeId; partitions: number; containers: number; left: number }
  /** A partition whose copy here was given up, all its homes having it. */
  released: { partition: Partition }
  /** Nothing is to be fetched any more. */
  complete: undefined
}

/** One attempt of this node to leave for good, whose last steps may go on after it was given up. */
interface Leave {
  isGivenUp: () => boolean
}

/** Records as they were when others were asked whether they hold the same. */
type Page = { key: StoreKey; digest: Digest }[]

export class Transfers {
  readonly events = new Emitter<TransferEvents>()
  private running = false
  private again = false
  private timer: CancelTimer | undefined
  private stopped = false
  /** What is being fetched right now. */
  private readonly fetching = new Set<Partition>()
  /** All of these was fetched but what is damaged where it came from. */
  private readonly damaged = new Set<Partition>()
  /** What all heirs of a leaver hold and its full disk could not delete, by what it was: it counts as gone as long as nothing is added. */
  private readonly given = new Map<Partition, Digest>()
  private leavesGivenUp = 0
  /** What each peer has said that it lacks, and when it first did. */
  private readonly lackingAt = new Map<NodeId, Map<Partition, number>>()

  constructor(
    private readonly duties: Duties,
    private readonly exchange: Exchange,
    private readonly replica: Replica,
    private readonly routing: Routing,
    private readonly membership: Membership,
    private readonly peers: Peers,
    private readonly background: Background,
    private readonly clock: Clock,
    /** A member that is unreachable for this long is not waited for where the others know enough. */
    private readonly silentMs: number,
    /** Writes down which partitions this node has whole. @throws StorageFailure */
    private readonly noteDuties: () => Promise<void>,
    /** Told of the records that this node has given up as it is no home of them any more. */
    private readonly gaveUp: (records: Entry[]) => Promise<void>,
    private readonly onError: (error: unknown) => void,
  ) {
    peers.handle('AskComplete', ({ partitions }, from) => {
      const now = clock.now()
      const lacking = this.lackingAt.get(from) ?? new Map<Partition, number>()
      this.lackingAt.set(from, lacking)
      for (const partition of partitions) {
        if (!duties.isInUse(partition)) continue
        const since = lacking.get(partition)
        // One that is stuck is not to be kept from sync.
        if (since === undefined || now - since > STUCK_MS) lacking.set(partition, now)
      }
      const { distrusted } = duties
      return { type: 'Complete', partitions: partitions.filter((partition) => duties.isSource(partition)), distrusted }
    })
    peers.events.on('down', (node) => this.lackingAt.delete(node))
    // An offer for a partition that is being waited for is accepted by fetching it.
    peers.handle('OfferPartitions', ({ partitions }) => {
      if (partitions.some((partition) => !duties.isComplete(partition))) this.fillSoon()
      return undefined
    })
    peers.events.on('up', () => this.fillSoon())
  }

  stop(): void {
    this.stopped = true
    this.timer?.()
  }

  /** Members come in groups: what is to be fetched, and from whom, is clearer a moment after the first. */
  fillSoon(): void {
    if (this.stopped || this.running) return this.fill()
    this.timer?.()
    this.timer = this.clock.setTimer(GATHER_MS, () => this.fill())
  }

  /** Whether a transfer to this node or to the peer is probably moving the partition just now: nothing else need move it as well. */
  isMoving(peer: NodeId, partition: Partition): boolean {
    if (this.fetching.has(partition)) return true
    const since = this.lackingAt.get(peer)?.get(partition)
    return since !== undefined && this.clock.now() - since < FETCHING_MS
  }

  /** Starts fetching what is missing, or lets a running round go once more. */
  fill(): void {
    if (this.stopped) return
    if (this.running) {
      this.again = true
      return
    }
    if (this.duties.filling().length === 0) return
    this.running = true
    this.again = false
    this.timer?.()
    void this.fillOnce()
      .catch(this.onError)
      .then(() => {
        this.running = false
        const left = this.duties.filling()
        if (left.length === 0) {
          this.duties.lookedAtAll()
          this.events.emit('complete', undefined)
        }
        const retryMs = left.every((partition) => this.damaged.has(partition)) ? DAMAGED_RETRY_MS : RETRY_MS
        if (this.again) this.fill()
        else if (left.length > 0) this.timer = this.clock.setTimer(retryMs, () => this.fill())
      })
  }

  /** There is something to be fetched that is not damaged wherever it is. */
  get isLacking(): boolean {
    return this.duties.filling().some((partition) => !this.damaged.has(partition))
  }

  /** Tells the homes of partitions that this node holds without being one of them. */
  offer(): void {
    const byHome = new Map<NodeId, Partition[]>()
    for (const partition of this.strays()) {
      for (const home of this.routing.homesOf(partition)) byHome.set(home, [...(byHome.get(home) ?? []), partition])
    }
    for (const [home, partitions] of byHome)
      this.peers.notify(home, { type: 'OfferPartitions', partitions }, 'background')
  }

  /** Partitions on this disk for which this node has no duty, and which their homes may lack. */
  strays(): Partition[] {
    return this.replica.forest.held().filter((partition) => {
      if (this.duties.isOnDuty(partition)) return false
      const given = this.given.get(partition)
      return given === undefined || !sameDigest(given, this.replica.forest.root(partition))
    })
  }

  /** A leave was given up: what it left is this node's again. */
  takeBack(): void {
    this.leavesGivenUp++
    this.given.clear()
    this.fill()
  }

  /**
   * Gives up the copies of partitions that belong elsewhere, where every home is reachable and holds exactly the same.
   * @param leaving homes that have been away for a while are not waited for: those that stand in for them are asked instead.
   * @returns how many partitions stay, for the next time.
   */
  async releaseStrays(leaving = false): Promise<number> {
    let left = 0
    const { leavesGivenUp } = this
    const leave = leaving ? { isGivenUp: () => leavesGivenUp !== this.leavesGivenUp } : undefined
    // Each is some round trips, of which most are waiting; nobody waits for those of a node that stays.
    await inParallel(this.strays(), leaving ? RELEASED_AT_ONCE : 1, async (partition) => {
      await this.background.turn(leaving ? 'transfer' : 'scrub')
      if (leave?.isGivenUp()) return void left++
      const heirs = leaving ? this.presentHeirs(partition) : this.routing.homesOf(partition)
      if (!(await this.release(partition, heirs, leave))) left++
    })
    return left
  }

  /** As many as there are homes, of those that are here; none as long as an absent home may be back in a moment. */
  private presentHeirs(partition: Partition): readonly NodeId[] {
    const homes = this.routing.homesOf(partition)
    if (homes.some((home) => !this.routing.isReachable(home) && !this.isAway(home))) return []
    const present = this.routing.listOf(partition).filter((node) => this.routing.isReachable(node))
    return present.slice(0, homes.length)
  }

  /** Out of reach for so long that others stand in for it. */
  isAway(node: NodeId): boolean {
    return !this.routing.isReachable(node) && this.membership.silence(node) >= this.silentMs
  }

  private async release(partition: Partition, heirs: readonly NodeId[], leave: Leave | undefined): Promise<boolean> {
    const isHeir = heirs.length === 0 || heirs.includes(this.routing.self)
    if (isHeir || !heirs.every((heir) => this.routing.isReachable(heir))) return false
    try {
      const mustGive = leave && this.replica.pressure.refusesReplicas
      if (!(await (mustGive ? this.give(partition, heirs, leave) : this.move(partition, heirs, leave)))) return false
    } catch (error) {
      if (!leave || !isQuota(error)) throw error
      if (!(await this.give(partition, heirs, leave))) return false
    }
    this.events.emit('released', { partition })
    return true
  }

  private async move(partition: Partition, heirs: readonly NodeId[], leave: Leave | undefined): Promise<boolean> {
    for (const heir of heirs) {
      const { complete } = await this.exchange.with(heir, [partition], { kind: 'transfer', settle: false, give: true })
      if (!complete) return false
    }
    const root = this.replica.forest.root(partition)
    const pages = await this.listed(partition)
    // What the heirs are asked about is these records, and nothing that was written while they were listed.
    if (!sameDigest(root, sumOf(pages))) return false
    for (const heir of heirs) if ((await this.exchange.differing(heir, [partition], true))?.length !== 0) return false
    if (!this.isStill(partition, root)) return false
    return this.removeAll(partition, pages, leave)
  }

  /** A leaver's full disk takes neither what the heirs have besides, nor that something is gone: it is given to them, and goes with the whole database. */
  private async give(partition: Partition, heirs: readonly NodeId[], leave: Leave): Promise<boolean> {
    const root = this.replica.forest.root(partition)
    for (const heir of heirs) if (!(await this.exchange.giveAll(heir, partition))) return false
    if (leave.isGivenUp() || !this.isStill(partition, root)) return false
    this.duties.released(partition)
    this.given.set(partition, root)
    return true
  }

  private isStill(partition: Partition, root: Digest): boolean {
    return sameDigest(root, this.replica.forest.root(partition)) && !this.duties.isOnDuty(partition)
  }

  /** All records of a partition, in pages of so many as may be read at once. */
  private async listed(partition: Partition): Promise<Page[]> {
    const pages: Page[] = []
    let after: string | undefined
    do {
      const page = await this.replica.storage.scanPartition(partition, { after, maxBytes: PAGE_BYTES })
      pages.push(page.records.map(({ key, digest }) => ({ key, digest })))
      after = page.cursor
    } while (after !== undefined)
    return pages
  }

  /**
   * Removes what the heirs hold. Whoever believes that this is a home still may write meanwhile, and be told that it is stored: that stays, as a stray copy.
   * @returns whether nothing is left
   */
  private async removeAll(partition: Partition, pages: Page[], leave: Leave | undefined): Promise<boolean> {
    // Before the first is gone: nobody may fetch half of it for all there is, and after a crash this node must not take it for that itself.
    this.duties.released(partition)
    try {
      await this.noteDuties().catch((error) => {
        // What a full disk does not note, it may still remove; that makes room.
        if (!isQuota(error)) throw error
      })
      for (const page of pages) {
        if (this.duties.isOnDuty(partition) || leave?.isGivenUp()) return false
        const removed = new Map<StoreKey, Entry>()
        const to = (key: StoreKey) => (container: Container | undefined) => {
          if (container) removed.set(key, { key, container })
          return undefined
        }
        await this.replica.settle(page.map(({ key, digest }) => ({ key, digest, to: to(key) })))
        if (!leave) await this.gaveUp([...removed.values()])
      }
    } finally {
      if (this.duties.isOnDuty(partition)) this.fetchAgain(partition)
    }
    return this.replica.forest.recordsIn(partition) === 0
  }

  /** It became this node's duty while it was being removed: what was found to be here since may have been removed after that. */
  private fetchAgain(partition: Partition): void {
    this.duties.released(partition)
    this.fill()
  }

  private async fillOnce(): Promise<void> {
    const reachable = this.peers.reachable()
    const missing = this.duties.filling()
    const answers = await Promise.all(
      reachable.map(async (peer) => {
        const reply = await this.askComplete(peer, missing)
        return { peer, whole: reply && new Set(reply.partitions), distrusted: reply?.distrusted }
      }),
    )
    const answered = answers.filter(({ whole }) => whole).map(({ peer }) => peer)
    const distrusted = new Map(answers.map((answer) => [answer.peer, answer.distrusted]))
    const sources = new Map<Partition, NodeId[]>()
    missing.forEach((partition, i) => {
      const whole = answers.filter((answer) => answer.whole?.has(partition)).map((answer) => answer.peer)
      const homes = whole.filter((peer) => this.routing.homesOf(partition).includes(peer))
      // A present home has what was written since former ones were relieved. Of several of these, nobody can tell which was the last. One of them alone may
      // lack what the others have confirmed: most of them, and those who have confirmed a write with a quorum, have one in common. Former ones as well: of
      // present homes, one may have all that it has from another, and the former ones were out of its reach.
      const enough = majorityOf(this.routing.homesOf(partition).length)
      const formers = whole.filter((peer) => !homes.includes(peer))
      if (homes.length > 0) sources.set(partition, [...rotated(homes, i).slice(0, enough), ...formers])
      else if (whole.length > 0) sources.set(partition, whole)
      else if (this.isKnowable(partition, answered)) sources.set(partition, answered)
    })
    // All of them from now on: sync would bring what waits for its turn, and to this node from everybody.
    for (const partition of sources.keys()) this.fetching.add(partition)
    try {
      await this.fetch(sources, distrusted)
    } finally {
      this.fetching.clear()
    }
  }

  /** What the sources of each partition have together. The first one gives nearly all of it; what the next ones have besides is found by comparing. */
  private async fetch(
    sources: ReadonlyMap<Partition, NodeId[]>,
    distrusted: ReadonlyMap<NodeId, number | undefined>,
  ): Promise<void> {
    const fetched = this.begun([...sources.keys()])
    const damaged = new Set<Partition>()
    const rest = new Map(sources)
    const silent = new Set<NodeId>()
    // Where there is nobody to ask, there is no more than what is here.
    const alone = [...rest].flatMap(([partition, peers]) => (peers.length === 0 ? [partition] : []))
    fetched(alone, damaged)
    for (const partition of alone) {
      rest.delete(partition)
      this.fetching.delete(partition)
    }
    for (let turn = 0; rest.size > 0; turn++) {
      const groups = this.groupsOf(rest, turn)
      await inParallel(groups, SOURCES_AT_ONCE, async ({ peer, give, partitions }) => {
        // Whoever fell silent is not waited for once more.
        const result = silent.has(peer)
          ? NOTHING_CAME
          : await this.fetchFrom(peer, partitions, give, distrusted.get(peer))
        if (!result.complete) silent.add(peer)
        for (const partition of result.damaged) damaged.add(partition)
        const ended = partitions.filter((one) => !result.complete || rest.get(one)?.length === turn + 1)
        for (const partition of ended) {
          rest.delete(partition)
          this.fetching.delete(partition)
        }
        if (!result.complete) return
        const filled = fetched(ended, damaged)
        const left = this.duties.filling().length
        if (filled + result.pulled > 0)
          this.events.emit('filled', { from: peer, partitions: filled, containers: result.pulled, left })
      })
    }
  }

  private async askComplete(peer: NodeId, partitions: Partition[]): Promise<MessageOf<'Complete'> | undefined> {
    const reply = await this.peers.request(peer, { type: 'AskComplete', partitions }, ASK_TIMEOUT_MS, 'background')
    return reply?.type === 'Complete' ? reply : undefined
  }

  /** A source that loses its disk in the midst goes on to answer, with the little that it has then. */
  private async fetchFrom(peer: NodeId, partitions: Partition[], give: boolean, distrusted: number | undefined) {
    const result = await this.exchange.with(peer, partitions, { kind: 'transfer', settle: false, give })
    if (!result.complete || partitions.every((partition) => result.damaged.has(partition))) return result
    const reply = await this.askComplete(peer, [])
    return { ...result, complete: reply !== undefined && reply.distrusted === distrusted }
  }

  /** Whom to ask for what when each partition's source of that turn is asked: one exchange with a peer is about all that it is a source of. */
  private groupsOf(sources: ReadonlyMap<Partition, NodeId[]>, turn: number) {
    const groups = new Map<string, { peer: NodeId; give: boolean; partitions: Partition[] }>()
    for (const [partition, peers] of sources) {
      const peer = peers[turn] as NodeId
      // Where there are several, each of the homes fetches for itself: else who joins would bring it to everybody.
      const give = peers.length === 1 || (turn === 0 && this.routing.homesOf(partition).includes(peer))
      const group = groups.get(`${peer} ${give}`) ?? { peer, give, partitions: [] }
      group.partitions.push(partition)
      groups.set(`${peer} ${give}`, group)
    }
    return [...groups.values()]
  }

  /**
   * @returns a function to call when some of them were fetched. Those that were this node's duty all the time are complete, but for partitions with a
   * damaged record at a source: these go on being 'filling', for else their "not found" would be a vote on that key. They are whole
   * once the trees are equal, because somebody had a good copy or the key was written anew.
   */
  private begun(partitions: Partition[]): (fetched: Partition[], damaged: ReadonlySet<Partition>) => number {
    const generations = new Map(partitions.map((partition) => [partition, this.duties.generationOf(partition)]))
    return (fetched, damaged) => {
      const filled = fetched.filter((partition) => !damaged.has(partition))
      for (const partition of filled) {
        this.damaged.delete(partition)
        this.duties.markComplete(partition, generations.get(partition) as number)
      }
      for (const partition of fetched) if (damaged.has(partition)) this.damaged.add(partition)
      return filled.length
    }
  }

  /**
   * Whether the members that answer have, together, all that met its quorum, where nobody has the partition whole (a ring that was founded by several at
   * once): one is away at most, of two that acknowledge such a write at least, and has been silent for a while. A founder that is closed before it has
   * shared what it holds must not keep the others waiting.
   */
  private isKnowable(partition: Partition, answered: readonly NodeId[]): boolean {
    const isAway = (node: NodeId) => node !== this.routing.self && !answered.includes(node)
    const [away, ...more] = this.membership.placed().filter(isAway)
    if (away === undefined) return true
    const n = replicationOf(partition, this.routing.partitions)
    invariant(n !== undefined, 'a partition belongs to a replication class')
    if (more.length > 0 || n === 1) return false
    // What it had before they met, nobody else need have; and of what this node acknowledged itself, it may have lost some.
    return this.peers.beganEmpty(away) && !this.duties.isDistrusted && this.membership.silence(away) >= this.silentMs
  }
}

function majorityOf(homes: number): number {
  return Math.floor(homes / 2) + 1
}

/** The first gives most of it: each its part. */
function rotated<T>(items: T[], by: number): T[] {
  const at = by % items.length
  return [...items.slice(at), ...items.slice(0, at)]
}

function sumOf(pages: Page[]): Digest {
  return pages.flat().reduce((sum, { digest }) => xor(sum, digest), NOTHING)
}
