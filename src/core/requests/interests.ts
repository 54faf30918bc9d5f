/**
 * Who wants to hear of changes. A tab tells all peers which keys and prefixes its applications watch; a node on whose disk
 * such a key changes sends the key and the digest of what it now is, and the watching tab reads it if it does not know that state
 * yet. All homes tell, so one of them is enough; digests are small, and several within a moment share a message.
 */
import { Emitter } from '../emitter.js'
import type { CancelTimer, Clock, Digest } from '../environment.js'
import type { NodeId, StoreKey } from '../ids.js'
import type { Peers } from '../peers.js'
import { digestsFromBytes, digestsToBytes } from '../sync/merkle.js'
import type { Replica } from './replica.js'

/** Changes of one peer's interest within this time share a message. */
const GATHER_MS = 5
const MAX_TOLD = 4000

export interface Interest {
  /** An exact store key, or a prefix of store keys. */
  key?: StoreKey
  prefix?: string
}

export interface InterestEvents {
  /** A watched key is, somewhere, what this digest says. */
  changed: { key: StoreKey; digest: Digest }
  /** Changes may have been missed (a link came back): look again. */
  missed: { peer: NodeId }
}

export class Interests {
  readonly events = new Emitter<InterestEvents>()
  private readonly own = new Set<Interest>()
  private readonly theirs = new Map<NodeId, { keys: Set<StoreKey>; prefixes: string[] }>()
  private readonly outbox = new Map<NodeId, Map<StoreKey, Digest>>()
  private telling: CancelTimer | undefined

  constructor(
    replica: Replica,
    private readonly peers: Peers,
    private readonly clock: Clock,
  ) {
    replica.events.on('changed', ({ key, digest }) => this.localChange(key, digest))
    peers.handle('Interest', ({ keys, prefixes }, from) => {
      if (keys.length + prefixes.length === 0) this.theirs.delete(from)
      else this.theirs.set(from, { keys: new Set(keys), prefixes })
      return undefined
    })
    peers.handle('Changed', ({ entries }) => {
      for (const [key, bytes] of entries) {
        const digest = digestsFromBytes(bytes)[0]
        if (digest && this.isWatched(key)) this.events.emit('changed', { key, digest })
      }
      return undefined
    })
    peers.events.on('up', (node) => {
      if (this.own.size === 0) return
      this.tell(node)
      this.events.emit('missed', { peer: node })
    })
    peers.events.on('down', (node) => {
      this.theirs.delete(node)
      this.outbox.delete(node)
    })
  }

  /** @returns a function that ends the interest. */
  add(interest: Interest): () => void {
    this.own.add(interest)
    this.tellAll()
    return () => {
      this.own.delete(interest)
      this.tellAll()
    }
  }

  stop(): void {
    this.telling?.()
  }

  private isWatched(key: StoreKey): boolean {
    for (const interest of this.own)
      if (interest.key === key || (interest.prefix !== undefined && key.startsWith(interest.prefix))) return true
    return false
  }

  private tellAll(): void {
    for (const node of this.peers.reachable()) this.tell(node)
  }

  private tell(node: NodeId): void {
    const keys: StoreKey[] = []
    const prefixes: string[] = []
    for (const { key, prefix } of this.own) {
      if (key !== undefined) keys.push(key)
      else if (prefix !== undefined) prefixes.push(prefix)
    }
    this.peers.notify(node, { type: 'Interest', keys, prefixes }, 'foreground')
  }

  private localChange(key: StoreKey, digest: Digest): void {
    if (this.isWatched(key)) this.events.emit('changed', { key, digest })
    for (const [node, interest] of this.theirs) {
      if (!interest.keys.has(key) && !interest.prefixes.some((prefix) => key.startsWith(prefix))) continue
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
        this.peers.notify(node, { type: 'Changed', entries: entries.slice(i, i + MAX_TOLD) }, 'foreground')
      }
    }
    this.outbox.clear()
  }
}
