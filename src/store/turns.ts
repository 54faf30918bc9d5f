/**
 * Room for the rest of the page. A get that this tab can answer from memory is a chain of microtasks: a loop of such gets would let no timer, no frame of
 * a peer and no click through, as long as it runs.
 */
const EVERY_MS = 10

export class Turns {
  private last = 0

  /** To be awaited before going on, now and then: resolves when other tasks had their turn. */
  breath(): Promise<void> | undefined {
    const now = performance.now()
    if (now - this.last < EVERY_MS) return undefined
    this.last = now
    return nextTask()
  }
}

/** Not a timer, which the browser holds back where several follow each other, and in hidden tabs. */
function nextTask(): Promise<void> {
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel()
    port1.onmessage = () => {
      port1.close()
      resolve()
    }
    port2.postMessage(undefined)
  })
}
