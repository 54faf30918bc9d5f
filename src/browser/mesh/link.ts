/**
 * One connection to one peer: a simple-peer and its data channel, with our packets and flow on it. Made for one attempt
 * and never revived; redialing makes a new one. Relied on by the dialer.
 *
 * simple-peer says 'connect' only after it has polled statistics; the channel is open earlier, so its own events count.
 * The `disconnected` state of ICE means nothing here: most cuts heal by themselves, and simple-peer gives up at `failed`.
 * Invariant: `onOpen` at most once, then frames, then `onClose` once; nothing after `close()`.
 */

import SimplePeer from 'simple-peer/simplepeer.min.js'
import type { Moving } from '../../core/environment.js'
import { Flow, LOW_BUFFERED_BYTES, type QueueBytes } from './flow.js'
import { type LinkLane, PacketReader } from './packets.js'
import type { PeerSignal } from './signals.js'

/** Without it no connection can be made at all; some browsers and policies turn it off. */
export const hasWebRtc: boolean = SimplePeer.WEBRTC_SUPPORT

const MAX_MALFORMED = 5
/** How long a peer that may be gone has to answer the closing of the channel. */
const GOODBYE_MS = 500
/** A packet of 16 KiB takes as long at 64 kbit/s. */
const MOVED_WITHIN_MS = 2000

export interface LinkOptions {
  /** `<session>.<attempt>` of the initiator: what all signals of this attempt refer to. */
  id: string
  initiator: boolean
  iceServers: RTCIceServer[]
  queueBytes: QueueBytes
  onSignal(signal: PeerSignal): void
  onOpen(): void
  onFrame(lane: LinkLane, relayed: boolean, frame: Uint8Array): void
  /** Closed by the peer or by a failure; `code` is simple-peer's, like ERR_ICE_CONNECTION_FAILURE. */
  onClose(code: string): void
}

/** simple-peer's own channel and connection: needed for their earlier and additional events. */
interface PeerInside {
  _channel?: RTCDataChannel | null
  _pc?: RTCPeerConnection | null
}

export class Link {
  readonly id: string
  readonly initiator: boolean
  open = false
  wasOpen = false
  /** When the peer was heard of last, by performance.now(). */
  heardAt = 0
  /** The peer's session, as soon as it has said so. */
  session: string | undefined
  /** An answer changes a link only once. */
  answered = false
  private closed = false
  private malformed = 0
  private code = ''
  private readonly peer: SimplePeer.Instance
  private readonly flow: Flow
  private readonly reader: PacketReader

  /** Never throws: a browser that makes no more connections is reported by `onClose`. */
  constructor(private readonly options: LinkOptions) {
    const { id, initiator, iceServers, queueBytes, onSignal, onFrame } = options
    this.id = id
    this.initiator = initiator
    this.flow = new Flow(queueBytes)
    this.reader = new PacketReader({
      onFrame: (lane, relayed, frame) => {
        if (!this.closed) onFrame(lane, relayed, frame)
      },
      onConsumed: (bytes) => this.flow.consumed(bytes),
      onCredit: (bytes) => this.flow.granted(bytes),
    })
    const peer = new SimplePeer({ initiator, config: { iceServers } })
    this.peer = peer
    peer.on('signal', (signal) => {
      if (!this.closed) onSignal(signal as PeerSignal)
    })
    peer.on('error', (error: Error & { code?: string }) => {
      this.code = error.code ?? error.message
    })
    peer.on('close', () => {
      if (this.closed) return
      this.closed = true
      this.open = false
      this.flow.close()
      options.onClose(this.code)
    })
    const { _channel, _pc } = peer as PeerInside
    if (_channel) this.watch(_channel)
    // simple-peer's own handler comes first and has set the channel up when ours runs.
    else _pc?.addEventListener('datachannel', ({ channel }) => this.watch(channel))
  }

  /** Takes a description or candidate of the peer, checked before. */
  signal(signal: PeerSignal): void {
    if (!this.closed) this.peer.signal(signal as SimplePeer.SignalData)
  }

  /** False when the queue is full. What has waited for `ttlMs` is not sent any more. */
  send(lane: LinkLane, frame: Uint8Array, relayed = false, ttlMs = Number.POSITIVE_INFINITY): boolean {
    return this.open && this.flow.push(lane, frame, relayed, ttlMs)
  }

  /** Whether parts of frames come and go at this very time. */
  moving(): Moving {
    return {
      in: this.open && this.reader.isPartial && performance.now() - this.heardAt < MOVED_WITHIN_MS,
      out: this.open && this.flow.moving(MOVED_WITHIN_MS),
    }
  }

  /**
   * Sends what was queued in this turn, as far as it may go, and closes; a peer that is there notices at once. With `now`, the last packets
   * may be lost, but nothing is left open that would keep the page from being cached.
   */
  close(now = false): void {
    if (this.closed) return
    if (this.open) this.flow.flush()
    this.flow.close()
    this.closed = true
    this.open = false
    const { _channel } = this.peer as PeerInside
    if (now || _channel?.readyState !== 'open') {
      this.peer.destroy()
      return
    }
    // A connection that is closed together with its channel takes the last packets and the goodbye with it. simple-peer
    // destroys itself once the channel is closed on both sides.
    _channel.close()
    setTimeout(() => this.peer.destroy(), GOODBYE_MS)
  }

  private watch(channel: RTCDataChannel): void {
    channel.bufferedAmountLowThreshold = LOW_BUFFERED_BYTES
    channel.addEventListener('bufferedamountlow', () => {
      if (this.open) this.flow.flush()
    })
    // The peer closes it, and all that it had sent has come. The end itself, which takes a way there and back, Chromium misses at times
    // (its bug 882743), and simple-peer notices that only after five to ten seconds.
    channel.addEventListener('closing', () => {
      if (!this.closed) this.peer.destroy()
    })
    // Instead of simple-peer's handler, which wraps every message for a Node stream that nobody reads here.
    channel.onmessage = ({ data }) => {
      this.opened(channel)
      this.receive(data)
    }
    if (channel.readyState === 'open') this.opened(channel)
    else channel.addEventListener('open', () => this.opened(channel))
  }

  private opened(channel: RTCDataChannel): void {
    if (this.open || this.closed) return
    this.open = true
    this.wasOpen = true
    this.options.onOpen()
    this.flow.open({
      get bufferedAmount() {
        return channel.bufferedAmount
      },
      // A channel that does not take a packet is closing; its 'close' event follows.
      send: (packet) => {
        if (channel.readyState === 'open') channel.send(packet as Uint8Array<ArrayBuffer>)
      },
    })
  }

  private receive(data: unknown): void {
    if (this.closed) return
    this.heardAt = performance.now()
    if (data instanceof ArrayBuffer && this.reader.read(new Uint8Array(data))) return
    if (++this.malformed < MAX_MALFORMED) return
    this.close()
    this.options.onClose('malformed packets')
  }
}
