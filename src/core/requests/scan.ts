/**
 * Scanning keys in order over the whole ring. Every reachable member yields sorted pages of what it holds; the coordinator merges
 * the streams. A key on which the answering homes disagree is read with a quorum, so that neither a deleted nor a
 * stale version slips through. What could not be covered is said (P40), never passed over.
 */
import { type KeyRange, StorageFailure } from '../environment.js'
import type { NodeId, Partition, StoreKey } from '../ids.js'
import type { MessageOf } from '../messages.js'
import type { Peers } from '../peers.js'
import type { Forgettings } from '../replica/forgettings.js'
import { sameDigest } from '../replica/merkle.js'
import type { Replica } from '../replica/replica.js'
import type { Routing } from '../routing.js'
import type { Tuning } from '../tuning.js'
import { type Container, mergeContainers } from '../versions/container.js'
import { isEmpty } from '../versions/context.js'
import { MalformedError, decodeContainer, digestOf, ifPossible } from '../versions/encoding.js'
import type { Copies } from './copies.js'
import type { GetOutcome } from './get.js'
import { scanHere } from './serve.js'

export type ScanRange = Omit<KeyRange, 'limit'>

export interface ScanContext {
  routing: Routing
  peers: Peers
  replica: Replica
  tuning: Tuning
  /** Those of which this node may lack data. */
  lacking: () => Partition[]
  /** All partitions of the replication class that the range lies in. */
  partitions: Partition[]
  get: (key: StoreKey) => Promise<GetOutcome>
  /** How many of them a get asks for. */
  answers: number
  copies: Copies
  forgettings: Forgettings
  /** Is told what all homes that answer agree on. */
  seen: (key: StoreKey, container: Container) => void
  onError: (error: unknown) => void
}

export interface ScanEntry {
  key: StoreKey
  container: Container
  /** How it was decided: by the homes that answer, where all of these agree, else by a read. */
  outcome: Pick<GetOutcome, 'met' | 'sloppy' | 'answers' | 'needed' | 'cached'>
}

const PAGE = 200
/** Keys that are looked at while the one before them is waited for. */
const MAX_AHEAD = 15

/** A key that is to be yielded soon. */
interface Upcoming {
  key: StoreKey
  /** Of `forgettings`, when the first of its versions was asked for. */
  asked: number
  entry: Promise<ScanEntry | undefined>
  again: () => Promise<ScanEntry | undefined>
}

interface Stream {
  /** undefined: copies here of keys that belong elsewhere, what waited here for its homes, or what who asks knows of. */
  node: NodeId | undefined
  entries: [StoreKey, Uint8Array][]
  /** The last key of its latest page. */
  last?: StoreKey | undefined
  more: boolean
  lacking: Set<Partition>
  failed: boolean
  /** Of `forgettings`, when the page was asked for: whoever takes the entries may take his time. */
  asked: number
  isOutbox: boolean
  isKnown: boolean
}

function emptyStream(node: NodeId | undefined): Stream {
  const entries: Stream['entries'] = []
  return { node, entries, more: true, lacking: new Set(), failed: false, asked: 0, isOutbox: false, isKnown: false }
}

export class Scan {
  /** After the last entry: whether every partition was covered by a home that has all of it. */
  complete = true
  /** Of this tab's own disk. */
  private failure: StorageFailure | undefined
  private isFailureTold = false

  constructor(
    private readonly range: ScanRange,
    private readonly context: ScanContext,
    /** Keys that are somewhere, as far as who asks knows: each that nobody shows is read. */
    private readonly known: readonly StoreKey[] = [],
  ) {}

  /** @throws StorageFailure only when this tab's disk failed and no other node answered. */
  async *entries(): AsyncGenerator<ScanEntry> {
    const { routing, peers } = this.context
    const nodes = [routing.self, ...peers.reachable()]
    const outbox = this.outbox()
    const streams = await Promise.all(nodes.map((node) => this.open(node)))
    this.outliveFailure(streams)
    this.complete = this.covers(streams)
    if (!this.complete || this.isThin(streams) || streams.length === 1) {
      const left = await this.open(undefined)
      // What closed tabs have left moves to this disk: what went before it was listed there, a page from before that does not show.
      streams[0] = await this.open(routing.self)
      this.outliveFailure(streams)
      this.complete &&= this.covers(streams)
      streams.push(left)
    }
    streams.push(outbox, { ...this.listed(this.known), isKnown: true })
    const ahead: Upcoming[] = []
    for (let taken = 0; ; taken++) {
      while (ahead.length <= Math.min(taken, MAX_AHEAD)) {
        const upcoming = await this.next(streams)
        if (!upcoming) break
        ahead.push(upcoming)
      }
      const next = ahead.shift()
      if (!next) return
      let entry = await next.entry
      // While it waited for its turn, it may have been forgotten.
      if (this.context.forgettings.since(next.asked, next.key)) entry = await next.again()
      if (entry) yield entry
      else this.complete = false
    }
  }

  /** Takes the next key out of the streams, and begins to find out what it has; undefined after the last. */
  private async next(streams: Stream[]): Promise<Upcoming | undefined> {
    const refilled = await Promise.all(streams.map((stream) => this.refill(stream)))
    this.outliveFailure(streams)
    // A home may have fallen silent, or have lost its disk and be filling it anew.
    if (this.complete && refilled.includes(true)) this.complete = this.covers(streams)
    const key = this.nextKey(streams)
    if (key === undefined) return undefined
    const all = streams.filter((stream) => stream.entries[0]?.[0] === key)
    const isShown = all.some(({ isKnown }) => !isKnown)
    const isHere = all.some(({ node }) => node === this.context.routing.self)
    const shown = new Map(all.map((stream) => [stream, (stream.entries.shift() as [StoreKey, Uint8Array])[1]]))
    // What still waits here, this node's own page shows.
    const holders = all.filter(({ isOutbox, isKnown }) => !(isOutbox && isHere) && !(isKnown && isShown))
    const containers = holders.map((stream) => shown.get(stream) as Uint8Array)
    // As of now: a stream may ask for its next page while the key waits for its turn.
    const asked = Math.min(this.context.forgettings.now, ...holders.map((stream) => stream.asked))
    const agree = (shown: Uint8Array[]) => this.agree(key, holders, shown, streams)
    // What was forgotten after these versions were asked for is not there any more, and nothing but a read would tell.
    const again = () => agree([])
    const isForgotten = this.context.forgettings.since(asked, key)
    const begun = isForgotten ? this.context.forgettings.now : asked
    const entry = isForgotten ? again() : agree(containers)
    // A failure is for whoever takes the entry, and perhaps nobody will.
    entry.catch(() => {})
    return { key, asked: begun, entry, again }
  }

  private open(node: NodeId | undefined): Promise<Stream> {
    const stream = emptyStream(node)
    return this.refill(stream).then(() => stream)
  }

  /**
   * Keys that wait here for their homes. Before this node's pages come to them they may have been delivered, and the pages of these homes have been
   * read before that. Without their versions: each that is not here any more is read.
   */
  private outbox(): Stream {
    return { ...this.listed(this.context.replica.hints.keys()), isOutbox: true }
  }

  /** The keys of the range, without their versions. */
  private listed(all: readonly StoreKey[]): Stream {
    const { from, to, reverse } = this.range
    const keys = all.filter((key) => key >= from && key < to).sort()
    if (reverse) keys.reverse()
    const entries = keys.map((key): [StoreKey, Uint8Array] => [key, new Uint8Array(0)])
    return { ...emptyStream(undefined), entries, more: false, asked: this.context.forgettings.now }
  }

  /** @returns whether the node was asked. */
  private async refill(stream: Stream): Promise<boolean> {
    if (stream.entries.length > 0 || !stream.more) return false
    const range = { ...this.range, limit: PAGE, ...this.resume(stream) }
    stream.asked = this.context.forgettings.now
    const page = await this.page(stream.node, range)
    if (!page) {
      stream.more = false
      stream.failed = true
      return true
    }
    stream.entries = page.entries
    stream.more = page.more
    // What an earlier page lacked is not in a later one either.
    for (const partition of page.lacking) stream.lacking.add(partition)
    stream.last = page.entries.at(-1)?.[0]
    return true
  }

  private resume({ last }: Stream): Partial<ScanRange> {
    if (last === undefined) return {}
    return this.range.reverse ? { to: last } : { from: `${last}\0` }
  }

  /** undefined: no answer. */
  private async page(node: NodeId | undefined, range: KeyRange) {
    const { routing, peers, replica, copies, tuning, lacking } = this.context
    if (node === undefined) {
      const keys = await copies.keysIn(range.from, range.to)
      if (range.reverse) keys.reverse()
      // Without their versions: each is read like any key of which no home shows anything.
      return { entries: keys.map((key): [StoreKey, Uint8Array] => [key, new Uint8Array(0)]), more: false, lacking: [] }
    }
    if (node === routing.self) {
      try {
        return await scanHere(replica, range, lacking, tuning.batchBytes)
      } catch (error) {
        if (!(error instanceof StorageFailure)) throw error
        this.failure = error
        return undefined
      }
    }
    const reply = await peers.request(node, { type: 'Scan', ...range }, tuning.requestTimeoutMs)
    return reply?.type === 'ScanPage' && isPageOf(range, reply) ? reply : undefined
  }

  /** The own disk is one of many: where it fails, a scan goes on with what others have, as a get does. */
  private outliveFailure(streams: Stream[]): void {
    if (!this.failure || this.isFailureTold) return
    if (streams.every((stream) => stream.failed || stream.node === undefined)) throw this.failure
    this.tell(this.failure)
  }

  private tell(failure: StorageFailure): void {
    if (!this.isFailureTold) this.context.onError(failure)
    this.isFailureTold = true
  }

  private nextKey(streams: Stream[]): StoreKey | undefined {
    let next: StoreKey | undefined
    for (const stream of streams) {
      const key = stream.entries[0]?.[0]
      if (key !== undefined && (next === undefined || (this.range.reverse ? key > next : key < next))) next = key
    }
    return next
  }

  /**
   * One container if all homes that answer show the very same; else a read with a quorum decides. undefined: damaged here, or the disk fails, and nobody
   * else answers; or somebody has it and nobody can send it.
   */
  private async agree(
    key: StoreKey,
    holders: Stream[],
    encoded: Uint8Array[],
    streams: Stream[],
  ): Promise<ScanEntry | undefined> {
    const { routing } = this.context
    const homes = routing.homes(key)
    const { partition } = routing.addressOf(key)
    const answering = streams.filter((stream) => !stream.failed && stream.node && homes.includes(stream.node))
    // Where some home has the whole partition, one that is still filling it cannot deny what that one has.
    const whole = answering.filter((stream) => !stream.lacking.has(partition))
    const deciding =
      whole.length > 0 ? answering.filter((one) => holders.includes(one) || whole.includes(one)) : answering
    const shown = encoded.map((bytes) => ifPossible(() => decodeContainer(bytes)))
    const [first, ...rest] = shown
    const digest = first && digestOf(key, first)
    const allShowIt = deciding.length > 0 && deciding.every((stream) => holders.includes(stream))
    if (first && digest && allShowIt && rest.every((other) => other && sameDigest(digestOf(key, other), digest))) {
      this.context.seen(key, first)
      const [answers, needed] = [deciding.length, this.context.answers]
      return {
        key,
        container: first,
        outcome: { met: answers >= needed, sloppy: false, answers, needed, cached: false },
      }
    }
    try {
      const read = await this.context.get(key)
      if (read.met && !read.sloppy) return { key, container: read.container, outcome: read }
      // Those who showed it may be out of reach by now.
      const container = shown.reduce<Container>((all, one) => (one ? mergeContainers(all, one) : all), read.container)
      const isThere = encoded.some((_, i) => holders[i]?.node !== undefined && !shown[i])
      if (isThere && !read.met && isEmpty(container.context)) return undefined
      return { key, container, outcome: read }
    } catch (error) {
      if (error instanceof StorageFailure) this.tell(error)
      else if (!(error instanceof MalformedError)) throw error
      return undefined
    }
  }

  /** Fewer homes answer than a get asks for: then it looks for copies on this device, and so must a scan. */
  private isThin(streams: Stream[]): boolean {
    const { routing, partitions, answers } = this.context
    const answering = new Set(streams.filter((stream) => !stream.failed).map((stream) => stream.node))
    return partitions.some(
      (partition) => routing.homesOf(partition).filter((home) => answering.has(home)).length < answers,
    )
  }

  private covers(streams: Stream[]): boolean {
    const { routing, partitions } = this.context
    const answering = new Map(streams.filter((stream) => !stream.failed).map((stream) => [stream.node, stream]))
    return partitions.every((partition) =>
      routing.homesOf(partition).some((home) => {
        const stream = answering.get(home)
        return stream !== undefined && !stream.lacking.has(partition)
      }),
    )
  }
}

/** A peer may send anything: keys that do not go on in the range would be yielded, and a scan of pages that do not go on would never end. */
function isPageOf({ from, to, reverse }: ScanRange, { entries, more }: MessageOf<'ScanPage'>): boolean {
  const goesOn = ([key]: [StoreKey, Uint8Array], i: number) => {
    const former = entries[i - 1]?.[0]
    return key >= from && key < to && (former === undefined || (reverse ? key < former : key > former))
  }
  return (entries.length > 0 || !more) && entries.every(goesOn)
}
