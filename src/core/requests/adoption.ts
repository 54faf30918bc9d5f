/**
 * Taking over what a tab left that was closed and does not come back (docs/design.md §8): its hints and its records are merged into the ring from its
 * disk, with which they would be stranded. Its node counts as leaving while that lasts, and as left at the end.
 *
 * Each batch is first durable here, as this node's own records and as hints for the homes that lack it, and then removed there. So
 * it may be interrupted at any point and done again, by whomever; and the tab's owner may come back in the middle of it.
 *
 * Invariant: whoever calls it is the only one who has that disk open.
 */
import type { Background } from '../background.js'
import { type Storage, StorageFailure, type StoredRecord } from '../environment.js'
import { type DeviceId, type NodeId, type Partition, type StoreKey, parseStoreKey } from '../ids.js'
import type { Membership } from '../membership/membership.js'
import { members } from '../messages.js'
import { restored } from '../meta.js'
import type { Peers } from '../peers.js'
import { digestsFromBytes, sameDigest } from '../replica/merkle.js'
import type { Replica } from '../replica/replica.js'
import type { Routing } from '../routing.js'
import type { Tuning } from '../tuning.js'
import type { Container } from '../versions/container.js'
import { isEmpty } from '../versions/context.js'
import { decodeContainer, digestOf, ifPossible } from '../versions/encoding.js'
import { count } from '../wire.js'

const ASK_TIMEOUT_MS = 5000
/** High enough to beat any incarnation that another member may know of this node. */
const FAR_BEYOND = 1_000_000

export interface Orphan {
  node: NodeId
  storage: Storage
}

export interface AdoptionContext {
  device: DeviceId
  replica: Replica
  routing: Routing
  membership: Membership
  peers: Peers
  background: Background
  tuning: Tuning
  stopped: () => boolean
  /** Is told of each batch that is being taken over. */
  taking: (work: Promise<void>) => Promise<void>
  /** Told of what could not be read any more. */
  onError: (error: unknown) => void
  /** Keys taken over in this batch, and how many are left. */
  progress: (keys: number, left: number) => void
}

interface Found {
  key: StoreKey
  container: Container
  /** It contains writes that were issued at that node. */
  own: boolean
}

/** Resolves when nothing is left on that disk and the node is said to have left. @throws StorageFailure of either disk, or 'closed' */
export async function adopt(orphan: Orphan, context: AdoptionContext): Promise<void> {
  await new Adopting(orphan, context).run()
}

class Adopting {
  private left = 0

  constructor(
    private readonly orphan: Orphan,
    private readonly context: AdoptionContext,
  ) {}

  async run(): Promise<void> {
    const { storage } = this.orphan
    const { membership, replica } = this.context
    this.goOn()
    // Before the node is said to leave, by which others take its partitions over: where there is no room for what it has, it stays a member.
    if (replica.pressure.refusesReplicas) throw new StorageFailure('quota', 'no room for what a closed tab has left')
    const state = await storage.load()
    // It may have known a ring that this node has not met yet.
    membership.absorb(restored(state.meta.get('members'), members) ?? [])
    const lives = restored(state.meta.get('incarnation'), count) ?? 0
    const known = membership.get(this.orphan.node)
    if (known?.state !== 'leaving' && known?.state !== 'left')
      this.declare('leaving', Math.max(lives, known?.incarnation ?? 0) + 1)
    // Should its owner come back in the middle, what is gone by then must not count as 'not found'.
    await storage.commit({ meta: [['complete', undefined]] }, 'strict')
    const partitions = [
      ...new Set(state.leafGroups.filter(({ records }) => records > 0).map((group) => group.partition)),
    ]
    this.left = state.hints.length + state.leafGroups.reduce((sum, { records }) => sum + records, 0)
    await this.hints(state.hints.map(({ key }) => key))
    await this.records(partitions)
    this.declare('left', Math.max(lives, membership.get(this.orphan.node)?.incarnation ?? 0) + FAR_BEYOND)
  }

  private goOn(): void {
    if (this.context.stopped()) throw new StorageFailure('closed', 'the node was stopped, or leaves')
  }

  private declare(state: 'leaving' | 'left', incarnation: number): void {
    const { node } = this.orphan
    const { membership, device } = this.context
    const { capacity = 1, name = '' } = membership.get(node) ?? {}
    membership.absorb([{ node, device, capacity, name, incarnation, state }])
  }

  private async hints(keys: StoreKey[]): Promise<void> {
    const { storage } = this.orphan
    const { batchKeys } = this.context.tuning
    for (let i = 0; i < keys.length; i += batchKeys) {
      const batch = keys.slice(i, i + batchKeys)
      const rows = await storage.getHints(batch)
      const found = this.read(batch.map((key, at) => ({ key, own: false, ...rows[at] })))
      await this.take(found)
      await storage.commit({ hints: batch.map((key) => ({ key, apply: () => undefined })) }, 'relaxed')
      this.advance(batch.length)
    }
  }

  private async records(partitions: Partition[]): Promise<void> {
    const { batchKeys, batchBytes } = this.context.tuning
    let batch: StoredRecord[] = []
    let bytes = 0
    for (const partition of partitions) {
      let after: string | undefined
      do {
        const page = await this.orphan.storage.scanPartition(partition, { after, maxBytes: batchBytes })
        after = page.cursor
        batch.push(...page.records)
        bytes += page.records.reduce((sum, { container }) => sum + container.length, 0)
        // Partitions are small: a batch of each would be as many flushes of the disk.
        if (batch.length < batchKeys && bytes < batchBytes) continue
        await this.move(batch)
        batch = []
        bytes = 0
      } while (after !== undefined)
    }
    if (batch.length > 0) await this.move(batch)
  }

  private async move(records: StoredRecord[]): Promise<void> {
    await this.take(this.read(records.map((record) => ({ ...record, own: false }))))
    const { addressOf } = this.context.routing
    const removals = records.map(({ key }) => ({ address: addressOf(key), apply: () => 'remove' as const }))
    await this.orphan.storage.commit({ records: removals }, 'relaxed')
    this.advance(records.length)
  }

  /**
   * What cannot be read any more is not worth keeping: whatever it was, its other copies are at other homes. Nor is what has no home: a hint for what is no
   * key, which earlier versions took.
   */
  private read(rows: { key: StoreKey; container?: Uint8Array; own: boolean }[]): Found[] {
    let damaged = 0
    const found = rows.flatMap(({ key, container: bytes, own }) => {
      if (!bytes) return []
      const container = ifPossible(() => decodeContainer(bytes))
      if (!container) damaged++
      return container && !isEmpty(container.context) && parseStoreKey(key) ? [{ key, container, own }] : []
    })
    if (damaged > 0)
      this.context.onError(
        new StorageFailure('corrupt', `of a closed tab, so many damaged rows are dropped: ${damaged}`),
      )
    return found
  }

  private advance(keys: number): void {
    this.left -= keys
    this.context.progress(keys, this.left)
  }

  /** Keeps these where they belong: as a home's own records, and as hints for all homes that are not known to have the very same. */
  private async take(found: Found[]): Promise<void> {
    await this.context.background.turn('hints')
    this.goOn()
    await this.context.taking(this.store(found))
  }

  private async store(found: Found[]): Promise<void> {
    const { replica, routing } = this.context
    const holding = await this.homesHolding(found)
    await Promise.all(
      found.map(async ({ key, container, own }) => {
        // As they are now, and all at once: one that has become a home since was not asked, and gets a hint.
        const homes = routing.homes(key)
        const asRecord = homes.includes(routing.self)
        const hintFor = homes.filter((home) => home !== routing.self && !holding.get(key)?.has(home))
        if (!asRecord && hintFor.length === 0) return
        await replica.store([{ key, container }], { asRecord, hintFor, own, durability: 'strict', maxSiblings: 0 })
      }),
    )
  }

  /** Who says of itself, of the homes of each key, that it holds the very same. */
  private async homesHolding(found: Found[]): Promise<Map<StoreKey, Set<NodeId>>> {
    const { routing, peers } = this.context
    const digests = new Map(found.map(({ key, container }) => [key, digestOf(key, container)]))
    const byHome = new Map<NodeId, StoreKey[]>()
    for (const { key } of found)
      for (const home of routing.homes(key))
        if (routing.isReachable(home) && home !== routing.self) byHome.set(home, [...(byHome.get(home) ?? []), key])
    const holding = new Map<StoreKey, Set<NodeId>>()
    await Promise.all(
      [...byHome].map(async ([home, keys]) => {
        const reply = await peers.request(home, { type: 'CheckKeys', keys }, ASK_TIMEOUT_MS, 'background')
        for (const [key, bytes] of reply?.type === 'KeyDigests' ? reply.entries : []) {
          const [theirs] = digestsFromBytes(bytes)
          const mine = digests.get(key)
          if (theirs && mine && sameDigest(theirs, mine)) holding.set(key, (holding.get(key) ?? new Set()).add(home))
        }
      }),
    )
    return holding
  }
}
