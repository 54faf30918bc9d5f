/**
 * Makes and remakes links: who dials whom and when, offers and answers, time-outs and back-off. The node with the greater
 * id always dials, so that two never dial each other at once; the other one asks to be called. A page that reloads comes
 * with a new session, and its first signal ends the dead link of the former one. Relied on by the mesh, which tells it
 * who is worth a link and carries its signals.
 *
 * Invariant: at most one link per peer; a signal of an older session or attempt changes nothing.
 */
import type { NodeId } from '../../core/ids.js'
import { connectionWasRefused, mayCreateConnection } from './budget.js'
import type { QueueBytes } from './flow.js'
import { Link } from './link.js'
import type { LinkLane } from './packets.js'
import type { Peer } from './peer.js'
import { type Signal, checkSignal } from './signals.js'

const DIAL_TIMEOUT_MS = 10_000
/** How long a call may stay without an offer. */
const CALL_TIMEOUT_MS = 3000
const FIRST_DELAY_MS = 500
/** Short, because a cut that ends should be over within seconds; after PATIENT_FAILURES the long one holds. */
const MAX_DELAY_MS = 4000
const PATIENT_FAILURES = 8
/** A peer that has no place counts like one that failed so often. */
const BUSY_FAILURES = 3
const LONG_DELAY_MS = 30_000
/** A link that lived so long was a good one. */
const GOOD_AFTER_MS = 5000
const WAKE_INTERVAL_MS = 1000
const MAX_EARLY = 16
const REMEMBERED_SIGNALS = 128
const REMEMBERED_SESSIONS = 8
/** A session that took another one's place and is silent for so long may be the former one itself, whose word came late. */
const SILENT_MS = 60_000

type Outgoing = Signal extends infer S ? (S extends Signal ? Omit<S, 'session' | 'n'> : never) : never

export interface DialerOptions {
  self: NodeId
  session: string
  iceServers: RTCIceServer[]
  /** Is there a place for a link to this peer? `links` are in use. */
  hasPlace(peer: Peer, links: number): boolean
  /** Drops another link for it, if the peer is worth that. False when there is no place still. */
  makePlace(peer: Peer): boolean
  queueBytes: QueueBytes
  peers: ReadonlyMap<NodeId, Peer>
  /** Is a direct link to this node wanted at all? */
  worthDialing(peer: Peer): boolean
  allowDirect(node: NodeId): boolean
  /** Is there a way for signals? */
  reaches(node: NodeId): boolean
  sendSignal(peer: Peer, signal: Signal): void
  onOpen(peer: Peer): void
  onFrame(peer: Peer, lane: LinkLane, relayed: boolean, frame: Uint8Array): void
  /** A link that was open is gone. It is said in the midst of a change: whoever is to be dialed because of it is considered later. */
  onClosed(peer: Peer): void
  /** A dial came to nothing. */
  onFailed(peer: Peer): void
  /** The peer's page was loaded again since we knew it. */
  onNewSession(peer: Peer): void
}

export class Dialer {
  /** Nothing is dialed or accepted before the start and after the stop. */
  active = false
  private attempts = 0
  private wokenAt = Number.NEGATIVE_INFINITY

  constructor(private readonly options: DialerOptions) {}

  get links(): number {
    let count = 0
    for (const peer of this.options.peers.values()) if (peer.link) count++
    return count
  }

  /** Dials or calls the peer if there is reason to, and nothing under way. */
  consider(peer: Peer): void {
    const { options } = this
    const { node } = peer
    if (!this.active || peer.link || peer.timer !== undefined) return
    if (!options.worthDialing(peer) || !options.reaches(node) || !this.welcome(peer)) return
    if (options.self > node) {
      if (!this.mayConnect(peer)) {
        this.failed(peer, LONG_DELAY_MS)
        return
      }
      this.make(peer, `${options.session}.${++this.attempts}`, true)
    } else {
      this.arm(peer, CALL_TIMEOUT_MS, () => this.failed(peer))
      this.say(peer, { type: 'call', link: peer.lastLink })
    }
  }

  /** Tells all linked peers that this page goes away. The links are dropped by the caller. */
  stop(): void {
    for (const peer of this.options.peers.values()) {
      if (peer.link) this.say(peer, { type: 'bye', link: peer.link.id })
    }
    this.active = false
  }

  /** A good moment to try again what failed: the network or the page came back. */
  wake(): void {
    const now = performance.now()
    if (now - this.wokenAt < WAKE_INTERVAL_MS) return
    this.wokenAt = now
    for (const peer of this.options.peers.values()) {
      if (peer.link || now < peer.blockedUntil) continue
      peer.failures = 0
      this.disarm(peer)
      this.consider(peer)
    }
  }

  /** Ends the link, if any, as if it had failed; nothing is dialed because of it. */
  drop(peer: Peer, now = false): void {
    const { link } = peer
    this.disarm(peer)
    if (!link) return
    const wasOpen = link.open
    link.close(now)
    peer.link = undefined
    peer.lastLink = link.id
    if (wasOpen) this.options.onClosed(peer)
  }

  /** Ends the link and takes none for a while, unless the peer's page is loaded again. */
  block(peer: Peer, ms: number): void {
    peer.blockedUntil = performance.now() + ms
    this.drop(peer)
    this.arm(peer, ms, () => this.consider(peer))
  }

  receive(peer: Peer, payload: unknown): void {
    const signal = checkSignal(payload)
    if (!this.active || !signal || !this.meet(peer, signal.session)) return
    if (peer.seen.has(signal.n)) return
    peer.seen.add(signal.n)
    if (peer.seen.size > REMEMBERED_SIGNALS) peer.seen.delete(peer.seen.values().next().value as number)
    const { link } = peer
    const current = link?.id === signal.link
    if (signal.type === 'bye') {
      peer.gone = true
      this.drop(peer)
      return
    }
    peer.gone = false
    switch (signal.type) {
      case 'offer':
        this.offered(peer, signal)
        return
      case 'answer':
        if (!current || !link.initiator || link.answered) return
        link.answered = true
        link.session = signal.session
        link.signal({ type: 'answer', sdp: signal.sdp })
        return
      case 'candidate':
        if (current) link.signal({ type: 'candidate', candidate: signal.candidate })
        // Later than its link, and worth nothing, or earlier than its offer: the latest count.
        else if (peer.early.push(signal) > MAX_EARLY) peer.early.shift()
        return
      case 'busy':
        // The answer to an offer, or to a call.
        if (link ? !current || link.open : signal.link !== peer.lastLink) return
        this.drop(peer)
        peer.failures = Math.max(peer.failures, BUSY_FAILURES)
        this.failed(peer)
        return
      case 'call':
        this.called(peer, signal.link)
        return
    }
  }

  /** Notes which life of its page a peer is in. False when it is a former one: then nothing of it counts any more. */
  meet(peer: Peer, session: string): boolean {
    const now = performance.now()
    const isPresent = peer.session === session
    const heardAt = Math.max(peer.metAt, peer.link?.heardAt ?? 0)
    if (!isPresent && peer.retired.includes(session) && now - heardAt < SILENT_MS) return false
    peer.metAt = now
    if (isPresent) return true
    if (peer.session !== undefined) {
      peer.retired.push(peer.session)
      if (peer.retired.length > REMEMBERED_SESSIONS) peer.retired.shift()
    }
    const restarted = peer.session !== undefined
    peer.session = session
    peer.attempt = 0
    peer.seen.clear()
    if (restarted) {
      // What it was rejected for ended with its former page: an application that was mended comes by a reload.
      if (now < peer.blockedUntil) this.disarm(peer)
      peer.blockedUntil = 0
      peer.lostOffers = 0
      peer.restartedAt = now
      this.options.onNewSession(peer)
    }
    // The page behind this link is gone, whatever the link says.
    if (peer.link?.session !== undefined && peer.link.session !== session) {
      this.drop(peer)
      this.consider(peer)
    }
    return true
  }

  private called(peer: Peer, deadLink: string): void {
    const { self } = this.options
    const { link } = peer
    if (self < peer.node) return
    // Otherwise the call is older than the link that we have or make; or the offer was lost, for who has it does not call.
    const isLost = link && !link.answered && performance.now() - peer.dialedAt > CALL_TIMEOUT_MS * (1 + peer.lostOffers)
    if (link && link.id !== deadLink && !isLost) return
    // Who never gets an offer is not dialed at each of its calls.
    if (isLost) peer.lostOffers++
    peer.failures = 0
    this.drop(peer)
    if (this.welcome(peer)) this.consider(peer)
    else this.say(peer, { type: 'busy', link: deadLink })
  }

  private offered(peer: Peer, { link, session, sdp }: { link: string; session: string; sdp: string }): void {
    const { self } = this.options
    const [owner, attempt] = link.split('.')
    if (peer.node < self || owner !== session || !(Number(attempt) > peer.attempt)) return
    peer.attempt = Number(attempt)
    this.drop(peer)
    if (!this.welcome(peer) || !this.mayConnect(peer)) {
      this.say(peer, { type: 'busy', link })
      return
    }
    const made = this.make(peer, link, false)
    made.session = session
    made.signal({ type: 'offer', sdp })
    for (const signal of peer.early.splice(0)) {
      if (signal.type === 'candidate' && signal.link === link)
        made.signal({ type: 'candidate', candidate: signal.candidate })
    }
  }

  /** May there be a link to this peer now? A place for it is made, if need be. */
  private welcome(peer: Peer): boolean {
    const { allowDirect, hasPlace, makePlace } = this.options
    if (performance.now() < peer.blockedUntil || !allowDirect(peer.node)) return false
    return hasPlace(peer, this.links) || makePlace(peer)
  }

  private mayConnect(peer: Peer): boolean {
    return mayCreateConnection(performance.now(), peer.dialedAt > Math.max(peer.openedAt, peer.restartedAt))
  }

  private make(peer: Peer, id: string, initiator: boolean): Link {
    const { options } = this
    const link = new Link({
      id,
      initiator,
      iceServers: options.iceServers,
      queueBytes: options.queueBytes,
      onSignal: (signal) => this.say(peer, { ...signal, link: id }),
      onOpen: () => {
        this.disarm(peer)
        peer.openedAt = performance.now()
        peer.lostOffers = 0
        peer.gone = false
        options.onOpen(peer)
      },
      onFrame: (lane, relayed, frame) => options.onFrame(peer, lane, relayed, frame),
      onClose: (code) => this.closed(peer, link, code),
    })
    peer.link = link
    peer.dialedAt = performance.now()
    this.arm(peer, DIAL_TIMEOUT_MS, () => {
      this.drop(peer)
      this.failed(peer)
    })
    return link
  }

  private closed(peer: Peer, link: Link, code: string): void {
    if (peer.link !== link) return
    if (code === 'ERR_PC_CONSTRUCTOR') connectionWasRefused(performance.now())
    this.disarm(peer)
    peer.link = undefined
    peer.lastLink = link.id
    if (!link.wasOpen) {
      this.failed(peer)
      return
    }
    if (performance.now() - peer.openedAt > GOOD_AFTER_MS) peer.failures = 0
    // Both sides notice at about the same time: the dialer goes first, the other one calls if nothing comes.
    const delay =
      peer.failures++ === 0 ? (this.options.self > peer.node ? 0 : 300) + Math.random() * 100 : backoff(peer.failures)
    this.arm(peer, delay, () => this.consider(peer))
    this.options.onClosed(peer)
  }

  private failed(peer: Peer, delay = backoff(peer.failures)): void {
    peer.failures++
    this.arm(peer, delay, () => this.consider(peer))
    this.options.onFailed(peer)
  }

  private say(peer: Peer, signal: Outgoing): void {
    this.options.sendSignal(peer, { ...signal, session: this.options.session, n: ++peer.sent })
  }

  private arm(peer: Peer, delayMs: number, then: () => void): void {
    this.disarm(peer)
    if (!this.active) return
    peer.timer = setTimeout(() => {
      peer.timer = undefined
      then()
    }, delayMs)
  }

  private disarm(peer: Peer): void {
    clearTimeout(peer.timer)
    peer.timer = undefined
  }
}

/** Half of it is chance, so that a room that lost its server does not come back all at once. */
function backoff(failures: number): number {
  const limit = failures > PATIENT_FAILURES ? LONG_DELAY_MS : MAX_DELAY_MS
  return (0.5 + Math.random() / 2) * Math.min(limit, FIRST_DELAY_MS * 2 ** failures)
}
