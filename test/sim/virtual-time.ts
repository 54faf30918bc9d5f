/** Virtual time: a queue of events, run one by one. Between two events everything that promises set off comes to rest, so one seed is one trace. */
import type { CancelTimer } from '../../src/core/environment.js'

interface Event {
  at: number
  order: number
  run: (() => void) | undefined
}

export class VirtualTime {
  now = 0
  private order = 0
  /** A binary heap by time, then by order of scheduling. */
  private readonly heap: Event[] = []

  at(delayMs: number, run: () => void): CancelTimer {
    const event: Event = { at: this.now + Math.max(0, delayMs), order: this.order++, run }
    this.push(event)
    return () => {
      event.run = undefined
    }
  }

  /** Runs all events of the next `ms` milliseconds. */
  advance(ms: number): Promise<void> {
    const end = this.now + ms
    return new Promise((resolve, reject) => {
      const step = () => {
        try {
          const event = this.next(end)
          if (event) return settle(event, later)
          this.now = Math.max(this.now, end)
          resolve()
        } catch (error) {
          reject(error)
        }
      }
      // As a microtask from the first one on: outside of any, a tick would come before those that wait already.
      const later = () => void resolved.then(step)
      later()
    })
  }

  /** Runs the next event that is due by `end` and was not called off. */
  private next(end: number): Event | undefined {
    for (let next = this.heap[0]; next && next.at <= end; next = this.heap[0]) {
      this.pop()
      if (!next.run) continue
      this.now = next.at
      next.run()
      return next
    }
    return undefined
  }

  /** Advances until the condition holds. @throws when it does not within `limitMs` of virtual time. */
  async until(what: string, condition: () => boolean | Promise<boolean>, limitMs: number, stepMs = 100): Promise<void> {
    const end = this.now + limitMs
    while (!(await condition())) {
      if (this.now >= end) throw new Error(`${what}: not within ${limitMs} ms of virtual time`)
      await this.advance(stepMs)
    }
  }

  private push(event: Event): void {
    let i = this.heap.length
    this.heap.push(event)
    while (i > 0) {
      const parent = (i - 1) >> 1
      if (!before(event, this.heap[parent] as Event)) break
      this.heap[i] = this.heap[parent] as Event
      i = parent
    }
    this.heap[i] = event
  }

  private pop(): void {
    const last = this.heap.pop() as Event
    if (this.heap.length === 0) return
    let i = 0
    for (;;) {
      let child = 2 * i + 1
      if (child >= this.heap.length) break
      if (child + 1 < this.heap.length && before(this.heap[child + 1] as Event, this.heap[child] as Event)) child++
      if (!before(this.heap[child] as Event, last)) break
      this.heap[i] = this.heap[child] as Event
      i = child
    }
    this.heap[i] = last
  }
}

function before(a: Event, b: Event): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order)
}

const MACROTASK_EVERY = 1000

const resolved = Promise.resolve()

/**
 * Node runs its next tick only when the queue of microtasks is empty: however long a chain of promises is, it has come to its end. What comes
 * `later` is a microtask again, so that what it sets off comes before the tick after it.
 */
function settle({ order }: Event, later: () => void): void {
  // Now and then the process needs a turn of its own, for its signals and messages.
  if (order % MACROTASK_EVERY === 0) setImmediate(later)
  else process.nextTick(later)
}
