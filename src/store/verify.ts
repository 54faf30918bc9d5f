/** `verify`: this node's disk read again and checked, then compared with every reachable peer. */
import type { Node } from '../core/node.js'
import { userKey } from './entry.js'

export interface VerifyReport {
  records: number
  bytes: number
  /** Keys whose record is damaged on this disk. */
  corrupt: string[]
  /** Damaged records replaced by a good copy from another home. */
  healed: number
  /** Partitions whose Merkle tree did not match their records; a repair makes each anew. */
  wrongTrees: number
  /** For each peer that answered: how many of the shared partitions differ (after the repair, if one was asked for). */
  peers: { node: string; shared: number; differing: number }[]
  /** Nothing damaged is left, and all peers that answered hold the same. */
  ok: boolean
}

export async function verifyNode(node: Node, repair: boolean): Promise<VerifyReport> {
  const { corrupt, ...disk } = await node.scrub.verify(repair)
  const peers: VerifyReport['peers'] = []
  for (const peer of node.peers.reachable()) {
    const shared = node.antiEntropy.shared(peer)
    if (repair) await node.exchange.with(peer, shared, { kind: 'sync', settle: false, give: true })
    const differing = await node.exchange.differing(peer, shared)
    if (differing) peers.push({ node: peer, shared: shared.length, differing: differing.length })
  }
  const isMended = corrupt.length === disk.healed && (repair || disk.wrongTrees === 0)
  const ok = isMended && peers.every((peer) => peer.differing === 0)
  return { ...disk, corrupt: corrupt.map(userKey), peers, ok }
}
