/**
 * What a node keeps on its disk about itself and the others, besides data: members, what it was told of its own absences, and which partitions it has whole.
 * It changes in bursts, and is written once per burst; what the disk refuses is written later.
 *
 * Relied on by node and, for `isWritten`, by reaping: a node that would not know a member after a restart must not forget a deletion now.
 */
import type { CancelTimer, Clock, Storage } from './environment.js'

const WRITE_AFTER_MS = 200
const RETRY_MS = 5000

export class Bookkeeping {
  /** How many changes there were, and how many of these are on the disk. */
  private changes = 0
  private written = 0
  private timer: CancelTimer | undefined
  private isFailing = false
  private stopped = false

  constructor(
    private readonly storage: Storage,
    private readonly clock: Clock,
    /** All of it, as it is now. */
    private readonly entries: () => [name: string, value: Uint8Array][],
    /** Told of the first of several failures in a row. */
    private readonly onError: (error: unknown) => void,
  ) {}

  /** A restart would know all that this node knows. */
  get isWritten(): boolean {
    return this.written === this.changes
  }

  changed(): void {
    this.changes++
    this.writeIn(WRITE_AFTER_MS)
  }

  /** At once. @throws StorageFailure */
  async write(): Promise<void> {
    const { changes } = this
    await this.storage.commit({ meta: this.entries() }, 'relaxed')
    this.written = Math.max(this.written, changes)
    this.isFailing = false
  }

  /** As `write`, and again until it succeeds. */
  async keep(): Promise<void> {
    try {
      await this.write()
    } catch (error) {
      if (!this.isFailing) this.onError(error)
      this.isFailing = true
      this.writeIn(RETRY_MS)
    }
  }

  stop(): void {
    this.stopped = true
    this.timer?.()
  }

  private writeIn(ms: number): void {
    if (this.stopped) return
    this.timer ??= this.clock.setTimer(ms, () => {
      this.timer = undefined
      void this.keep()
    })
  }
}
