/**
 * The transport of a tab (docs/design.md §9): direct links to the peers of the room as far as `maxPeers` allows, ways around
 * through common neighbours where there is none, and signaling through the mesh itself when the server is away. This
 * file decides which way frames take and tells the application what is up; dialer, link and relay do the work.
 *
 * Invariant: frames of one lane from one node arrive in order and at most once, whatever path they take: paths are
 * numbered by their sender, and what comes late on a former path is dropped.
 */
import {
  type Lane,
  MAX_FRAME_BYTES,
  MAX_TTL_MS,
  STILL,
  type Transport,
  type TransportHandlers,
} from '../../core/environment.js'
import type { NodeId } from '../../core/ids.js'
import { invariant } from '../../core/invariant.js'
import type { Signaling } from '../signaling-client.js'
import { isChosen } from './choice.js'
import { Dialer } from './dialer.js'
import { type QueueBytes, defaultQueueBytes } from './flow.js'
import { type Link, hasWebRtc } from './link.js'
import { BACKGROUND, CONTROL, FOREGROUND, type LinkLane } from './packets.js'
import { Peer } from './peer.js'
import { type Control, Neighbours, decodeControl, encodeControl, unwrapRelayed, wrapRelayed } from './relay.js'
import type { Signal } from './signals.js'

/** How long a direct link may take before a new peer is reached by relay. */
const PATIENCE_MS = 2000
const REJECTED_MS = 60_000
/** The node rejects half a second after it has seen the reason, so that the peer can be told. */
const RESTARTED_MS = 1000
/** How long a peer that left the room, or that the former network led to, has to answer. */
const PROBE_MS = 3000
const NEAR_INTERVAL_MS = 250
const MAKE_PLACE_INTERVAL_MS = 3000
/** Peers that are neither present, wanted nor linked are forgotten when there are more than this. */
const MAX_REMEMBERED_PEERS = 1000

export interface MeshOptions {
  self: NodeId
  /** Started and closed by the mesh. */
  signaling: Signaling
  iceServers?: RTCIceServer[]
  /** Direct links at most. Beyond, peers are reached through common neighbours. */
  maxPeers?: number
  /** What may wait for one peer, in bytes and by lane. */
  queueBytes?: QueueBytes
  /** Nodes that may not be linked directly are reached by relay only. Default: all may. */
  allowDirect?: (node: NodeId) => boolean
  onWarning?: (message: string) => void
}

export interface Mesh extends Transport {
  /** How each node that is up is reached now: 'direct', or the neighbour that relays. */
  paths(): Map<NodeId, 'direct' | NodeId>
  /** The nodes that are here, up or said to be in the room by a signaling server, each with the life of its page, as far as that is known. */
  presence(): Map<NodeId, string | undefined>
  /** With `atOnce`, nothing may be left to be closed later, even if the last frames are lost by that. */
  stop(atOnce?: boolean): void
}

export function createMesh(options: MeshOptions): Mesh {
  const { self, signaling, maxPeers = 24, allowDirect = () => true, onWarning = () => {} } = options
  const session = sessionId()
  const peers = new Map<NodeId, Peer>()
  const neighbours = new Neighbours()
  let handlers: TransportHandlers | undefined
  let nearTimer: ReturnType<typeof setTimeout> | undefined
  let nearSentAt = Number.NEGATIVE_INFINITY
  let placeMadeAt = Number.NEGATIVE_INFINITY

  const dialer = new Dialer({
    self,
    session,
    iceServers: options.iceServers ?? [],
    hasPlace: (peer, links) => links < maxPeers || (isLonely(peer) && links < maxPeers * 1.25),
    makePlace,
    queueBytes: options.queueBytes ?? defaultQueueBytes,
    peers,
    worthDialing: (peer) =>
      !peer.gone && (peer.present || peer.wanted) && (isLonely(peer) || isChosen(self, peer, peers.values(), maxPeers)),
    allowDirect,
    reaches: (node) => signaling.reaches(node) || neighbours.towards(node) !== undefined,
    sendSignal,
    onOpen(peer) {
      peer.pathOut++
      peer.linkPath = undefined
      refresh(peer)
      sendNear(peer)
      tellNear()
    },
    onFrame(peer, lane, relayed, frame) {
      if (lane === CONTROL) return controlled(peer, frame)
      if (relayed) return passed(peer, lane, frame)
      deliver(peer, frame)
    },
    onClosed(peer) {
      neighbours.delete(peer.node)
      tellNear()
      // Not now: the dialer has not yet made, or armed, what comes after this link, and would dial the peer twice.
      queueMicrotask(refreshAll)
    },
    onFailed(peer) {
      endPatience(peer)
    },
    onNewSession(peer) {
      peer.pathIn = 0
      peer.linkPath = undefined
      // What the application knows of it ended with its former page.
      if (peer.up) setUp(peer, false)
    },
  })

  /** For a lonely peer, by dropping a link whose other end a neighbour leads to as well. */
  function makePlace(peer: Peer): boolean {
    const now = performance.now()
    // In rooms that are much too large for one hop somebody is always lonely; then dropping links would never end.
    if (!isLonely(peer) || peers.size > maxPeers * 4 || now - placeMadeAt < MAKE_PLACE_INTERVAL_MS) return false
    for (const other of peers.values()) {
      if (!other.link?.open || neighbours.towards(other.node) === undefined) continue
      placeMadeAt = now
      dialer.drop(other)
      return true
    }
    return false
  }

  /** No neighbour leads to it, so it gets a link beyond the limit. As ways are the same both ways, it thinks so as well. */
  function isLonely(peer: Peer): boolean {
    return !peer.up && peer.patience === undefined
  }

  function peerOf(node: NodeId): Peer {
    const known = peers.get(node)
    if (known) return known
    if (peers.size >= MAX_REMEMBERED_PEERS) {
      for (const peer of peers.values()) {
        if (!peer.present && !peer.wanted && !peer.link && !peer.up && peer.timer === undefined) forget(peer)
      }
    }
    const peer = new Peer(node)
    peers.set(node, peer)
    peer.patience = setTimeout(endPatience, PATIENCE_MS, peer)
    return peer
  }

  function forget(peer: Peer): void {
    clearTimeout(peer.patience)
    peers.delete(peer.node)
  }

  function endPatience(peer: Peer): void {
    clearTimeout(peer.patience)
    peer.patience = undefined
    refresh(peer)
    dialer.consider(peer)
  }

  /** Finds the way to the peer as it is now, and tells the application when it appears or ends. */
  function refresh(peer: Peer): void {
    const direct = peer.link?.open === true
    const relay =
      !direct && !peer.gone && performance.now() >= peer.blockedUntil && (peer.up || peer.patience === undefined)
    const via = relay && (peer.up || peer.wanted || peer.present) ? neighbours.towards(peer.node, peer.via) : undefined
    if (via !== undefined && via !== peer.via) peer.pathOut++
    peer.via = via
    const up = dialer.active && (direct || via !== undefined)
    if (up !== peer.up) setUp(peer, up)
  }

  function setUp(peer: Peer, up: boolean): void {
    peer.up = up
    if (up) handlers?.onUp(peer.node)
    else handlers?.onDown(peer.node)
  }

  function refreshAll(): void {
    for (const peer of [...peers.values()]) {
      refresh(peer)
      dialer.consider(peer)
    }
  }

  function deliver(peer: Peer, frame: Uint8Array): void {
    try {
      handlers?.onFrame(peer.node, frame)
    } catch (error) {
      // The application's mistake is reported as such, and does not cost the other frames of the packet.
      queueMicrotask(() => {
        throw error
      })
    }
  }

  /** The peer's own link, or that of the neighbour which passes frames on to it. */
  function linkTowards(peer: Peer | undefined): Link | undefined {
    if (peer?.link?.open) return peer.link
    return peer?.via === undefined ? undefined : peers.get(peer.via)?.link
  }

  function sendControl(to: Peer | undefined, control: Control): void {
    to?.link?.send(CONTROL, encodeControl(control))
  }

  function sendNear(peer: Peer): void {
    const nodes = [...peers.values()].filter((other) => other.link?.open && other !== peer).map((other) => other.node)
    sendControl(peer, { type: 'near', nodes, path: peer.pathOut })
  }

  /** Tells all neighbours, now or soon, whom this node is linked to. */
  function tellNear(): void {
    if (nearTimer !== undefined) return
    const wait = nearSentAt + NEAR_INTERVAL_MS - performance.now()
    const tell = () => {
      nearTimer = undefined
      nearSentAt = performance.now()
      for (const peer of peers.values()) sendNear(peer)
    }
    if (wait <= 0) tell()
    else nearTimer = setTimeout(tell, wait)
  }

  function sendSignal(peer: Peer, signal: Signal): void {
    const { node } = peer
    const reached = signaling.reaches(node)
    if (reached) signaling.send(node, signal)
    // After a failure on both ways: the server may be one that answers nothing any more.
    if (reached && peer.failures === 0) return
    const via = neighbours.towards(node)
    if (via !== undefined) sendControl(peers.get(via), { type: 'carry', to: node, from: self, signal })
  }

  function controlled(from: Peer, bytes: Uint8Array): void {
    const control = decodeControl(bytes)
    if (control?.type === 'near') {
      from.linkPath = control.path
      from.pathIn = Math.max(from.pathIn, control.path)
      neighbours.set(from.node, control.nodes)
      refreshAll()
    } else if (control?.type === 'bye') {
      from.gone = true
      dialer.drop(from)
    } else if (control?.type === 'ping') {
      sendControl(from, { type: 'pong' })
    } else if (control?.type === 'carry') {
      if (control.to === self) {
        if (control.from !== self) dialer.receive(peerOf(control.from), control.signal)
      } else if (control.from === from.node) {
        peers.get(control.to)?.link?.send(CONTROL, bytes)
      }
    }
  }

  /** A relayed frame: ours, or to be passed on. */
  function passed(carrier: Peer, lane: LinkLane, wrapped: Uint8Array): void {
    const relayed = unwrapRelayed(wrapped)
    if (!relayed) return
    const { header, frame } = relayed
    if (header.to !== self) {
      // How long its sender would wait stands in the frame, which is not ours to read.
      if (header.from === carrier.node) peers.get(header.to)?.link?.send(lane, wrapped, true, MAX_TTL_MS)
      return
    }
    if (header.from === self || header.from === carrier.node) return
    const origin = peerOf(header.from)
    if (!dialer.meet(origin, header.session) || header.path < origin.pathIn) return
    // Its sender has given up the link that we still have.
    if (origin.link?.open && origin.linkPath !== undefined && header.path > origin.linkPath) {
      dialer.drop(origin)
      dialer.consider(origin)
    }
    origin.pathIn = header.path
    origin.gone = false
    // Anybody can be named as the sender: of nodes that nobody else has spoken of, nothing is kept.
    if (origin.wanted || origin.present || origin.up) neighbours.add(carrier.node, origin.node)
    if (!origin.up) endPatience(origin)
    if (origin.up) deliver(origin, frame)
  }

  /** Drops a link at whose other end nobody answers: an unloading page's goodbye may get lost. */
  function probe(peer: Peer): void {
    const { link } = peer
    if (!link?.open) return
    const askedAt = performance.now()
    sendControl(peer, { type: 'ping' })
    setTimeout(() => {
      if (peer.link !== link || !link.open || link.heardAt >= askedAt) return
      dialer.drop(peer)
      dialer.consider(peer)
    }, PROBE_MS)
  }

  /** The network is another one perhaps, or the page was frozen: links are dead that will not say so for long. */
  function online(): void {
    wake()
    for (const peer of peers.values()) probe(peer)
  }

  function wake(): void {
    signaling.wake()
    dialer.wake()
  }

  function wakeWhenVisible(): void {
    if (document.visibilityState === 'visible') wake()
  }

  return {
    start(given) {
      if (!hasWebRtc) {
        onWarning('this browser has no WebRTC: no peer can be reached')
        return
      }
      handlers = given
      dialer.active = true
      globalThis.addEventListener?.('online', online)
      globalThis.document?.addEventListener('visibilitychange', wakeWhenVisible)
      globalThis.document?.addEventListener('resume', online)
      signaling.start({
        onPresent(node) {
          if (node === self) return
          const peer = peerOf(node)
          peer.present = true
          peer.gone = false
          dialer.consider(peer)
          refresh(peer)
        },
        onAbsent(node) {
          const peer = peers.get(node)
          if (!peer) return
          peer.present = false
          probe(peer)
        },
        onMessage(from, payload) {
          if (from !== self) dialer.receive(peerOf(from), payload)
        },
        onOpen: () => dialer.wake(),
      })
    },

    send(to: NodeId, frame: Uint8Array, lane: Lane, ttlMs?: number) {
      invariant(frame.length <= MAX_FRAME_BYTES, `a frame has at most ${MAX_FRAME_BYTES} bytes, not ${frame.length}`)
      const peer = peers.get(to)
      if (!peer?.up) return false
      const linkLane = lane === 'foreground' ? FOREGROUND : BACKGROUND
      const link = linkTowards(peer)
      if (!link) return false
      if (link === peer.link) return link.send(linkLane, frame, false, ttlMs)
      return link.send(linkLane, wrapRelayed({ to, from: self, session, path: peer.pathOut }, frame), true, ttlMs)
    },

    moving: (node) => linkTowards(peers.get(node))?.moving() ?? STILL,

    want(nodes) {
      const wanted = new Set(nodes)
      wanted.delete(self)
      for (const node of wanted) peerOf(node)
      for (const peer of peers.values()) peer.wanted = wanted.has(peer.node)
      refreshAll()
    },

    reject(node) {
      if (node === self) return
      const peer = peerOf(node)
      // It means the former life of that page, which it met a moment ago. What is wrong with this one it will meet again.
      if (performance.now() - peer.restartedAt < RESTARTED_MS) return
      dialer.block(peer, REJECTED_MS)
      refresh(peer)
    },

    stop(atOnce = false) {
      for (const peer of peers.values()) sendControl(peer, { type: 'bye' })
      dialer.stop()
      for (const peer of [...peers.values()]) {
        dialer.drop(peer, atOnce)
        refresh(peer)
      }
      handlers = undefined
      clearTimeout(nearTimer)
      for (const peer of peers.values()) clearTimeout(peer.patience)
      peers.clear()
      globalThis.removeEventListener?.('online', online)
      globalThis.document?.removeEventListener('visibilitychange', wakeWhenVisible)
      globalThis.document?.removeEventListener('resume', online)
      signaling.close()
    },

    paths() {
      const up = [...peers.values()].filter((peer) => peer.up)
      return new Map(up.map((peer) => [peer.node, peer.via ?? 'direct']))
    },

    presence() {
      const here = [...peers.values()].filter((peer) => peer.up || signaling.reaches(peer.node))
      return new Map(here.map((peer) => [peer.node, peer.session]))
    },
  }
}

function sessionId(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(8)), (byte) => (byte % 36).toString(36)).join('')
}
