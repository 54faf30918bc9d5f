/**
 * Ways around a missing link: neighbours tell each other whom they are linked to, and a common neighbour passes on frames
 * and signals, one hop and no further. Pure but for what it remembers: the mesh sends and delivers. Relied on by the mesh.
 *
 * Invariant: a frame is passed on only when it comes from its origin over the origin's own link, and only over a direct
 * link to its destination; so nothing can circle.
 */
import { type NodeId, isId } from '../../core/ids.js'

const MAX_LISTED = 512

/** What neighbours say to each other in the control lane, as JSON. */
export type Control =
  /** My links; and the number of my path to you, greater than that of all frames I have relayed to you before. */
  | { type: 'near'; nodes: NodeId[]; path: number }
  /** A signal for `to`, carried by a common neighbour because the signaling server is away. */
  | { type: 'carry'; to: NodeId; from: NodeId; signal: unknown }
  /** This page closes. */
  | { type: 'bye' }
  /** Are you there? */
  | { type: 'ping' }
  | { type: 'pong' }

const encoder = new TextEncoder()
const decoder = new TextDecoder()

export function encodeControl(control: Control): Uint8Array {
  return encoder.encode(JSON.stringify(control))
}

/** Undefined for anything that is none. */
export function decodeControl(bytes: Uint8Array): Control | undefined {
  let value: unknown
  try {
    value = JSON.parse(decoder.decode(bytes))
  } catch {
    return undefined
  }
  if (typeof value !== 'object' || value === null) return undefined
  const { type, nodes, path, to, from, signal } = value as Record<string, unknown>
  if (type === 'bye' || type === 'ping' || type === 'pong') return { type }
  if (type === 'carry') return isId(to) && isId(from) ? { type, to, from, signal } : undefined
  if (type !== 'near' || !Array.isArray(nodes) || nodes.length > MAX_LISTED || !nodes.every(isId)) return undefined
  return Number.isSafeInteger(path) ? { type, nodes, path: path as number } : undefined
}

/** What stands before a relayed frame. */
export interface RelayHeader {
  to: NodeId
  from: NodeId
  /** The origin's session, and the number of its path to `to`: greater after every change of path. */
  session: string
  path: number
}

/** One byte of length, then the four fields in ASCII with blanks between, then the frame. */
export function wrapRelayed({ to, from, session, path }: RelayHeader, frame: Uint8Array): Uint8Array {
  const header = encoder.encode(`${to} ${from} ${session} ${path}`)
  const wrapped = new Uint8Array(1 + header.length + frame.length)
  wrapped[0] = header.length
  wrapped.set(header, 1)
  wrapped.set(frame, 1 + header.length)
  return wrapped
}

/** Undefined for anything that is none. */
export function unwrapRelayed(wrapped: Uint8Array): { header: RelayHeader; frame: Uint8Array } | undefined {
  const start = 1 + (wrapped[0] ?? 0)
  if (wrapped.length < start) return undefined
  const [to, from, session, number, ...more] = decoder.decode(wrapped.subarray(1, start)).split(' ')
  const path = Number(number)
  if (!isId(to) || !isId(from) || !isId(session) || !Number.isSafeInteger(path) || more.length > 0) return undefined
  return { header: { to, from, session, path }, frame: wrapped.subarray(start) }
}

/** Who is linked to whom, as the neighbours say. */
export class Neighbours {
  private readonly lists = new Map<NodeId, Set<NodeId>>()

  set(neighbour: NodeId, nodes: Iterable<NodeId>): void {
    this.lists.set(neighbour, new Set(nodes))
  }

  /** A frame came from `node` by this neighbour, so the way exists, whatever its last list said. */
  add(neighbour: NodeId, node: NodeId): void {
    const list = this.lists.get(neighbour)
    if (list && list.size < MAX_LISTED) list.add(node)
  }

  delete(neighbour: NodeId): void {
    this.lists.delete(neighbour)
  }

  /** A neighbour that is linked to the node: `preferred` while it still is one, so that paths change rarely. */
  towards(node: NodeId, preferred?: NodeId): NodeId | undefined {
    if (preferred !== undefined && this.lists.get(preferred)?.has(node)) return preferred
    for (const [neighbour, nodes] of this.lists) if (nodes.has(node)) return neighbour
    return undefined
  }
}
