/**
 * How long a store is open, and takes writes. Everything that waits on behalf of an application stops waiting when the store closes or its signal
 * aborts, and rejects with public errors only.
 */
import { ClosedError } from './errors.js'
import { publicError } from './storage-errors.js'

export class Lifetime {
  private ended = false
  private readonly waiting = new Set<() => void>()
  private held: Promise<void> | undefined
  private release: (() => void) | undefined

  get isOver(): boolean {
    return this.ended
  }

  end(): void {
    this.ended = true
    for (const tell of [...this.waiting]) tell()
    this.waiting.clear()
  }

  /** @throws ClosedError */
  check(): void {
    if (this.ended) throw new ClosedError()
  }

  get holdsWrites(): boolean {
    return this.held !== undefined
  }

  /** Resolves when writes may go on. */
  writable(signal?: AbortSignal): Promise<void> {
    return this.whileOpen(this.held ?? Promise.resolve(), signal)
  }

  /** A node that leaves would never come to an end with what is written all the time: new writes wait until it has left or stays. */
  holdWrites(isHeld: boolean): void {
    if (!isHeld) {
      this.held = undefined
      this.release?.()
    } else
      this.held ??= new Promise((resolve) => {
        this.release = resolve
      })
  }

  /** Calls back once, at the end. @returns a function that takes it back. */
  onEnd(callback: () => void): () => void {
    this.waiting.add(callback)
    return () => this.waiting.delete(callback)
  }

  /**
   * The result of `work`, or a rejection as soon as the store closes (ClosedError) or the signal aborts (its reason). What was begun goes
   * on without its caller.
   */
  whileOpen<T>(work: Promise<T>, signal?: AbortSignal): Promise<T> {
    return new Promise((resolve, reject) => {
      const aborted = () => finish(() => reject(signal?.reason))
      const forgetEnd = this.onEnd(() => finish(() => reject(new ClosedError())))
      const finish = (settle: () => void) => {
        forgetEnd()
        signal?.removeEventListener('abort', aborted)
        settle()
      }
      work.then(
        (value) => finish(() => resolve(value)),
        (error) => finish(() => reject(publicError(error))),
      )
      if (signal?.aborted) aborted()
      else signal?.addEventListener('abort', aborted)
      if (this.ended) finish(() => reject(new ClosedError()))
    })
  }
}
