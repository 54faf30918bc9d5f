/** What an application can know of its node and of the others: plain data, made when it is asked for. */
import type { ReplicationFactor } from '../core/ids.js'
import type { MemberRecord } from '../core/membership/records.js'
import type { Node } from '../core/node.js'

export interface Status {
  readonly node: string
  readonly device: string
  readonly room: string
  readonly name: string
  /** False after `disconnect()`, and while the browser says that there is no network. */
  readonly online: boolean
  /** Members that answer now. */
  readonly peers: number
  /** Members of the ring, this node and those that are away included; not those that left. */
  readonly members: number
  /** Partitions of which this node is a home, those of all replication factors in use. */
  readonly partitionsHeld: number
  /** Partitions whose data this node is still fetching. */
  readonly partitionsFilling: number
  /** Keys with a value on this node's disk. */
  readonly keysHeld: number
  /** Deliveries that hints on this node's disk wait for, one per key and home: a write that two homes lack counts twice. */
  readonly hintsPending: number
  /** Bytes of all versions on this node's disk. */
  readonly bytesStored: number
  /** Bytes that the site's data take on this device, and that they may take, as the browser says; null where it does not say. */
  readonly storageUsed: number | null
  readonly storageQuota: number | null
  /** What this node takes no more of, for lack of room: hints for others, or also replicas of their writes. */
  readonly storageRefuses: 'nothing' | 'hints' | 'replicas'
  /** Every write made here has reached all of its homes. */
  readonly synced: boolean
}

export interface Member {
  readonly node: string
  readonly name: string
  readonly device: string
  /** unreachable: belongs to the ring but does not answer this node now. */
  readonly state: 'up' | 'unreachable' | 'asleep' | 'left'
  readonly connected: boolean
  /** Round trip in milliseconds, smoothed; null before the first, and for this node. */
  readonly rtt: number | null
  /** Partitions (of the default replication) of which it is a home. */
  readonly partitions: number
  /** Milliseconds since 1970 of the last sign of life; null when there was none. */
  readonly lastSeen: number | null
}

export function statusOf(node: Node, room: string, online: boolean): Status {
  const { membership, replica, duties, peers, options } = node
  return {
    node: options.node,
    device: options.device,
    room,
    name: options.name,
    online,
    peers: peers.reachable().length,
    members: membership.all().filter((record) => !membership.isLeaving(record.node)).length,
    partitionsHeld: duties.held().length,
    partitionsFilling: duties.filling().length,
    keysHeld: replica.forest.live,
    hintsPending: replica.hints.pending,
    bytesStored: replica.forest.bytes,
    storageUsed: replica.pressure.estimate?.usage ?? null,
    storageQuota: replica.pressure.estimate?.quota ?? null,
    storageRefuses: replica.pressure.refuses,
    synced: node.coordinator.synced,
  }
}

export function membersOf(node: Node, n: ReplicationFactor, wallTime: number): Member[] {
  return node.membership.all().map((record) => memberOf(node, record, n, wallTime))
}

function stateOf({ state }: MemberRecord, connected: boolean): Member['state'] {
  if (state === 'leaving') return 'left'
  return state === 'up' && !connected ? 'unreachable' : state
}

export function memberOf(node: Node, record: MemberRecord, n: ReplicationFactor, wallTime: number): Member {
  const { membership, peers, options } = node
  const self = record.node === options.node
  const connected = self || peers.isReachable(record.node)
  const age = membership.evidenceAge(record.node)
  return {
    node: record.node,
    name: record.name,
    device: record.device,
    state: stateOf(record, connected),
    connected,
    rtt: self ? null : (peers.rtt(record.node) ?? null),
    partitions: record.state === 'up' ? membership.placementFor(n).partitionsOf(record.node).length : 0,
    lastSeen: self || connected ? wallTime : age < 0 ? null : wallTime - age,
  }
}
