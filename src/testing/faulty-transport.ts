/**
 * A transport that misbehaves on request, for tests of applications and of the store itself: partitions, slow and lossy
 * links, frozen tabs. It stands between a node and its real transport, so it works with any of them. Relied on by
 * `faults(store)`.
 *
 * Invariant: whatever faults are set and lifted, what arrives from one node in one lane arrives in order and at most once,
 * and `onUp` and `onDown` alternate.
 */
import { type Lane, STILL, type Transport, type TransportHandlers } from '../core/environment.js'
import type { NodeId } from '../core/ids.js'

export interface Faults {
  /**
   * Silently loses all frames from and to these nodes, also those that are on their way, and reports them as down. Default:
   * all nodes, also those that appear later. Adds to former cuts.
   */
  cut(nodes?: string[]): void
  /** Ends all cuts: what the real transport reaches is up again. */
  heal(): void
  /** Every frame takes so much longer, in milliseconds, each way. 0 ends it. */
  delay(ms: number): void
  /** Loses this part of all frames at random, 0 to 1. */
  drop(rate: number): void
  /** Nothing is heard and nothing leaves until `thaw`, as in a frozen tab. */
  freeze(): void
  /** Everything that waited happens at once, in order. */
  thaw(): void
}

/** Frames on their way in one direction: none overtakes another. */
interface Pipe {
  waiting: { dueAt: number; run: () => void }[]
  timer: ReturnType<typeof setTimeout> | undefined
}

export function faultyTransport(inner: Transport, random: () => number = Math.random): Transport & Faults {
  let handlers: TransportHandlers | undefined
  /** Up according to the inner transport, as far as it was heard of; and what the node was told. */
  const reached = new Set<NodeId>()
  const told = new Set<NodeId>()
  const cutNodes = new Set<string>()
  let cutAll = false
  let delayMs = 0
  let lossRate = 0
  /** What happens on thaw; undefined when not frozen. */
  let frozen: (() => void)[] | undefined
  const pipes = new Map<string, Pipe>()

  const isCut = (node: string) => cutAll || cutNodes.has(node)
  const isLost = () => lossRate > 0 && random() < lossRate

  /** Runs now, or when the tab is thawed. */
  function awake(run: () => void): void {
    if (frozen) frozen.push(run)
    else run()
  }

  /** Tells the node what changed for it. */
  function tell(node: NodeId): void {
    const up = reached.has(node) && !isCut(node)
    if (up === told.has(node)) return
    if (up) {
      told.add(node)
      handlers?.onUp(node)
    } else {
      told.delete(node)
      handlers?.onDown(node)
    }
  }

  /** Runs now or after the delay, but never before what went through the same pipe earlier. */
  function through(name: string, run: () => void): void {
    let pipe = pipes.get(name)
    if (!pipe && delayMs === 0) {
      run()
      return
    }
    if (!pipe) {
      pipe = { waiting: [], timer: undefined }
      pipes.set(name, pipe)
      pipe.timer = setTimeout(drain, delayMs, name, pipe)
    }
    pipe.waiting.push({ dueAt: performance.now() + delayMs, run })
  }

  function drain(name: string, pipe: Pipe): void {
    const { waiting } = pipe
    while (waiting[0] && waiting[0].dueAt <= performance.now()) waiting.shift()?.run()
    if (waiting[0]) pipe.timer = setTimeout(drain, waiting[0].dueAt - performance.now(), name, pipe)
    else if (pipes.get(name) === pipe) pipes.delete(name)
  }

  function empty(name: string): void {
    const pipe = pipes.get(name)
    if (!pipe) return
    clearTimeout(pipe.timer)
    pipe.waiting.length = 0
    pipes.delete(name)
  }

  return {
    start(given) {
      handlers = given
      inner.start({
        onUp(node) {
          awake(() => {
            reached.add(node)
            tell(node)
          })
        },
        onDown(node) {
          empty(`from ${node}`)
          awake(() => {
            reached.delete(node)
            tell(node)
          })
        },
        onFrame(from, frame) {
          if (isCut(from) || isLost()) return
          through(`from ${from}`, () => awake(() => handlers?.onFrame(from, frame)))
        },
      })
    },

    send(to: NodeId, frame: Uint8Array, lane: Lane, ttlMs?: number) {
      if (!told.has(to)) return false
      if (isLost()) return true
      let accepted = true
      awake(() =>
        through(`${lane} to ${to}`, () => {
          if (!isCut(to)) accepted = inner.send(to, frame, lane, ttlMs)
        }),
      )
      return accepted
    },

    moving: (node) => (isCut(node) || frozen ? STILL : (inner.moving?.(node) ?? STILL)),
    want: (nodes) => inner.want(nodes),
    reject: (node) => inner.reject(node),

    stop() {
      for (const name of [...pipes.keys()]) empty(name)
      frozen = undefined
      inner.stop()
      handlers = undefined
    },

    cut(nodes) {
      if (nodes !== undefined && !Array.isArray(nodes))
        throw new TypeError(`cut takes a list of nodes, and got ${JSON.stringify(nodes)}`)
      if (nodes) for (const node of nodes) cutNodes.add(node)
      else cutAll = true
      for (const name of [...pipes.keys()]) if (isCut(name.split(' ').at(-1) as string)) empty(name)
      for (const node of [...told]) awake(() => tell(node))
    },

    heal() {
      cutAll = false
      cutNodes.clear()
      for (const node of [...reached]) awake(() => tell(node))
    },

    delay(ms) {
      if (!Number.isFinite(ms) || ms < 0) throw new RangeError(`delay takes milliseconds, 0 or more, and got ${ms}`)
      delayMs = ms
    },

    drop(rate) {
      if (!(rate >= 0 && rate <= 1)) throw new RangeError(`drop takes a rate from 0 to 1, and got ${rate}`)
      lossRate = rate
    },

    freeze() {
      frozen ??= []
    },

    thaw() {
      const waited = frozen ?? []
      frozen = undefined
      for (const run of waited) run()
    },
  }
}
