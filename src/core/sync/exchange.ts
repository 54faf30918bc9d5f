/**
 * Merkle sync between this node and one other (§4.7): compare roots, descend where they differ, and move only the containers that differ,
 * both ways. An empty side takes whole partitions in pages instead. Used for anti-entropy, for filling a new home, for
 * stand-ins and for leaving: all of them end with two equal trees.
 */
import type { Background, BackgroundKind } from '../background.js'
import { type Clock, type Digest, GROUPS, LEAVES_PER_GROUP } from '../environment.js'
import { guarded } from '../guarded.js'
import type { NodeId, Partition, StoreKey } from '../ids.js'
import { type Message, type MessageOf, type MessageType, mayTravel } from '../messages.js'
import type { Peers } from '../peers.js'
import { NOTHING, digestsFromBytes, digestsToBytes, sameDigest, xor } from '../replica/merkle.js'
import type { Entry, Replica } from '../replica/replica.js'
import type { Tuning } from '../tuning.js'
import type { Container } from '../versions/container.js'
import { decodeContainer, digestOf, encodeContainer, ifPossible } from '../versions/encoding.js'

const TIMEOUT_MS = 10_000
const PARTITIONS_AT_ONCE = 16
const LEAVES_AT_ONCE = 64
const PULLS_AT_ONCE = 4
const MAX_LISTED = 4000

/** How many containers went which way. `complete` is false when the peer stopped answering or something was left for the next time. */
export interface ExchangeResult {
  pulled: number
  pushed: number
  complete: boolean
  /**
   * Partitions of which the peer has a record that nobody can read, or that is too large to travel, so that it is missing here, or damaged here as well.
   * All else has come; but who took that for the whole partition would deny the key to everybody (P41).
   */
  damaged: Set<Partition>
}

/** A key on which both sides differ; undefined where a side has nothing. */
interface Difference {
  key: StoreKey
  mine: Digest | undefined
  theirs: Digest | undefined
}

interface How {
  kind: BackgroundKind
  /** Only differences that last are exchanged: writes on their way are not divergence. */
  settle: boolean
  /** The peer gets what it lacks. */
  give: boolean
}

class PeerSilent extends Error {}

export class Exchange {
  constructor(
    private readonly replica: Replica,
    private readonly peers: Peers,
    private readonly background: Background,
    private readonly clock: Clock,
    private readonly tuning: Tuning,
    private readonly isLeaving: () => boolean,
    onError: (error: unknown) => void,
  ) {
    this.serve(onError)
  }

  /** Makes the peer's and this node's copies of some partitions equal. */
  async with(peer: NodeId, partitions: Partition[], how: How): Promise<ExchangeResult> {
    const { kind } = how
    const result: ExchangeResult = { pulled: 0, pushed: 0, complete: true, damaged: new Set() }
    try {
      const differing = await this.differingPartitions(peer, partitions, kind)
      const toDescend: Partition[] = []
      const empty: Partition[] = []
      for (const partition of differing) {
        if (this.replica.forest.recordsIn(partition) === 0) empty.push(partition)
        else toDescend.push(partition)
      }
      await inParallel(divided(empty, PULLS_AT_ONCE), PULLS_AT_ONCE, (share) => this.pullAll(peer, share, kind, result))
      for (let i = 0; i < toDescend.length; i += PARTITIONS_AT_ONCE) {
        await this.descend(peer, toDescend.slice(i, i + PARTITIONS_AT_ONCE), how, result)
      }
    } catch (error) {
      if (!(error instanceof PeerSilent)) throw error
      result.complete = false
    }
    return result
  }

  /** Sends all of a partition, and takes nothing. @returns whether the peer holds all of it now, merged with what it had */
  async giveAll(peer: NodeId, partition: Partition): Promise<boolean> {
    const result: ExchangeResult = { pulled: 0, pushed: 0, complete: true, damaged: new Set() }
    let records = 0
    let after: string | undefined
    try {
      do {
        const page = await this.replica.storage.scanPartition(partition, { after, maxBytes: this.tuning.batchBytes })
        const keys = page.records.map(({ key }) => key)
        await this.push(peer, keys, 'transfer', result)
        records += keys.length
        after = page.cursor
      } while (after !== undefined)
    } catch (error) {
      if (error instanceof PeerSilent) return false
      throw error
    }
    return result.pushed === records
  }

  /**
   * The partitions in which the peer's copies differ from this node's; undefined when it does not answer.
   * @param heir it is to hold them in this node's place: one that leaves does not answer that
   */
  async differing(peer: NodeId, partitions: Partition[], heir = false): Promise<Partition[] | undefined> {
    try {
      return await this.differingPartitions(peer, partitions, 'sync', heir)
    } catch (error) {
      if (error instanceof PeerSilent) return undefined
      throw error
    }
  }

  private async differingPartitions(
    peer: NodeId,
    partitions: Partition[],
    kind: BackgroundKind,
    heir = false,
  ): Promise<Partition[]> {
    await this.background.turn(kind)
    const digest = digestsToBytes([this.replica.forest.combinedRoot(partitions)])
    const { roots } = await this.ask(peer, { type: 'CompareRoots', partitions, digest, heir }, 'Roots')
    if (roots.length === 0) return []
    const theirs = digestsFromBytes(roots)
    return partitions.filter((partition, i) => theirs[i] && !sameDigest(theirs[i], this.replica.forest.root(partition)))
  }

  /**
   * This node has nothing there: pages of whole partitions (§6.2: partitions move as a whole). The next page is on its way while this one
   * is written.
   */
  private async pullAll(
    peer: NodeId,
    partitions: Partition[],
    kind: BackgroundKind,
    result: ExchangeResult,
  ): Promise<void> {
    if (this.replica.pressure.refusesReplicas) {
      result.complete = false
      return
    }
    const page = async (after: string | undefined): Promise<MessageOf<'Entries'>> => {
      await this.background.turn(kind)
      return this.ask(peer, { type: 'FetchPartitions', partitions, after }, 'Entries')
    }
    for (let next: Promise<MessageOf<'Entries'>> | undefined = page(undefined); next; ) {
      const { entries, cursor }: MessageOf<'Entries'> = await next
      next = cursor === undefined ? undefined : page(cursor)
      // Its failure is met when it is awaited.
      next?.catch(() => {})
      const kept = await this.keep(entries)
      result.pulled += kept.size
      this.noteMissing(
        entries.flatMap(([key]) => (kept.has(key) ? [] : [key])),
        result,
      )
    }
  }

  private async descend(peer: NodeId, partitions: Partition[], how: How, result: ExchangeResult): Promise<void> {
    const { forest } = this.replica
    await this.background.turn(how.kind)
    const groupReply = await this.ask(peer, { type: 'CompareGroups', partitions }, 'Digests')
    const theirGroups = digestsFromBytes(groupReply.digests)
    const groups: [Partition, number][] = []
    partitions.forEach((partition, p) => {
      forest.groupDigests(partition).forEach((mine, group) => {
        const theirs = theirGroups[p * GROUPS + group]
        if (theirs && !sameDigest(mine, theirs)) groups.push([partition, group])
      })
    })
    if (groups.length === 0) return
    const leafReply = await this.ask(peer, { type: 'CompareLeaves', groups }, 'Digests')
    const theirLeaves = digestsFromBytes(leafReply.digests)
    const leaves: [Partition, number][] = []
    groups.forEach(([partition, group], g) => {
      forest.leafDigests(partition, group).forEach((mine, leaf) => {
        const theirs = theirLeaves[g * LEAVES_PER_GROUP + leaf]
        if (theirs && !sameDigest(mine, theirs)) leaves.push([partition, group * LEAVES_PER_GROUP + leaf])
      })
    })
    for (let i = 0; i < leaves.length; i += LEAVES_AT_ONCE) {
      await this.background.turn(how.kind)
      await this.exchangeLeaves(peer, leaves.slice(i, i + LEAVES_AT_ONCE), how, result)
    }
  }

  private async exchangeLeaves(
    peer: NodeId,
    leaves: [Partition, number][],
    how: How,
    result: ExchangeResult,
  ): Promise<void> {
    const { forest } = this.replica
    const reply = await this.ask(peer, { type: 'ListLeaves', leaves }, 'KeyDigests')
    if (!reply.whole) result.complete = false
    const theirs = new Map(reply.entries.map(([key, bytes]) => [key, digestsFromBytes(bytes)[0] ?? NOTHING]))
    const before = leaves.map((leaf) => forest.leafDigest(...leaf))
    const mine = new Map((await this.listLeaves(leaves)).map((record) => [record.key, record.digest]))
    await this.mendTrees(
      leaves.filter((leaf, i) => sameDigest(forest.leafDigest(...leaf), before[i] as Digest)),
      mine,
      theirs,
    )
    let differences: Difference[] = []
    for (const [key, digest] of theirs) {
      const own = mine.get(key)
      if (!own || !sameDigest(own, digest)) differences.push({ key, mine: own, theirs: digest })
    }
    // A list that was cut says nothing about keys that are not in it.
    if (reply.whole)
      for (const [key, digest] of mine) if (!theirs.has(key)) differences.push({ key, mine: digest, theirs: undefined })
    if (how.settle && differences.length > 0) {
      const lasting = await this.lasting(peer, differences)
      if (lasting.length < differences.length) result.complete = false
      differences = lasting
    }
    for (let i = 0; i < differences.length; i += this.tuning.batchKeys)
      await this.exchangeKeys(peer, differences.slice(i, i + this.tuning.batchKeys), how, result)
  }

  /**
   * Leaves that differ although all that is listed under them is the same: one side's tree is wrong. Both would come down here again at every
   * comparison until a scrub came by, and see nothing of a change that makes the wrong tree equal. Each side mends its own.
   */
  private async mendTrees(
    leaves: [Partition, number][],
    mine: Map<StoreKey, Digest>,
    theirs: Map<StoreKey, Digest>,
  ): Promise<void> {
    const wrong = new Set<Partition>()
    for (const [partition, leaf] of leaves) {
      const records = [...mine].filter(([key]) => {
        const address = this.replica.addressOf(key)
        return address.partition === partition && address.leaf === leaf
      })
      const sum = records.reduce((xored, [, digest]) => xor(xored, digest), NOTHING)
      // A record whose own digest is damaged differs from the peer's: the tree must not be made from that.
      const isListedThere = records.every(([key, digest]) => sameDigest(theirs.get(key) ?? NOTHING, digest))
      if (isListedThere && !sameDigest(sum, this.replica.forest.leafDigest(partition, leaf))) wrong.add(partition)
    }
    for (const partition of wrong) await this.replica.recount(partition)
  }

  /** Looks again after a moment: what changed on either side meanwhile was a write on its way. */
  private async lasting(peer: NodeId, differences: Difference[]): Promise<Difference[]> {
    await new Promise<void>((resolve) => this.clock.setTimer(this.tuning.syncSettleMs, resolve))
    const listed = differences.slice(0, MAX_LISTED)
    const keys = listed.map(({ key }) => key)
    const reply = await this.ask(peer, { type: 'CheckKeys', keys }, 'KeyDigests')
    const theirs = new Map(reply.entries)
    const mine = new Map(await this.checkKeys(keys))
    return listed.filter(
      ({ key, mine: myFormer, theirs: theirFormer }) =>
        isStill(mine.get(key), myFormer) && isStill(theirs.get(key), theirFormer),
    )
  }

  private async exchangeKeys(peer: NodeId, differences: Difference[], how: How, result: ExchangeResult): Promise<void> {
    const toPush = new Set(differences.filter(({ mine }) => mine).map(({ key }) => key))
    // In the place of a damaged record, on either side, one home's copy could be an older one: the scrub asks all of them.
    const unreadable = await this.unreadable(differences.filter(({ mine, theirs }) => mine && theirs))
    let wanted = differences.filter(({ key, theirs }) => theirs && !unreadable.has(key)).map(({ key }) => key)
    if (this.replica.pressure.refusesReplicas && wanted.length > 0) {
      wanted = []
      result.complete = false
    }
    while (wanted.length > 0) {
      await this.background.turn(how.kind)
      const { entries } = await this.ask(peer, { type: 'Fetch', keys: wanted }, 'Entries')
      const kept = await this.keep(entries)
      const left = wanted.filter((key) => !kept.has(key))
      if (left.length === wanted.length) break
      wanted = left
      result.pulled += kept.size
      for (const [key, theirs] of kept) {
        // What they had was all there is: nothing to give back.
        const [now] = await this.replica.readEach([key], 'peer')
        if (now && sameDigest(digestOf(key, now), digestOf(key, theirs))) toPush.delete(key)
        else toPush.add(key)
      }
    }
    // Damaged there, too large to travel, or forgotten meanwhile: the next comparison tells.
    this.noteMissing(wanted, result)
    for (const key of wanted) toPush.delete(key)
    if (how.give) await this.push(peer, [...toPush], how.kind, result)
  }

  private async unreadable(differences: Difference[]): Promise<Set<StoreKey>> {
    const keys = differences.map(({ key }) => key)
    const containers = await this.replica.readEach(keys)
    return new Set(keys.filter((_, i) => !containers[i]))
  }

  private async push(peer: NodeId, keys: StoreKey[], kind: BackgroundKind, result: ExchangeResult): Promise<void> {
    for (let i = 0; i < keys.length; ) {
      await this.background.turn(kind)
      const containers = await this.replica.readEach(keys.slice(i, i + this.tuning.batchKeys), 'peer')
      const entries: [StoreKey, Uint8Array][] = []
      let bytes = 0
      for (const container of containers) {
        // What is damaged here is nothing to give.
        const encoded = container && encodeContainer(container)
        if (encoded && mayTravel(encoded)) {
          if (entries.length > 0 && bytes + encoded.length > this.tuning.batchBytes) break
          entries.push([keys[i] as StoreKey, encoded])
          bytes += encoded.length
        }
        i++
      }
      if (entries.length === 0) continue
      const message: Message = { type: 'Store', entries, hintFor: [], strict: false, fresh: false }
      const reply = await this.peers.request(peer, message, TIMEOUT_MS, 'background')
      // A leaver and a full disk take nothing any more, but what they had has been fetched.
      if (reply?.type === 'Failed' && (reply.kind === 'leaving' || reply.kind === 'quota')) return
      if (reply?.type !== 'Stored') throw new PeerSilent(`${peer} did not store`)
      result.pushed += entries.length
    }
  }

  /**
   * Stores what can be read, and gives it back: pages come as they lie on the peer's disk, and what is damaged there costs only itself. A page of small
   * records may have thousands, and the page of the tab stands still while they are written: so it is done in parts.
   */
  private async keep(wire: [StoreKey, Uint8Array][]): Promise<Map<StoreKey, Container>> {
    const kept = new Map<StoreKey, Container>()
    for (let i = 0; i < wire.length; i += this.tuning.batchKeys) {
      const entries = wire.slice(i, i + this.tuning.batchKeys).flatMap(([key, bytes]): Entry[] => {
        const container = ifPossible(() => decodeContainer(bytes))
        return container ? [{ key, container }] : []
      })
      await this.replica.storeRecords(entries, 'relaxed')
      for (const { key, container } of entries) kept.set(key, container)
    }
    return kept
  }

  private noteMissing(keys: StoreKey[], result: ExchangeResult): void {
    for (const key of keys) result.damaged.add(this.replica.addressOf(key).partition)
  }

  private async ask<K extends MessageType>(peer: NodeId, message: Message, expected: K): Promise<MessageOf<K>> {
    const reply = await this.peers.request(peer, message, TIMEOUT_MS, 'background')
    if (reply?.type !== expected) throw new PeerSilent(`${peer} did not answer ${message.type}`)
    return reply as MessageOf<K>
  }

  /** What lies in these leaves, all of it: a list that was cut unnoticed would say 'absent' of the rest. */
  private async listLeaves(leaves: [Partition, number][]): Promise<{ key: StoreKey; digest: Digest }[]> {
    const { storage } = this.replica
    const lists = await Promise.all(
      leaves.map(async ([partition, leaf]) => {
        const found: { key: StoreKey; digest: Digest }[] = []
        let after: string | undefined
        do {
          const options = { fromLeaf: leaf, toLeaf: leaf, after, maxBytes: this.tuning.batchBytes }
          const page = await storage.scanPartition(partition, options)
          for (const { key, digest } of page.records) found.push({ key, digest })
          after = page.cursor
        } while (after !== undefined)
        return found
      }),
    )
    return lists.flat()
  }

  /** The digests of the records that there are; no bytes stand for one that is damaged. */
  private async checkKeys(keys: StoreKey[]): Promise<[StoreKey, Uint8Array][]> {
    const records = await this.replica.storage.get(keys.map(this.replica.addressOf))
    return keys.flatMap((key, i): [StoreKey, Uint8Array][] => {
      const record = records[i]
      if (!record) return []
      const container = ifPossible(() => decodeContainer(record))
      return [[key, container ? digestsToBytes([digestOf(key, container)]) : new Uint8Array(0)]]
    })
  }

  /**
   * A page of the records of some partitions, one after the other. The cursor: index in the list, colon, cursor within that partition. Of a record that
   * is too large to travel the key comes alone, and is missed like a damaged one.
   */
  private async pageOf(partitions: Partition[], after: string | undefined): Promise<MessageOf<'Entries'>> {
    const colon = after?.indexOf(':') ?? 0
    const entries: [StoreKey, Uint8Array][] = []
    let within = after?.slice(colon + 1) || undefined
    let bytes = 0
    for (let index = Number(after?.slice(0, colon) ?? 0); index < partitions.length; index++) {
      if (bytes >= this.tuning.batchBytes) return { type: 'Entries', entries, cursor: `${index}:` }
      const page = await this.replica.storage.scanPartition(partitions[index] as Partition, {
        after: within,
        maxBytes: this.tuning.batchBytes - bytes,
      })
      const records = page.records.map(({ key, container }): [StoreKey, Uint8Array] => [
        key,
        mayTravel(container) ? container : new Uint8Array(0),
      ])
      const more = records.reduce((sum, [, container]) => sum + container.length, 0)
      // The first record of a partition comes whatever its size is; with what is here already it might not fit into one frame.
      if (bytes > 0 && bytes + more > this.tuning.batchBytes) return { type: 'Entries', entries, cursor: `${index}:` }
      entries.push(...records)
      bytes += more
      if (page.cursor !== undefined) return { type: 'Entries', entries, cursor: `${index}:${page.cursor}` }
      within = undefined
    }
    return { type: 'Entries', entries, cursor: undefined }
  }

  private serve(onStorageFailure: (error: unknown) => void): void {
    const { replica, peers } = this
    const { forest } = replica
    peers.handle('CompareRoots', ({ partitions, digest, heir }) => {
      // Two that leave and have not heard it of each other would both take the other's copy for the one that stays.
      if (heir && this.isLeaving()) return { type: 'Failed', kind: 'leaving' }
      const theirs = digestsFromBytes(digest)[0]
      const equal = theirs !== undefined && sameDigest(theirs, forest.combinedRoot(partitions))
      return {
        type: 'Roots',
        roots: equal ? new Uint8Array(0) : digestsToBytes(partitions.map((partition) => forest.root(partition))),
      }
    })
    peers.handle('CompareGroups', ({ partitions }) => ({
      type: 'Digests',
      digests: digestsToBytes(partitions.flatMap((partition) => forest.groupDigests(partition))),
    }))
    peers.handle('CompareLeaves', ({ groups }) => ({
      type: 'Digests',
      digests: digestsToBytes(groups.flatMap(([partition, group]) => forest.leafDigests(partition, group))),
    }))
    peers.handle(
      'ListLeaves',
      guarded(onStorageFailure, async ({ leaves }: MessageOf<'ListLeaves'>) => {
        const records = await this.listLeaves(leaves)
        const entries = records
          .slice(0, MAX_LISTED)
          .map((record): [StoreKey, Uint8Array] => [record.key, digestsToBytes([record.digest])])
        return { type: 'KeyDigests', entries, whole: records.length <= MAX_LISTED }
      }),
    )
    peers.handle(
      'CheckKeys',
      guarded(onStorageFailure, async ({ keys }: MessageOf<'CheckKeys'>) => ({
        type: 'KeyDigests',
        entries: await this.checkKeys(keys),
        whole: true,
      })),
    )
    peers.handle(
      'FetchPartitions',
      guarded(onStorageFailure, ({ partitions, after }: MessageOf<'FetchPartitions'>) =>
        this.pageOf(partitions, after),
      ),
    )
  }
}

/** Whether a key is as it was listed. What was and is damaged now was so before: a write on its way would have replaced it. */
function isStill(now: Uint8Array | undefined, former: Digest | undefined): boolean {
  if (now === undefined || former === undefined) return now === former
  const digest = digestsFromBytes(now)[0]
  return digest === undefined || sameDigest(digest, former)
}

/** The items in at most `parts` lists of about the same length. */
function divided<T>(items: T[], parts: number): T[][] {
  const size = Math.ceil(items.length / parts)
  return Array.from({ length: Math.min(parts, items.length) }, (_, i) => items.slice(i * size, (i + 1) * size)).filter(
    (part) => part.length > 0,
  )
}

/** Runs `work` for every item, at most `width` at a time; begins with no more of them after the first failure. */
export async function inParallel<T>(items: T[], width: number, work: (item: T) => Promise<void>): Promise<void> {
  const rest = items.slice()
  const lane = async () => {
    try {
      for (let item = rest.shift(); item !== undefined; item = rest.shift()) await work(item)
    } catch (error) {
      rest.length = 0
      throw error
    }
  }
  await Promise.all(Array.from({ length: Math.min(width, items.length) }, lane))
}
