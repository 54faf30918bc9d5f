/**
 * Mints the dots of this node's puts. The actor is new in every life of the process, and within it each key counts 1, 2, 3 …, so a dot is never
 * issued twice and needs no look at the disk (P2, P3, P12, P13): not after a crash, a rolled back or copied disk, a
 * reaped tombstone or a lost record.
 */
import type { Random } from './environment.js'
import { type ActorId, type NodeId, type StoreKey, actorOf } from './ids.js'
import type { Container } from './versions/container.js'
import type { CausalContext, Dot } from './versions/context.js'

/** Keys whose counters are remembered; beyond, a fresh actor starts all counters anew. */
const MAX_KEYS = 50_000
const RANDOM_LENGTH = 8

export class Minter {
  private actor: ActorId
  private readonly counters = new Map<StoreKey, number>()

  constructor(
    private readonly node: NodeId,
    private readonly random: Random,
  ) {
    this.actor = this.freshActor()
  }

  mint(key: StoreKey): Dot {
    if (this.counters.size >= MAX_KEYS && !this.counters.has(key)) this.startAnew()
    const counter = (this.counters.get(key) ?? 0) + 1
    this.counters.set(key, counter)
    return { actor: this.actor, counter }
  }

  /** The last one of the key, as far as it is remembered. */
  last(key: StoreKey): Dot | undefined {
    const counter = this.counters.get(key)
    return counter === undefined ? undefined : { actor: this.actor, counter }
  }

  /** An incoming container that knows more of this actor than it has issued means that somebody else runs as this actor: give it up. */
  observe(key: StoreKey, container: Container): void {
    if (highest(container.context, this.actor) > (this.counters.get(key) ?? 0)) this.startAnew()
  }

  /** Takes a new epoch: what was issued before is no longer on the disk to be continued. */
  startAnew(): void {
    this.actor = this.freshActor()
    this.counters.clear()
  }

  private freshActor(): ActorId {
    return actorOf(this.node, this.random.id(RANDOM_LENGTH))
  }
}

function highest(context: CausalContext, actor: ActorId): number {
  let most = context.vector.get(actor) ?? 0
  // No spreading into Math.max: a peer may send more dots than a call takes arguments.
  for (const counter of context.cloud.get(actor) ?? []) if (counter > most) most = counter
  return most
}
