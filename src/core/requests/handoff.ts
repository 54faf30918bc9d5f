/**
 * Hinted handoff (§4.6): hints wait in their own store and go to their home as soon as it answers again, before any other background work.
 * A hint is deleted when its home confirmed it, and re-routed when its home is no longer one (P25).
 */

import type { Background } from '../background.js'
import { Emitter } from '../emitter.js'
import { type CancelTimer, type Clock, StorageFailure } from '../environment.js'
import type { NodeId, StoreKey } from '../ids.js'
import { mayTravel } from '../messages.js'
import type { Peers } from '../peers.js'
import type { Entry, Replica } from '../replica/replica.js'
import type { Routing } from '../routing.js'
import type { Tuning } from '../tuning.js'
import type { Container } from '../versions/container.js'
import { decodeContainer, ifPossible } from '../versions/encoding.js'

const DELIVERY_TIMEOUT_MS = 10_000

export interface HandoffEvents {
  /** A batch reached its home. */
  delivered: { home: NodeId; keys: number; left: number }
}

/** A hint on its way. */
type Given = Entry & { bytes: Uint8Array }

export class Handoff {
  readonly events = new Emitter<HandoffEvents>()
  private readonly busy = new Set<NodeId>()
  private rerouting = false
  /** The placement changed once more meanwhile. */
  private rerouteAgain = false
  private timer: CancelTimer | undefined
  private stopped = false

  constructor(
    private readonly replica: Replica,
    private readonly routing: Routing,
    private readonly peers: Peers,
    private readonly background: Background,
    private readonly clock: Clock,
    private readonly tuning: Tuning,
    private readonly onError: (error: unknown) => void,
  ) {
    peers.events.on('up', (node) => this.deliverTo(node))
  }

  /** Besides the moment when a home comes back: hints of a restarted holder, or of a batch that failed (P26). */
  start(): void {
    this.timer = this.clock.setTimer(this.tuning.handoffIntervalMs, () => {
      this.start()
      for (const home of this.replica.hints.homes()) this.deliverTo(home)
      // A put that began before a change of the placement may leave its hints after everything was re-routed.
      if (this.replica.hints.homes().some((home) => !this.canReceive(home))) this.reroute().catch(this.onError)
      this.replica.noteTargets().catch(this.onError)
    })
  }

  stop(): void {
    this.stopped = true
    this.timer?.()
  }

  /** Starts delivering to one home, unless that is going on already. */
  deliverTo(home: NodeId): void {
    if (this.stopped || this.busy.has(home) || home === this.routing.self) return
    this.busy.add(home)
    this.deliver(home).then(
      () => this.busy.delete(home),
      (error) => {
        this.busy.delete(home)
        this.onError(error)
      },
    )
  }

  /** After a change of the placement: hints for nodes that are no home of their key any more go to the present homes. */
  async reroute(): Promise<void> {
    this.rerouteAgain = this.rerouting
    if (this.rerouting) return
    this.rerouting = true
    try {
      for (const key of this.replica.hints.keys()) {
        const homes = this.routing.homes(key)
        if (this.replica.hints.homesOf(key).every((home) => homes.includes(home) && home !== this.routing.self))
          continue
        // A record is in the Merkle tree, for all to see. What is just being taken out of the row is looked at again with the next round.
        const isHome = homes.includes(this.routing.self)
        if (isHome && !this.replica.hints.mayBeShown(key)) continue
        const kept = isHome ? await this.keepAsRecord(key) : undefined
        const others = homes.filter((home) => home !== this.routing.self)
        await this.replica.retargetHint(key, others, kept)
      }
    } finally {
      this.rerouting = false
    }
    if (this.rerouteAgain && !this.stopped) await this.reroute()
  }

  /**
   * Before this node leaves for good: hints for homes that are away go to others, which keep them as they would those of their own puts, and as
   * replicas where they are homes of the key.
   */
  async passOn(isAway: (home: NodeId) => boolean): Promise<void> {
    for (const home of this.replica.hints.homes().filter(isAway)) {
      const keys = this.replica.hints.keysFor(home, this.tuning.batchKeys)
      const entries = await this.batch(keys)
      const byHolder = new Map<NodeId, typeof entries>()
      for (const entry of entries) {
        const holder = this.routing.targets(entry.key).find(({ node }) => node !== this.routing.self)?.node
        if (holder !== undefined) byHolder.set(holder, [...(byHolder.get(holder) ?? []), entry])
      }
      for (const [holder, given] of byHolder) {
        await this.background.turn('hints')
        await this.give(given, holder, home)
      }
    }
  }

  private async give(entries: Given[], holder: NodeId, home: NodeId): Promise<void> {
    for (const asReplica of [true, false]) {
      const some = entries.filter(({ key }) => this.routing.homes(key).includes(holder) === asReplica)
      if (some.length === 0) continue
      if (await this.storeAt(holder, some, asReplica ? [home, holder] : [home]))
        await this.replica.hintDelivered(some, [home])
    }
  }

  /** Sends hints to where they are to be kept. @returns whether they are on the disk there. */
  private async storeAt(at: NodeId, hints: Given[], hintFor: NodeId[]): Promise<boolean> {
    const entries = hints.map(({ key, bytes }): [StoreKey, Uint8Array] => [key, bytes])
    const message = { type: 'Store', entries, hintFor, strict: true, fresh: false } as const
    return (await this.peers.request(at, message, DELIVERY_TIMEOUT_MS, 'background'))?.type === 'Stored'
  }

  private canReceive(home: NodeId): boolean {
    return home !== this.routing.self && this.routing.isPlaced(home)
  }

  /** @returns what is in the record now, of what was in the row. */
  private async keepAsRecord(key: StoreKey): Promise<Container | undefined> {
    const [row] = await this.replica.storage.getHints([key])
    const container = row && ifPossible(() => decodeContainer(row.container))
    if (!container) return undefined
    await this.replica.storeRecords([{ key, container }], 'strict')
    return container
  }

  private async deliver(home: NodeId): Promise<void> {
    while (!this.stopped && this.routing.isReachable(home)) {
      const keys = this.replica.hints.keysFor(home, this.tuning.batchKeys)
      if (keys.length === 0) return
      await this.background.turn('hints')
      const entries = await this.batch(keys)
      // None: what there is is under way, or was damaged or gone.
      if (entries.length === 0 || !(await this.storeAt(home, entries, []))) return
      await this.replica.hintDelivered(entries, [home])
      this.events.emit('delivered', { home, keys: entries.length, left: this.replica.hints.keysFor(home, 1).length })
    }
  }

  private async batch(keys: StoreKey[]): Promise<Given[]> {
    const { hints } = this.replica
    const { withdrawn } = hints
    const rows = await this.replica.storage.getHints(keys)
    if (hints.withdrawn !== withdrawn) return this.batch(keys)
    const entries: Given[] = []
    const unusable: StoreKey[] = []
    let bytes = 0
    for (let i = 0; i < keys.length; i++) {
      const key = keys[i] as StoreKey
      const row = rows[i]
      if (!row) {
        unusable.push(key)
        continue
      }
      if (entries.length > 0 && bytes + row.container.length > this.tuning.batchBytes) break
      // A put that has begun since the key was chosen sends itself, and may yet be refused and taken out of the row.
      if (hints.isUnderWay(key) || !mayTravel(row.container)) continue
      const container = ifPossible(() => decodeContainer(row.container))
      if (!container) {
        unusable.push(key)
        continue
      }
      bytes += row.container.length
      entries.push({ key, container, bytes: row.container })
    }
    await this.forgetUnusable(unusable)
    return entries
  }

  /**
   * The others must not wait for ever behind what nobody can take: a row that is gone leaves the index as well, and one that is damaged is dropped. One
   * that has been written meanwhile is as good as any.
   */
  private async forgetUnusable(keys: StoreKey[]): Promise<void> {
    const damaged = new Set<StoreKey>()
    const updates = keys.map((key) =>
      this.replica.hints.tracked({
        key,
        apply: (current) => {
          damaged.delete(key)
          if (!current || ifPossible(() => decodeContainer(current.container))) return current
          damaged.add(key)
          return undefined
        },
      }),
    )
    await this.replica.commitTargets(updates, () => {
      for (const { done } of updates) done()
      return () => this.forgetUnusable(keys)
    })
    for (const _ of damaged) this.onError(new StorageFailure('corrupt', 'a hint is damaged; it is dropped'))
  }
}
