/**
 * Puts of this tab that some home has not confirmed, and for which its full disk took no hint either (§4.6). Others hold them; but nothing here would
 * tell when all homes do. Kept in memory, by their dots only: once the home is back it is given what others hold of the key.
 */
import type { Background } from '../background.js'
import type { CancelTimer, Clock } from '../environment.js'
import type { NodeId, StoreKey } from '../ids.js'
import { type Message, mayTravel } from '../messages.js'
import type { Peers } from '../peers.js'
import type { Forgettings } from '../sync/forgettings.js'
import type { Tuning } from '../tuning.js'
import type { Container } from '../versions/container.js'
import { type Dot, covers } from '../versions/context.js'
import { encodeContainer } from '../versions/encoding.js'
import type { Replica } from './replica.js'
import type { Routing } from './routing.js'

interface Missed {
  dots: Dot[]
  homes: Set<NodeId>
  /** Of `forgettings`, when the last of them was added. */
  asked: number
}

interface UnhintedContext {
  routing: Routing
  peers: Peers
  replica: Replica
  forgettings: Forgettings
  background: Background
  clock: Clock
  tuning: Tuning
}

export class Unhinted {
  private readonly missed = new Map<StoreKey, Missed>()
  private timer: CancelTimer | undefined
  private stopped = false

  constructor(
    private readonly context: UnhintedContext,
    private readonly read: (key: StoreKey) => Promise<Container>,
    private readonly onFewer: () => void,
  ) {}

  /** Keys with such a put. */
  get size(): number {
    return this.missed.size
  }

  add(key: StoreKey, dot: Dot, homes: readonly NodeId[]): void {
    const { dots = [], homes: former = [] } = this.missed.get(key) ?? {}
    const { now: asked } = this.context.forgettings
    this.missed.set(key, { dots: [...dots, dot], homes: new Set([...former, ...homes]), asked })
    this.lookSoon()
  }

  stop(): void {
    this.stopped = true
    this.timer?.()
  }

  private lookSoon(): void {
    if (this.stopped || this.missed.size === 0) return
    this.timer ??= this.context.clock.setTimer(this.context.tuning.handoffIntervalMs, () => {
      void this.look().then(() => {
        this.timer = undefined
        this.lookSoon()
      })
    })
  }

  private async look(): Promise<void> {
    const { routing, replica, forgettings } = this.context
    /** Homes that did not take one of them, whose disk is full as well perhaps, are not asked for each of the others. */
    const refusing = new Set<NodeId>()
    for (const [key, missed] of [...this.missed]) {
      if (this.stopped) return
      const homes = routing.homes(key)
      for (const home of missed.homes) if (!homes.includes(home)) missed.homes.delete(home)
      // All members have agreed that they have it, and nobody has anything of it any more.
      if (forgettings.since(missed.asked, key)) missed.homes.clear()
      const mayTake = (home: NodeId) => routing.isReachable(home) && !refusing.has(home)
      const isWorthIt = !replica.pressure.hasRefused || [...missed.homes].some(mayTake)
      // Whatever fails is tried again; that the disk is full, the put has told.
      if (isWorthIt) await this.bring(key, missed, refusing).catch(() => {})
      if (missed.homes.size > 0 || this.missed.get(key) !== missed) continue
      this.missed.delete(key)
      this.onFewer()
    }
  }

  private async bring(key: StoreKey, { dots, homes }: Missed, refusing: Set<NodeId>): Promise<void> {
    const { routing, peers, replica, forgettings, background, tuning } = this.context
    if (homes.size === 0) return
    await background.turn('hints')
    // What is forgotten from now on must not be brought back.
    const { now: begun } = forgettings
    const container = await this.read(key)
    const bytes = encodeContainer(container)
    if (!dots.every((dot) => covers(container.context, dot)) || !mayTravel(bytes)) return
    const entries: [StoreKey, Uint8Array][] = [[key, bytes]]
    const message: Message = { type: 'Store', entries, hintFor: [], strict: true, fresh: false }
    for (const home of homes) {
      if (!routing.isReachable(home) || refusing.has(home) || forgettings.since(begun, key)) continue
      const reply = await peers.request(home, message, tuning.requestTimeoutMs, 'background')
      if (reply?.type === 'Stored') homes.delete(home)
      else refusing.add(home)
    }
    if (homes.size === 0 || forgettings.since(begun, key)) return
    const options = { asRecord: false, hintFor: [...homes], own: true, durability: 'strict', maxSiblings: 0 } as const
    await replica.store([{ key, container }], options)
    homes.clear()
  }
}
