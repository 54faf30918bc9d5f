/**
 * Scanning keys in order over the whole ring. Every reachable member yields sorted pages of what it holds; the coordinator merges
 * the streams. A key on which the answering homes disagree is read with a quorum, so that neither a deleted nor a
 * stale version slips through. What could not be covered is said (P40), never passed over.
 */
import type { NodeId, Partition, StoreKey } from '../ids.js'
import type { Peers } from '../peers.js'
import { sameDigest } from '../sync/merkle.js'
import type { Tuning } from '../tuning.js'
import type { Container } from '../versions/container.js'
import { MalformedError, decodeContainer, digestOf } from '../versions/encoding.js'
import type { Replica } from './replica.js'
import type { Routing } from './routing.js'
import { scanHere } from './serve.js'

export interface ScanRange {
  from: string
  to: string
  reverse: boolean
}

export interface ScanContext {
  routing: Routing
  peers: Peers
  replica: Replica
  tuning: Tuning
  filling: () => Partition[]
  /** All partitions of the replication class that the range lies in. */
  partitions: Partition[]
  get: (key: StoreKey) => Promise<Container>
}

const PAGE = 200

interface Stream {
  node: NodeId
  entries: [StoreKey, Uint8Array][]
  more: boolean
  filling: Set<Partition>
  failed: boolean
}

export class Scan {
  /** After the last entry: whether every partition was covered by a home that has all of it. */
  complete = true

  constructor(
    private readonly range: ScanRange,
    private readonly context: ScanContext,
  ) {}

  async *entries(): AsyncGenerator<{ key: StoreKey; container: Container }> {
    const { routing, peers } = this.context
    const nodes = [routing.self, ...peers.reachable()]
    const streams = await Promise.all(nodes.map((node) => this.open(node)))
    this.complete = this.covers(streams)
    for (;;) {
      await Promise.all(streams.map((stream) => this.refill(stream)))
      if (this.complete && streams.some((stream) => stream.failed)) this.complete = this.covers(streams)
      const key = this.nextKey(streams)
      if (key === undefined) return
      const holders = streams.filter((stream) => stream.entries[0]?.[0] === key)
      const containers = holders.map((stream) => (stream.entries.shift() as [StoreKey, Uint8Array])[1])
      yield { key, container: await this.agree(key, holders, containers, streams) }
    }
  }

  private open(node: NodeId): Promise<Stream> {
    const stream: Stream = { node, entries: [], more: true, filling: new Set(), failed: false }
    return this.refill(stream).then(() => stream)
  }

  private async refill(stream: Stream): Promise<void> {
    if (stream.entries.length > 0 || !stream.more) return
    const range = { ...this.range, limit: PAGE, ...this.resume(stream) }
    const page = await this.page(stream.node, range)
    if (!page) {
      stream.more = false
      stream.failed = true
      return
    }
    stream.entries = page.entries
    stream.more = page.more && page.entries.length > 0
    stream.filling = new Set(page.filling)
    this.positions.set(stream, page.entries.at(-1)?.[0])
  }

  private readonly positions = new Map<Stream, StoreKey | undefined>()

  private resume(stream: Stream): Partial<ScanRange> {
    const last = this.positions.get(stream)
    if (last === undefined) return {}
    return this.range.reverse ? { to: last } : { from: `${last}\0` }
  }

  private async page(node: NodeId, range: ScanRange & { limit: number }) {
    const { routing, peers, replica, tuning, filling } = this.context
    if (node === routing.self) return { ...(await scanHere(replica, range)), filling: filling() }
    const reply = await peers.request(node, { type: 'Scan', ...range }, tuning.requestTimeoutMs)
    return reply?.type === 'ScanPage' ? reply : undefined
  }

  private nextKey(streams: Stream[]): StoreKey | undefined {
    let next: StoreKey | undefined
    for (const stream of streams) {
      const key = stream.entries[0]?.[0]
      if (key !== undefined && (next === undefined || (this.range.reverse ? key > next : key < next))) next = key
    }
    return next
  }

  /** One container if all homes that answer show the very same; else a read with a quorum decides. */
  private async agree(key: StoreKey, holders: Stream[], encoded: Uint8Array[], streams: Stream[]): Promise<Container> {
    const homes = this.context.routing.homes(key)
    const answering = streams.filter((stream) => !stream.failed && homes.includes(stream.node))
    try {
      const [first, ...rest] = encoded.map(decodeContainer)
      const digest = first && digestOf(key, first)
      const allShowIt = answering.length > 0 && answering.every((stream) => holders.includes(stream))
      if (first && digest && allShowIt && rest.every((other) => sameDigest(digestOf(key, other), digest))) return first
    } catch (error) {
      if (!(error instanceof MalformedError)) throw error
    }
    return this.context.get(key)
  }

  private covers(streams: Stream[]): boolean {
    const { routing, partitions } = this.context
    const answering = new Map(streams.filter((stream) => !stream.failed).map((stream) => [stream.node, stream]))
    return partitions.every((partition) =>
      routing.homesOf(partition).some((home) => {
        const stream = answering.get(home)
        return stream !== undefined && !stream.filling.has(partition)
      }),
    )
  }
}
