/**
 * The wire format of a link, pure: packets are messages of the data channel and hold one or more records; a record is a
 * small frame, a piece of a large one, or a grant of credit. Small frames share a packet, large ones are split, and
 * since every lane is put together by itself, a lane may cut in between two pieces of another one's frame.
 *
 *     record = head (1 byte: lane | flags), length (3 bytes), [total (4 bytes) when FIRST but not LAST], payload
 *
 * Relied on by flow and link. Invariant: the reader holds at most one unfinished frame per lane, of bounded size, and
 * never throws for what a peer sent.
 */
import { MAX_FRAME_BYTES } from '../../core/environment.js'

/** Lanes in order of precedence. Control is for the mesh itself (neighbour lists, carried signaling), outside the credit window. */
export const CONTROL = 0
export const FOREGROUND = 1
export const BACKGROUND = 2
export type LinkLane = typeof CONTROL | typeof FOREGROUND | typeof BACKGROUND

const LANE_MASK = 3
/** In place of a lane: the payload is a number of bytes that the receiver has consumed. */
const CREDIT = 3
const FIRST = 4
const LAST = 8
/** The frame goes by way of a neighbour and starts with a relay header. */
const RELAYED = 16

const RECORD_HEADER_BYTES = 4
const TOTAL_BYTES = 4
/**
 * Every browser takes 64 KiB (RFC 8841's default). Measured in Chromium: 16 KiB move as many megabytes per second, and a
 * foreground round trip beside a background backlog takes 4 ms instead of 15.
 */
export const PACKET_BYTES = 16 * 1024
/** Pieces smaller than this are not cut off: they cost more than they bring. */
const MIN_PIECE_BYTES = 1024
const MAX_RELAY_HEADER_BYTES = 256
const MAX_CONTROL_BYTES = 128 * 1024

/** A frame on its way into packets. */
export interface Outgoing {
  readonly bytes: Uint8Array
  readonly relayed: boolean
  /** How much of it is in packets already. */
  offset: number
  /** Not begun by then (performance.now()), it is not sent at all. */
  readonly expiresAt: number
}

/** Fills one packet. The buffer is used again for the next one: channels copy what they send. */
export class PacketWriter {
  private readonly buffer = new Uint8Array(PACKET_BYTES)
  private readonly view = new DataView(this.buffer.buffer)
  private length = 0

  /** Writes as much of the frame as fits, at most `limit` bytes. False when nothing more fits into this packet. */
  add(lane: LinkLane, frame: Outgoing, limit: number): boolean {
    const { bytes, offset } = frame
    const rest = bytes.length - offset
    const room = PACKET_BYTES - this.length - RECORD_HEADER_BYTES
    let size = Math.min(rest, room, limit)
    const first = offset === 0
    if (first && size < rest) size = Math.min(size, room - TOTAL_BYTES)
    const last = size === rest
    if (!last && size < Math.max(1, Math.min(MIN_PIECE_BYTES, limit))) return false
    this.header(lane | (first ? FIRST : 0) | (last ? LAST : 0) | (frame.relayed ? RELAYED : 0), size)
    if (first && !last) {
      this.view.setUint32(this.length, bytes.length)
      this.length += TOTAL_BYTES
    }
    this.buffer.set(first && last ? bytes : bytes.subarray(offset, offset + size), this.length)
    this.length += size
    frame.offset += size
    return true
  }

  /** Grants the peer more bytes to send. */
  addCredit(bytes: number): void {
    this.header(CREDIT, 4)
    this.view.setUint32(this.length, bytes)
    this.length += 4
  }

  /** The packet so far, valid until the next call of a method; empty when nothing was added. */
  take(): Uint8Array {
    const packet = this.buffer.subarray(0, this.length)
    this.length = 0
    return packet
  }

  private header(head: number, size: number): void {
    this.view.setUint32(this.length, ((head << 24) | size) >>> 0)
    this.length += RECORD_HEADER_BYTES
  }
}

export interface PacketHandlers {
  /** A whole frame. It may be a view of the packet; nobody else writes to it. */
  onFrame(lane: LinkLane, relayed: boolean, frame: Uint8Array): void
  /** Bytes of the credit window that have been consumed. */
  onConsumed(bytes: number): void
  onCredit(bytes: number): void
}

interface Unfinished {
  bytes: Uint8Array
  filled: number
}

const PENDING = new Uint8Array(0)

/** Takes packets apart and puts frames together. */
export class PacketReader {
  private readonly unfinished: (Unfinished | undefined)[] = []

  constructor(private readonly handlers: PacketHandlers) {}

  /** A frame has come in part. */
  get isPartial(): boolean {
    return this.unfinished.some((frame) => frame !== undefined)
  }

  /** Reads one packet, calling back for each frame as it is complete. False when the packet is malformed from some point on. */
  read(packet: Uint8Array): boolean {
    const view = new DataView(packet.buffer, packet.byteOffset, packet.length)
    let at = 0
    while (at < packet.length) {
      if (packet.length - at < RECORD_HEADER_BYTES) return false
      const word = view.getUint32(at)
      const head = word >>> 24
      const size = word & 0xff_ffff
      const lane = head & LANE_MASK
      const split = (head & FIRST) !== 0 && (head & LAST) === 0
      const start = at + RECORD_HEADER_BYTES + (split ? TOTAL_BYTES : 0)
      at = start + size
      if (at > packet.length) return false
      if (lane === CREDIT) {
        if (size !== 4) return false
        this.handlers.onCredit(view.getUint32(start))
        continue
      }
      const frame = this.piece(
        lane as LinkLane,
        head,
        packet.subarray(start, at),
        split ? view.getUint32(start - TOTAL_BYTES) : size,
      )
      if (!frame) return false
      if (frame !== PENDING) this.handlers.onFrame(lane as LinkLane, (head & RELAYED) !== 0, frame)
      if (lane !== CONTROL) this.handlers.onConsumed(size)
    }
    return true
  }

  /** The whole frame if this piece completes it, PENDING if not, undefined if it does not fit what came before. */
  private piece(lane: LinkLane, head: number, piece: Uint8Array, total: number): Uint8Array | undefined {
    const before = this.unfinished[lane]
    this.unfinished[lane] = undefined
    if (head & FIRST) {
      const limit = lane === CONTROL ? MAX_CONTROL_BYTES : MAX_FRAME_BYTES + MAX_RELAY_HEADER_BYTES
      if (before || total > limit || piece.length > total) return undefined
      if (head & LAST) return piece
      const bytes = new Uint8Array(total)
      bytes.set(piece)
      this.unfinished[lane] = { bytes, filled: piece.length }
      return PENDING
    }
    if (!before || before.filled + piece.length > before.bytes.length) return undefined
    before.bytes.set(piece, before.filled)
    before.filled += piece.length
    const whole = before.filled === before.bytes.length
    if (whole !== ((head & LAST) !== 0)) return undefined
    if (whole) return before.bytes
    this.unfinished[lane] = before
    return PENDING
  }
}
