/**
 * Walks over everything on this node's disk, slowly: checks every record against its checksums and digest, heals damaged ones from other
 * homes, puts one tombstone in the place of expired values and of many tombstones (one home does, for all: P7), and finds what may be
 * forgotten. `verify` is the same walk at once, with a report; without repair it only looks.
 */
import type { Background } from '../background.js'
import { type CancelTimer, type Clock, StorageFailure, type StoredRecord } from '../environment.js'
import type { ActorId, Partition, StoreKey } from '../ids.js'
import type { Peers } from '../peers.js'
import { NOTHING, isZero, sameDigest, xor } from '../replica/merkle.js'
import type { Replica } from '../replica/replica.js'
import type { Routing } from '../routing.js'
import { type Container, isLiveSibling, mergeContainers } from '../versions/container.js'
import { type CausalContext, EMPTY_CONTEXT, compact, isEmpty } from '../versions/context.js'
import { checksumOf, decodeContainer, digestOf, ifPossible } from '../versions/encoding.js'

const PAGE_BYTES = 512 * 1024
const TIMEOUT_MS = 5000
/** Of one key. Reaping forgets those of a deleted key, but beside a version that lives, or while a member is away, they would grow without end. */
const MANY_TOMBSTONES = 10

export interface ScrubReport {
  records: number
  bytes: number
  /** Records whose bytes are not what was written. */
  corrupt: StoreKey[]
  healed: number
  /** Partitions whose Merkle tree does not match their records. */
  wrongTrees: number
}

export interface ScrubContext {
  replica: Replica
  routing: Routing
  peers: Peers
  background: Background
  clock: Clock
  intervalMs: number
  /** Puts a tombstone in the place of exactly these versions. */
  expire: (key: StoreKey, expired: CausalContext) => Promise<unknown>
  /** What this node should hold, whatever its trees say. */
  duties: () => Partition[]
  /** Offers a record for forgetting. */
  consider: (key: StoreKey, container: Container) => void
  /** Further housekeeping at the same pace. */
  also: () => Promise<unknown>
  onError: (error: unknown) => void
}

export class Scrub {
  private timer: CancelTimer | undefined
  private next = 0
  /** Of what was read as damaged and not looked at since. */
  private readonly suspected = new Set<Partition>()

  constructor(private readonly context: ScrubContext) {}

  start(): void {
    this.timer = this.context.clock.setTimer(this.context.intervalMs, () => {
      void this.round()
        .catch(this.context.onError)
        .then(() => this.timer && this.start())
    })
  }

  stop(): void {
    this.timer?.()
    this.timer = undefined
  }

  /** Somebody has met something damaged: that is told, and its partition is the next to be walked over. */
  suspect(key: StoreKey): void {
    const { replica, onError } = this.context
    const { partition } = replica.addressOf(key)
    if (this.suspected.has(partition)) return
    this.suspected.add(partition)
    onError(new StorageFailure('corrupt', 'a record is damaged; other homes are asked for what it was'))
  }

  /** Walks over all partitions at once. */
  async verify(repair: boolean): Promise<ScrubReport> {
    const report = newReport()
    for (const partition of this.partitions()) await this.walk(partition, repair, report)
    return report
  }

  /** A sixteenth of the partitions each time: a full pass takes sixteen intervals. */
  private async round(): Promise<void> {
    await this.context.replica.clearDoubts()
    const held = this.partitions()
    // What is met meanwhile is for the next round: nobody may be able to heal it, and it may be read all the time.
    for (const partition of [...this.suspected]) {
      await this.walk(partition, true)
      this.suspected.delete(partition)
    }
    for (let i = Math.ceil(held.length / 16); i > 0; i--) {
      const partition = held[this.next++ % held.length]
      if (partition !== undefined) await this.walk(partition, true)
    }
    // Afterwards: a damaged record must not keep the walk from healing it.
    await this.context.also()
  }

  private partitions(): Partition[] {
    const { replica, duties } = this.context
    return [...new Set([...replica.forest.held(), ...duties()])]
  }

  private async walk(partition: Partition, repair: boolean, report = newReport()): Promise<void> {
    const { replica, background } = this.context
    const before = replica.forest.root(partition)
    let healed = 0
    let damaged = 0
    let sum = NOTHING
    let after: string | undefined
    const gone: StoreKey[] = []
    do {
      await background.turn('scrub')
      const page = await replica.storage.scanPartition(partition, { after, maxBytes: PAGE_BYTES })
      for (const record of page.records) {
        report.records++
        report.bytes += record.container.length
        sum = xor(sum, record.digest)
        const container = readRecord(record)
        if (!container) {
          report.corrupt.push(record.key)
          if (repair && (await this.heal(record.key))) healed++
          else damaged++
        } else if (repair) {
          this.context.consider(record.key, container)
          if (!isEmpty(this.goneHere(record.key, container))) gone.push(record.key)
        }
      }
      after = page.cursor
    } while (after !== undefined)
    report.healed += healed
    // The tree still has what a damaged record was: it must not be made from what that is now.
    if (damaged === 0) {
      const now = replica.forest.root(partition)
      // Only a partition that stood still during the walk can be judged.
      const isWrong = sameDigest(before, now) && !isZero(xor(sum, now))
      if (isWrong) report.wrongTrees++
      // Recount, or this tree would differ from all others for ever. The same after healing: the digest may have been what was damaged.
      if (repair && (isWrong || healed > 0)) await replica.recount(partition)
    }
    // After the tree was judged, as a write of ours would keep it from being; and each in its own turn, as many may expire at once.
    for (const key of gone) {
      await background.turn('scrub')
      // Without room here, each walk would add one more at the other homes.
      if (replica.pressure.refusesReplicas) return
      // Anew, as the turn may have taken long: what is there, the clock, or who is the first home may be another by now.
      const [container] = await replica.readEach([key])
      const context = container ? this.goneHere(key, container) : EMPTY_CONTEXT
      if (!isEmpty(context)) await this.context.expire(key, context)
    }
  }

  /** @returns what this node has to replace by a tombstone: nothing where another home is the one that does. */
  private goneHere(key: StoreKey, container: Container): CausalContext {
    const { clock, routing } = this.context
    const gone = goneContext(container, clock.wallTime())
    const isFirst = () => routing.homes(key).find((home) => routing.isReachable(home)) === routing.self
    return !isEmpty(gone) && isFirst() ? gone : EMPTY_CONTEXT
  }

  /** Takes the record anew from the other homes. Without one that answers, the damaged bytes stay: they may hold the only good sibling. */
  private async heal(key: StoreKey): Promise<boolean> {
    const { replica, routing, peers } = this.context
    let good: Container | undefined
    for (const home of routing.homes(key)) {
      if (home === routing.self || !routing.isReachable(home)) continue
      const reply = await peers.request(home, { type: 'Fetch', keys: [key] }, TIMEOUT_MS, 'background')
      const entry = reply?.type === 'Entries' ? reply.entries.find(([name]) => name === key) : undefined
      // Nonsense of one home is as good as no answer: the next one may have what is missing here.
      const container = entry && readRecordBytes(entry[1])
      if (container) good = good ? mergeContainers(good, container) : container
    }
    if (!good) return false
    await replica.replaceDamaged(key, good, (bytes) => readRecordBytes(bytes) === undefined)
    return true
  }
}

function newReport(): ScrubReport {
  return { records: 0, bytes: 0, corrupt: [], healed: 0, wrongTrees: 0 }
}

/**
 * Exactly the versions that nobody sees any more: a tombstone with this context replaces them and no other. What is past its time goes, with all tombstones
 * beside it; these alone go once they are many. It is a write like any other, since a merge could not leave tombstones out: what is left then would depend on
 * the order in which things have come. What they had replaced stays covered by the context of whoever has them.
 */
function goneContext({ siblings }: Container, wallTime: number): CausalContext {
  const gone = siblings.filter((sibling) => !isLiveSibling(sibling, wallTime))
  const tombstones = gone.filter(({ value }) => value === undefined).length
  const cloud = new Map<ActorId, Set<number>>()
  if (tombstones < gone.length || tombstones > MANY_TOMBSTONES)
    for (const { dot } of gone) cloud.set(dot.actor, (cloud.get(dot.actor) ?? new Set()).add(dot.counter))
  return compact(new Map(), cloud)
}

function readRecord({ key, container: bytes, digest }: StoredRecord): Container | undefined {
  const container = readRecordBytes(bytes)
  return container && sameDigest(digestOf(key, container), digest) ? container : undefined
}

function readRecordBytes(bytes: Uint8Array): Container | undefined {
  const container = ifPossible(() => decodeContainer(bytes))
  return container && isSound(container) ? container : undefined
}

function isSound(container: Container): boolean {
  return container.siblings.every(({ value, checksum }) => value === undefined || checksumOf(value) === checksum)
}
