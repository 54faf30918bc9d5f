/**
 * Who wants to hear of changes. A tab tells all peers which keys and prefixes its applications watch; a node on whose disk
 * such a key changes sends the key and the digest of what it now is, and the watching tab reads it if it does not know that state
 * yet. All homes tell, so one of them is enough; digests are small, and several within a moment share a message.
 */
import { Emitter } from '../emitter.js'
import type { CancelTimer, Clock, Digest } from '../environment.js'
import type { NodeId, StoreKey } from '../ids.js'
import type { MessageOf } from '../messages.js'
import type { Peers } from '../peers.js'
import { digestsFromBytes, digestsToBytes } from '../replica/merkle.js'
import type { Replica } from '../replica/replica.js'

/** Changes for one peer within this time share a message; so do changes of what is watched here. */
const GATHER_MS = 5
const MAX_TOLD = 4000
/** How long it takes until a peer whose queue was full is told what it was not. */
const TELL_AGAIN_MS = 500
/** More watches, or longer ones (in characters, together), are an interest in everything: changes that nobody watches are passed over here. */
const MAX_WATCHED = 1000
const MAX_WATCHED_LENGTH = 250_000
const EVERYTHING: ReadonlySet<string> = new Set([''])

export interface Interest {
  /** An exact store key, or a prefix of store keys. */
  key?: StoreKey
  prefix?: string
}

export interface InterestEvents {
  /** A watched key is, somewhere, what this digest says. */
  changed: { key: StoreKey; digest: Digest }
  /** Changes may have been missed (a link came back, or this tab stood still): look again. */
  missed: undefined
}

export class Interests {
  readonly events = new Emitter<InterestEvents>()
  private readonly own = new Set<Interest>()
  /** Peers that are out of reach may still know of one, also when there are none any more. */
  private hadAny = false
  /** Of all own ones together, in characters. */
  private length = 0
  private readonly theirs = new Map<NodeId, { keys: Set<StoreKey>; prefixes: ReadonlySet<string> }>()
  private readonly outbox = new Map<NodeId, Map<StoreKey, Digest>>()
  /** Peers that could not be told of some change, as the queue to them was full. */
  private readonly untold = new Set<NodeId>()
  private telling: CancelTimer | undefined
  private tellingAgain: CancelTimer | undefined
  /** Peers that could not be told what is watched here. */
  private readonly unasked = new Set<NodeId>()
  private tellingAll: CancelTimer | undefined

  constructor(
    replica: Replica,
    private readonly peers: Peers,
    private readonly clock: Clock,
  ) {
    replica.events.on('changed', ({ key, digest }) => this.localChange(key, digest))
    peers.handle('Interest', ({ keys, prefixes, added }, from) => {
      const former = added ? this.theirs.get(from) : undefined
      const all = {
        keys: new Set([...(former?.keys ?? []), ...keys]),
        prefixes: new Set([...(former?.prefixes ?? []), ...prefixes]),
      }
      // Its own limit, twice: it tells at once what it watches more, and a moment later what it watches less.
      if (all.keys.size + all.prefixes.size > 2 * MAX_WATCHED)
        this.theirs.set(from, { keys: new Set(), prefixes: EVERYTHING })
      else if (all.keys.size + all.prefixes.size > 0) this.theirs.set(from, all)
      else this.theirs.delete(from)
      return undefined
    })
    peers.handle('Changed', ({ entries }) => {
      if (entries.length === 0) this.events.emit('missed', undefined)
      for (const [key, bytes] of entries) {
        const digest = digestsFromBytes(bytes)[0]
        if (digest && this.isWatched(key)) this.events.emit('changed', { key, digest })
      }
      return undefined
    })
    for (const type of ['up', 'renewed'] as const) {
      peers.events.on(type, (node) => {
        if (!this.hadAny) return
        this.ask(node, this.message())
        this.events.emit('missed', undefined)
      })
    }
    // No link need have ended, and what was told meanwhile may have waited for longer than a frame lives.
    peers.events.on('woke', () => {
      if (this.hadAny) this.events.emit('missed', undefined)
    })
    peers.events.on('ended', (node) => {
      this.theirs.delete(node)
      this.outbox.delete(node)
      this.untold.delete(node)
      this.unasked.delete(node)
    })
  }

  /**
   * The homes hear of it at once: whoever reads the key next must not miss a change behind its back.
   * @returns a function that ends the interest.
   */
  add(interest: Interest): () => void {
    const hadAll = this.wantsEverything
    this.own.add(interest)
    this.hadAny = true
    this.length += lengthOf(interest)
    if (!hadAll) {
      const message = this.wantsEverything ? this.message() : messageOf([interest], true)
      for (const node of this.peers.reachable()) this.ask(node, message)
    }
    return () => {
      if (!this.own.delete(interest)) return
      this.length -= lengthOf(interest)
      this.tellingAll ??= this.clock.setTimer(GATHER_MS, () => {
        this.tellingAll = undefined
        for (const node of this.peers.reachable()) this.ask(node, this.message())
      })
    }
  }

  stop(): void {
    this.telling?.()
    this.tellingAll?.()
    this.tellingAgain?.()
  }

  private isWatched(key: StoreKey): boolean {
    for (const interest of this.own) if (isAbout(interest, key)) return true
    return false
  }

  private get wantsEverything(): boolean {
    return this.own.size > MAX_WATCHED || this.length > MAX_WATCHED_LENGTH
  }

  private ask(node: NodeId, message: MessageOf<'Interest'>): void {
    if (this.peers.notify(node, message, 'foreground')) return
    this.unasked.add(node)
    this.tellAgain()
  }

  /** All that is watched here. */
  private message(): MessageOf<'Interest'> {
    return this.wantsEverything
      ? { type: 'Interest', keys: [], prefixes: [...EVERYTHING], added: false }
      : messageOf(this.own, false)
  }

  private localChange(key: StoreKey, digest: Digest): void {
    if (this.isWatched(key)) this.events.emit('changed', { key, digest })
    for (const [node, interest] of this.theirs) {
      if (!interest.keys.has(key) && ![...interest.prefixes].some((prefix) => key.startsWith(prefix))) continue
      const changes = this.outbox.get(node) ?? new Map<StoreKey, Digest>()
      this.outbox.set(node, changes.set(key, digest))
      this.telling ??= this.clock.setTimer(GATHER_MS, () => this.flush())
    }
  }

  private flush(): void {
    this.telling = undefined
    for (const [node, changes] of this.outbox) {
      const entries = [...changes].map(([key, digest]): [StoreKey, Uint8Array] => [key, digestsToBytes([digest])])
      for (let i = 0; i < entries.length; i += MAX_TOLD) {
        const message = { type: 'Changed', entries: entries.slice(i, i + MAX_TOLD) } as const
        if (!this.peers.notify(node, message, 'foreground')) this.untold.add(node)
      }
    }
    this.outbox.clear()
    this.tellAgain()
  }

  /** Not what has changed, which would gather here as long as nothing leaves: that something has. */
  private tellAgain(): void {
    if (this.untold.size === 0 && this.unasked.size === 0) return
    this.tellingAgain ??= this.clock.setTimer(TELL_AGAIN_MS, () => {
      this.tellingAgain = undefined
      for (const node of this.untold)
        if (this.peers.notify(node, { type: 'Changed', entries: [] }, 'foreground')) this.untold.delete(node)
      for (const node of this.unasked) {
        if (!this.peers.notify(node, this.message(), 'foreground')) continue
        this.unasked.delete(node)
        this.events.emit('missed', undefined)
      }
      this.tellAgain()
    })
  }
}

/** Whether a change of that key is of interest. */
export function isAbout({ key, prefix }: Interest, changed: StoreKey): boolean {
  return key === changed || (prefix !== undefined && changed.startsWith(prefix))
}

function lengthOf({ key, prefix }: Interest): number {
  return (key ?? prefix ?? '').length
}

function messageOf(interests: Iterable<Interest>, added: boolean): MessageOf<'Interest'> {
  const keys = new Set<StoreKey>()
  const prefixes = new Set<string>()
  for (const { key, prefix } of interests) {
    if (key !== undefined) keys.add(key)
    else if (prefix !== undefined) prefixes.add(prefix)
  }
  return { type: 'Interest', keys: [...keys], prefixes: [...prefixes], added }
}
