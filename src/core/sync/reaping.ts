/**
 * What may be forgotten: tombstones, and context entries of versions that are long replaced. Forgetting is safe only once nobody can bring the
 * older version back. So while every member is here (none asleep, leaving or out of reach), the first home of a key asks all of them whether they
 * hold exactly this state (or nothing, and are no home) and no hint for it; all must agree, twice (P4, P5, P6). A member that is
 * away keeps tombstones alive until it is back or has left. No clock decides. Who has met nobody yet cannot know who should be asked, and
 * forgets only what was written on its own disk.
 */
import type { Background } from '../background.js'
import { type CancelTimer, type Clock, MAX_TTL_MS } from '../environment.js'
import { guarded } from '../guarded.js'
import type { NodeId, StoreKey } from '../ids.js'
import type { Membership } from '../membership/membership.js'
import type { MessageOf } from '../messages.js'
import type { Peers } from '../peers.js'
import type { Agreed } from '../replica/forgettings.js'
import { digestsFromBytes, digestsToBytes, sameDigest } from '../replica/merkle.js'
import type { Replica } from '../replica/replica.js'
import type { Routing } from '../routing.js'
import type { Tuning } from '../tuning.js'
import { type Container, isLive, withStableContextDropped } from '../versions/container.js'
import { contextSize, isEmpty } from '../versions/context.js'
import { digestOf } from '../versions/encoding.js'

/** Contexts up to this many entries are left alone. */
const SMALL_CONTEXT = 12
const MAX_CANDIDATES = 20_000
const TIMEOUT_MS = 10_000

/** A key with something to forget; digests as they travel. */
interface Entry {
  key: StoreKey
  digest: Uint8Array
  /** Of what is left of it, if it lives. */
  left: Uint8Array | undefined
}

export class Reaping {
  /** Keys that may have something to forget, with the time of their last change. */
  private readonly candidates = new Map<StoreKey, number>()
  private timer: CancelTimer | undefined
  /** When a member came up last. What it had told others of its old versions may have been on its way to them for as long as frames live. */
  private lastUpAt = Number.NEGATIVE_INFINITY

  constructor(
    private readonly replica: Replica,
    private readonly routing: Routing,
    private readonly membership: Membership,
    private readonly peers: Peers,
    private readonly background: Background,
    private readonly clock: Clock,
    private readonly tuning: Tuning,
    /** A restart would know all members that this node knows: who forgets a deletion without asking one of them gets it back from that one. */
    private readonly knowsForGood: () => boolean,
    /** Who is not known yet may still have versions that this replaces. */
    private readonly mayConcernOthers: (container: Container) => boolean,
    /** This is about to be forgotten everywhere: nothing in memory may keep an older version either. */
    private readonly onAgreed: (agreed: Agreed[]) => Promise<void>,
    private readonly onError: (error: unknown) => void,
  ) {
    replica.events.on('changed', ({ key, container }) => {
      this.candidates.delete(key)
      this.consider(key, container)
    })
    peers.events.on('up', () => {
      this.lastUpAt = clock.now()
    })
    peers.handle(
      'Reap',
      guarded(onError, async ({ entries, commit, left }: MessageOf<'Reap'>) => {
        const lives = new Map(left)
        const agreed = await this.agreeing(entries.map(([key, digest]) => ({ key, digest, left: lives.get(key) })))
        if (commit) await this.forget(agreed)
        // A power cut after the others have forgotten must not take this disk back behind what it agreed to.
        else if (agreed.length > 0) await this.replica.flush()
        return { type: 'ReapReply', agreed: agreed.map(({ key }) => key) }
      }),
    )
  }

  start(): void {
    this.timer = this.clock.setTimer(this.tuning.reapAfterMs / 2, () => {
      void this.round()
        .catch(this.onError)
        .then(() => this.timer && this.start())
    })
  }

  stop(): void {
    this.timer?.()
    this.timer = undefined
  }

  /** How many keys are waited for. */
  get pending(): number {
    return this.candidates.size
  }

  /** A container that was written, or that a scrub came across. */
  consider(key: StoreKey, container: Container): void {
    if (!hasSomethingToForget(container)) this.candidates.delete(key)
    else if (this.candidates.size < MAX_CANDIDATES && !this.candidates.has(key))
      this.candidates.set(key, this.clock.now())
  }

  private async round(): Promise<void> {
    const others = this.membership
      .all()
      .filter((record) => record.state !== 'left' && record.node !== this.routing.self)
    const everybodyIsHere = others.every((record) => record.state === 'up' && this.routing.isReachable(record.node))
    if (!everybodyIsHere) return
    const now = this.clock.now()
    if (now - this.lastUpAt < Math.min(MAX_TTL_MS, this.tuning.reapAfterMs)) return
    const old = now - this.tuning.reapAfterMs
    // Whoever is no home any more hears of no changes either. One that is a home again is told with them, or finds them with the scrub.
    for (const key of this.candidates.keys())
      if (!this.routing.homes(key).includes(this.routing.self)) this.candidates.delete(key)
    const keys = [...this.candidates]
      .filter(([key, since]) => since <= old && this.routing.homes(key)[0] === this.routing.self)
      .map(([key]) => key)
    for (let i = 0; i < keys.length; i += this.tuning.batchKeys)
      await this.reap(
        keys.slice(i, i + this.tuning.batchKeys),
        others.map((record) => record.node),
      )
  }

  private async reap(keys: StoreKey[], others: NodeId[]): Promise<void> {
    await this.background.turn('reap')
    const containers = await this.replica.readEach(keys)
    let entries = keys.flatMap((key, i) => {
      const container = containers[i]
      if (!container || !hasSomethingToForget(container) || this.mayConcernOthers(container)) return []
      return [entryOf(key, container)]
    })
    // Whatever does not come to an end now gets another turn later.
    for (const key of keys) this.candidates.delete(key)
    for (const { key } of entries) this.candidates.set(key, this.clock.now())
    entries = await this.agreeing(entries)
    if (entries.length > 0) await this.replica.flush()
    for (const commit of [false, true]) {
      if (entries.length === 0) return
      const answers = await Promise.all(others.map((node) => this.ask(node, entries, commit)))
      if (answers.some((agreed) => agreed === undefined)) return
      entries = entries.filter(({ key }) => answers.every((agreed) => agreed?.has(key)))
    }
    await this.forget(entries)
  }

  private async ask(node: NodeId, entries: Entry[], commit: boolean): Promise<Set<StoreKey> | undefined> {
    const message = {
      type: 'Reap',
      entries: entries.map(({ key, digest }): [StoreKey, Uint8Array] => [key, digest]),
      commit,
      left: entries.flatMap(({ key, left }): [StoreKey, Uint8Array][] => (left ? [[key, left]] : [])),
    } as const
    const reply = await this.peers.request(node, message, TIMEOUT_MS, 'background')
    return reply?.type === 'ReapReply' ? new Set(reply.agreed) : undefined
  }

  /** Of these, the ones that this node holds in exactly this state, or not at all, and without a hint or a put of them under way. */
  private async agreeing(entries: Entry[]): Promise<Entry[]> {
    if (!this.knowsForGood()) return []
    const containers = await this.replica.readEach(entries.map(({ key }) => key))
    const agreed = entries.filter(({ key, digest }, i) => {
      const container = containers[i]
      const theirs = digestsFromBytes(digest)[0]
      const { hints } = this.replica
      if (this.replica.mayHaveHint(key) || hints.isUnderWay(key) || !theirs || !container) return false
      if (isEmpty(container.context)) return !this.routing.homes(key).includes(this.routing.self)
      return sameDigest(digestOf(key, container), theirs)
    })
    await this.onAgreed(agreed.map(({ key, left }) => ({ key, left: left && digestsFromBytes(left)[0] })))
    return agreed
  }

  private async forget(entries: Entry[]): Promise<void> {
    await this.replica.settle(
      entries.flatMap(({ key, digest: bytes }) => {
        const digest = digestsFromBytes(bytes)[0]
        // What has been damaged since it was agreed on is for the scrub.
        const to = (container: Container | undefined) => (container ? forgotten(container) : 'keep')
        return digest ? [{ key, digest, to }] : []
      }),
    )
    // At every home, not only where it was asked for: nothing else tells that the record is gone.
    for (const { key } of entries) this.candidates.delete(key)
  }
}

function hasSomethingToForget(container: Container): boolean {
  const size = contextSize(container.context)
  // Nothing at all is no tombstone.
  if (size === 0) return false
  // Many versions need a long context; asking for the rest of it would never end.
  return !isLive(container) || (size > SMALL_CONTEXT && size > contextSize(withStableContextDropped(container).context))
}

function entryOf(key: StoreKey, container: Container): Entry {
  const bytesOf = (of: Container) => digestsToBytes([digestOf(key, of)])
  const left = forgotten(container)
  return { key, digest: bytesOf(container), left: left && bytesOf(left) }
}

/** Nothing at all of a deleted key; of any other, only what its present versions need. */
function forgotten(container: Container): Container | undefined {
  return isLive(container) ? withStableContextDropped(container) : undefined
}
