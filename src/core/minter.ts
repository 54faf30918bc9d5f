/**
 * Mints the dots of this node's puts. The actor is new in every life of the process, and within it each key counts 1, 2, 3 …, so a dot is never
 * issued twice and needs no look at the disk (P2, P3, P12, P13): not after a crash, a rolled back or copied disk, a
 * reaped tombstone or a lost record.
 *
 * What it has been is kept on the disk for another reason: a node that has met nobody may forget alone what was minted here, and nothing else. An actor
 * that is not noted there counts as somebody else's, which keeps tombstones and loses nothing.
 */
import type { Random } from './environment.js'
import { type ActorId, type NodeId, type StoreKey, actorOf } from './ids.js'
import { restored } from './meta.js'
import type { Container } from './versions/container.js'
import type { CausalContext, Dot } from './versions/context.js'
import { encodeMessagePack } from './versions/messagepack.js'
import { list, text } from './wire.js'

/** Keys whose counters are remembered; beyond, a fresh actor starts all counters anew. */
const MAX_KEYS = 50_000
const RANDOM_LENGTH = 8
/** As many actors are remembered: those of some years, if the tab is opened every day. */
const MAX_ACTORS = 1000

const actors = list(text<ActorId>(32), MAX_ACTORS)

export class Minter {
  private actor: ActorId
  private readonly counters = new Map<StoreKey, number>()
  /** What it was before, in this life and others, since the disk is this one. */
  private former: ActorId[] = []

  constructor(
    private readonly node: NodeId,
    private readonly random: Random,
    /** It has become another one in the midst of a life. */
    private readonly onFresh: () => void = () => {},
  ) {
    this.actor = this.freshActor()
  }

  mint(key: StoreKey): Dot {
    if (this.counters.size >= MAX_KEYS && !this.counters.has(key)) {
      this.former.push(this.actor)
      this.startAnew()
    }
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

  /** Takes up what is on the disk of its former lives there. */
  restore(stored: Uint8Array | undefined): void {
    this.former = restored(stored, actors) ?? []
  }

  encodedActors(): Uint8Array {
    return encodeMessagePack([...this.former, this.actor].slice(-MAX_ACTORS))
  }

  /** Whether all of it was minted here, as far as this disk remembers: of what it has told nobody, nobody else has anything. */
  mintedAll(context: CausalContext): boolean {
    const own = new Set([...this.former, this.actor])
    return [...context.vector.keys(), ...context.cloud.keys()].every((actor) => own.has(actor))
  }

  /** The disk is another one, on which nothing is of what was issued before. */
  lost(): void {
    this.former = []
    this.becomeAnother()
  }

  private startAnew(): void {
    this.becomeAnother()
    this.onFresh()
  }

  private becomeAnother(): void {
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
