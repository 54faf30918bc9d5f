/**
 * What waits to be sent on one link, and when it may go: three queues by precedence, a window of credit that the peer's
 * application grants (a frozen tab's browser would swallow megabytes and say nothing), and the channel's own buffer,
 * which throws when it is overfilled. Frames queued in one turn leave at the end of that turn, together.
 *
 * Relies on packets; relied on by link. Invariants: what the peer has not consumed never exceeds WINDOW_BYTES plus
 * control, the channel holds about MAX_BUFFERED_BYTES at most, and a queue holds what its limit allows.
 */
import { BACKGROUND, CONTROL, FOREGROUND, type LinkLane, type Outgoing, PacketWriter } from './packets.js'

export const WINDOW_BYTES = 1024 * 1024
/** Consumed bytes are given back in portions of this size. */
const CREDIT_STEP_BYTES = WINDOW_BYTES / 8
const MAX_BUFFERED_BYTES = 1024 * 1024
/**
 * The background leaves half of the window free and keeps the channel's buffer short, because a foreground frame can
 * overtake what is queued here but not what is in the channel already.
 */
const BACKGROUND_WINDOW_BYTES = WINDOW_BYTES / 2
const BACKGROUND_BUFFERED_BYTES = 32 * 1024
/** When the channel's buffer falls to this, it asks for more. */
export const LOW_BUFFERED_BYTES = 16 * 1024

/**
 * Chromium at times does not say that the last bytes have left the buffer, and counts them until something else is sent (seen when much was sent right
 * after a channel had opened). What says the same for so long is asked by sending nothing.
 */
const DOUBT_BUFFER_AFTER_MS = 500
const NOTHING = new Uint8Array(0)

export interface QueueBytes {
  foreground: number
  background: number
}

export const defaultQueueBytes: QueueBytes = { foreground: 16 * 1024 * 1024, background: 8 * 1024 * 1024 }
const CONTROL_QUEUE_BYTES = 1024 * 1024

/** First in, first out, with its size in bytes. */
class FrameQueue {
  /** Those before the head are gone: what was sent is not kept. */
  private frames: (Outgoing | undefined)[] = []
  private head = 0
  bytes = 0

  constructor(readonly limit: number) {}

  push(frame: Outgoing): boolean {
    // One frame goes always: it may be larger than all that may wait.
    if (this.bytes > 0 && this.bytes + frame.bytes.length > this.limit) return false
    this.bytes += frame.bytes.length
    this.frames.push(frame)
    return true
  }

  /** Moves frames into the packet, at most `allowed` bytes. Returns how many bytes moved. */
  drainInto(writer: PacketWriter, lane: LinkLane, allowed: number): number {
    let moved = 0
    const now = performance.now()
    while (this.head < this.frames.length) {
      const frame = this.frames[this.head] as Outgoing
      if (frame.offset === 0 && frame.expiresAt < now) {
        this.bytes -= frame.bytes.length
        this.next()
        continue
      }
      const before = frame.offset
      if (!writer.add(lane, frame, allowed - moved)) break
      moved += frame.offset - before
      if (frame.offset < frame.bytes.length) break
      this.next()
    }
    if (this.head === this.frames.length) {
      this.frames = []
      this.head = 0
    } else if (this.head > 1024) {
      this.frames = this.frames.slice(this.head)
      this.head = 0
    }
    this.bytes -= moved
    return moved
  }

  private next(): void {
    this.frames[this.head++] = undefined
  }
}

export interface Channel {
  readonly bufferedAmount: number
  send(packet: Uint8Array): void
}

export class Flow {
  private readonly queues: [FrameQueue, FrameQueue, FrameQueue]
  private readonly writer = new PacketWriter()
  private credit = WINDOW_BYTES
  private owed = 0
  private scheduled = false
  /** Bytes that were queued so far, how many of them had left the channel's buffer at the last look, and when that was more than before. */
  private pushed = 0
  private left = 0
  private leftAt = Number.NEGATIVE_INFINITY

  /** Nothing is sent before `open` and after `close`. */
  private channel: Channel | undefined
  private doubt: ReturnType<typeof setTimeout> | undefined

  constructor({ foreground, background }: QueueBytes) {
    this.queues = [new FrameQueue(CONTROL_QUEUE_BYTES), new FrameQueue(foreground), new FrameQueue(background)]
  }

  open(channel: Channel): void {
    this.channel = channel
    this.flush()
  }

  close(): void {
    this.channel = undefined
    clearTimeout(this.doubt)
  }

  /** Bytes that wait here. */
  get queued(): number {
    return this.queues.reduce((sum, queue) => sum + queue.bytes, 0)
  }

  /** Bytes wait here or in the channel, and some have gone since the last look or in the last `withinMs`. To be asked often. */
  moving(withinMs: number): boolean {
    const waiting = this.queued + (this.channel?.bufferedAmount ?? 0)
    const now = performance.now()
    const left = this.pushed - waiting
    if (left > this.left) this.leftAt = now
    this.left = left
    return waiting > 0 && now - this.leftAt < withinMs
  }

  /** False when the queue is full. Otherwise the frame leaves at the end of this turn, or when the peer has room. */
  push(lane: LinkLane, bytes: Uint8Array, relayed: boolean, ttlMs = Number.POSITIVE_INFINITY): boolean {
    const expiresAt = performance.now() + ttlMs
    if (!this.queues[lane].push({ bytes, relayed, offset: 0, expiresAt })) return false
    this.pushed += bytes.length
    this.schedule()
    return true
  }

  /** The peer has consumed so many of our bytes. */
  granted(bytes: number): void {
    this.credit = Math.min(WINDOW_BYTES, this.credit + bytes)
    this.flush()
  }

  /** We have consumed so many of the peer's bytes. */
  consumed(bytes: number): void {
    this.owed += bytes
    if (this.owed >= CREDIT_STEP_BYTES) this.schedule()
  }

  /** Sends what may be sent now. To be called as well when the channel's buffer has become low. */
  flush(): void {
    if (!this.channel) return
    this.fill(this.channel)
    this.watch(this.channel)
  }

  private fill(channel: Channel): void {
    const { writer } = this
    const [control, foreground, background] = this.queues
    while (channel.bufferedAmount < MAX_BUFFERED_BYTES) {
      if (this.owed >= CREDIT_STEP_BYTES) {
        writer.addCredit(this.owed)
        this.owed = 0
      }
      control.drainInto(writer, CONTROL, Number.POSITIVE_INFINITY)
      this.credit -= foreground.drainInto(writer, FOREGROUND, this.credit)
      // An unfinished foreground frame fills the packet, so the background gets what the foreground left over.
      const spare = this.credit - BACKGROUND_WINDOW_BYTES
      if (spare > 0 && channel.bufferedAmount < BACKGROUND_BUFFERED_BYTES) {
        this.credit -= background.drainInto(writer, BACKGROUND, spare)
      }
      const packet = writer.take()
      if (packet.length === 0) return
      channel.send(packet)
    }
  }

  /** What waits for the buffer to become low does so for as long as that really becomes less. */
  private watch(channel: Channel): void {
    const { bufferedAmount } = channel
    if (this.doubt !== undefined || bufferedAmount <= LOW_BUFFERED_BYTES || this.queued === 0) return
    this.doubt = setTimeout(() => {
      this.doubt = undefined
      if (channel.bufferedAmount === bufferedAmount) channel.send(NOTHING)
      this.flush()
    }, DOUBT_BUFFER_AFTER_MS)
  }

  private schedule(): void {
    if (this.scheduled) return
    this.scheduled = true
    queueMicrotask(() => {
      this.scheduled = false
      this.flush()
    })
  }
}
