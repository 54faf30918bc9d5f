/** Where a key lives: asks its homes and the first stand-ins what they hold of it. For people who look at the ring, and for tests. */

import { StorageFailure } from './environment.js'
import type { NodeId, StoreKey } from './ids.js'
import type { Node } from './node.js'
import { partitionIndex } from './ring/partitions.js'
import { type Container, EMPTY_CONTAINER } from './versions/container.js'
import { isEmpty } from './versions/context.js'
import { MalformedError, decodeContainer, digestOf, ifPossible } from './versions/encoding.js'

/** One version at one place. */
export interface TracedVersion {
  /** The dot: who wrote it and the how-manieth write of that actor to this key it is. */
  actor: string
  counter: number
  deleted: boolean
  bytes: number
}

export interface TracedPlace {
  node: string
  reachable: boolean
  /** It did answer, and holds the key. */
  holds: boolean
  /**
   * Why nobody knows what it holds: it gave no answer ('silent'), its disk failed ('disk'), or what it has, or said, cannot be read
   * ('unreadable', a damaged record mostly). null where it answered.
   */
  failure: 'silent' | 'disk' | 'unreadable' | null
  versions: TracedVersion[]
  /** The causal context: how far each actor's writes are known there. */
  clock: Record<string, number>
  /** Equal at two places exactly when both hold the same versions; '' without any. */
  digest: string
}

export interface Trace {
  key: string
  /** 0 to Q - 1, within the key's replication factor. */
  partition: number
  homes: TracedPlace[]
  standIns: TracedPlace[]
}

const STAND_INS = 2

/** @throws StorageFailure ('closed') where this node has lost its disk. */
export async function traceKey(node: Node, key: StoreKey): Promise<Omit<Trace, 'key'>> {
  const { routing } = node
  const homes = routing.homes(key)
  const behind = routing.preferenceList(key).slice(homes.length, homes.length + STAND_INS)
  const look = (place: NodeId) => tracePlace(node, key, place)
  return {
    partition: partitionIndex(node.partitionOf(key), routing.partitions),
    homes: await Promise.all(homes.map(look)),
    standIns: await Promise.all(behind.map(look)),
  }
}

async function tracePlace(node: Node, key: StoreKey, place: NodeId): Promise<TracedPlace> {
  const found = await containerAt(node, key, place)
  const container = typeof found === 'string' ? EMPTY_CONTAINER : found
  const { siblings, context } = container
  const holds = !isEmpty(context)
  const { high, low } = digestOf(key, container)
  return {
    node: place,
    reachable: node.routing.isReachable(place),
    holds,
    failure: typeof found === 'string' ? found : null,
    versions: siblings.map(({ dot, value }) => ({ ...dot, deleted: value === undefined, bytes: value?.length ?? 0 })),
    clock: Object.fromEntries(context.vector),
    digest: holds ? high.toString(16).padStart(8, '0') + low.toString(16).padStart(8, '0') : '',
  }
}

type Failure = NonNullable<TracedPlace['failure']>

async function containerAt(node: Node, key: StoreKey, place: NodeId): Promise<Container | Failure> {
  if (place === node.options.node) return containerHere(node, key)
  const reply = await node.peers.request(place, { type: 'Read', key, full: true }, node.options.tuning.requestTimeoutMs)
  if (reply?.type === 'Failed') return ['malformed', 'too-large'].includes(reply.kind) ? 'unreadable' : 'disk'
  if (reply?.type !== 'ReadResult') return 'silent'
  const { container } = reply
  if (!container) return reply.digest.length === 0 ? EMPTY_CONTAINER : 'unreadable'
  return ifPossible(() => decodeContainer(container)) ?? 'unreadable'
}

async function containerHere(node: Node, key: StoreKey): Promise<Container | Failure> {
  try {
    const [container = EMPTY_CONTAINER] = await node.replica.read([key])
    return container
  } catch (error) {
    if (error instanceof MalformedError) return 'unreadable'
    // Without its disk a store answers nothing any more.
    if (!(error instanceof StorageFailure) || error.kind === 'closed') throw error
    return error.kind === 'corrupt' ? 'unreadable' : 'disk'
  }
}
