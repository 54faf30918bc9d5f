/**
 * Which peers a node links to directly when the room has more of them than it may have links. Pure; relied on by the mesh.
 * Every pair ranks itself the same on both sides, so that both choose each other, and ranks are as good as random, so
 * that two nodes have a common neighbour as long as the room is not much larger than `maxPeers` squared.
 */
import type { NodeId } from '../../core/ids.js'
import type { Peer } from './peer.js'

/** True for everybody while the room is small, and for the best two thirds of `maxPeers` beyond: the rest is for those who choose us. */
export function isChosen(self: NodeId, peer: Peer, peers: Iterable<Peer>, maxPeers: number): boolean {
  const rank = pairRank(self, peer.node)
  let candidates = 0
  let better = 0
  for (const other of peers) {
    if (other.gone || !(other.present || other.wanted)) continue
    candidates++
    if (pairRank(self, other.node) < rank) better++
  }
  return candidates <= maxPeers || better < Math.ceil((maxPeers * 2) / 3)
}

/** FNV-1a over both ids in one order. */
function pairRank(a: NodeId, b: NodeId): number {
  let hash = 0x811c9dc5
  for (const char of a < b ? a + b : b + a) hash = Math.imul(hash ^ char.charCodeAt(0), 0x01000193)
  return hash >>> 0
}
