/**
 * A node's transport that can be switched: off and on again on purpose (`disconnect`, `connect`), and led through something else (tests interpose
 * faults). The mesh behind it is made anew at each `connect`; the node sees one transport whose peers come and go.
 *
 * Invariant: for the node, `onUp` and `onDown` of one peer alternate, whatever is switched.
 */
import { type Lane, type Moving, STILL, type Transport, type TransportHandlers } from '../core/environment.js'
import type { NodeId } from '../core/ids.js'
import type { Mesh } from './mesh/mesh.js'

export class Links implements Transport {
  private mesh: Mesh | undefined
  private node: TransportHandlers | undefined
  /** Where what the mesh tells goes to: the node, or what stands between. */
  private upstream: TransportHandlers
  /** Where what the node sends goes to. */
  private downstream: Transport
  private readonly meshUp = new Set<NodeId>()
  private readonly told = new Set<NodeId>()
  private wanted: NodeId[] = []

  private readonly toNode: TransportHandlers = {
    onUp: (node) => {
      if (this.told.has(node)) return
      this.told.add(node)
      this.node?.onUp(node)
    },
    onDown: (node) => {
      if (this.told.delete(node)) this.node?.onDown(node)
    },
    onFrame: (from, frame) => {
      if (this.told.has(from)) this.node?.onFrame(from, frame)
    },
  }

  private readonly toMesh: Transport = {
    start: () => {},
    send: (to, frame, lane, ttlMs) => this.mesh?.send(to, frame, lane, ttlMs) ?? false,
    moving: (node) => this.mesh?.moving?.(node) ?? STILL,
    want: (nodes) => this.mesh?.want(nodes),
    reject: (node) => this.mesh?.reject(node),
    stop: () => {},
  }

  constructor(private readonly makeMesh: () => Mesh) {
    this.upstream = this.toNode
    this.downstream = this.toMesh
  }

  start(handlers: TransportHandlers): void {
    this.node = handlers
    this.connect()
  }

  connect(): void {
    if (this.mesh || !this.node) return
    const mesh = this.makeMesh()
    this.mesh = mesh
    mesh.start({
      onUp: (node) => {
        if (this.mesh !== mesh) return
        this.meshUp.add(node)
        this.upstream.onUp(node)
      },
      onDown: (node) => {
        if (this.mesh === mesh && this.meshUp.delete(node)) this.upstream.onDown(node)
      },
      onFrame: (from, frame) => {
        if (this.mesh === mesh) this.upstream.onFrame(from, frame)
      },
    })
    mesh.want(this.wanted)
  }

  /** @param atOnce the page goes away, and may not be kept in a cache with anything open. */
  disconnect(atOnce = false): void {
    const { mesh } = this
    this.mesh = undefined
    mesh?.stop(atOnce)
    for (const node of [...this.meshUp]) {
      this.meshUp.delete(node)
      this.upstream.onDown(node)
    }
  }

  get connected(): boolean {
    return this.mesh !== undefined
  }

  /** Leads everything through what `wrap` makes of the transport, from now on. */
  interpose<T extends Transport>(wrap: (inner: Transport) => T): T {
    const wrapped = wrap({
      ...this.toMesh,
      start: (handlers) => {
        this.upstream = handlers
        for (const node of this.meshUp) handlers.onUp(node)
      },
    })
    this.downstream = wrapped
    wrapped.start(this.toNode)
    return wrapped
  }

  send(to: NodeId, frame: Uint8Array, lane: Lane, ttlMs?: number): boolean {
    return this.downstream.send(to, frame, lane, ttlMs)
  }

  moving(node: NodeId): Moving {
    return this.downstream.moving?.(node) ?? STILL
  }

  want(nodes: NodeId[]): void {
    this.wanted = nodes
    this.downstream.want(nodes)
  }

  reject(node: NodeId): void {
    this.downstream.reject(node)
  }

  stop(): void {
    this.disconnect()
    this.node = undefined
  }
}
