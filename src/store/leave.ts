/** Leaving for good: everything this node holds is handed to the ring, then the node is forgotten. Resumable: each step may be repeated. */
import type { Node } from '../core/node.js'
import { QuorumError } from './errors.js'

const RETRY_MS = 250

export interface LeaveProgress {
  partitionsLeft: number
  hintsLeft: number
}

/**
 * Resolves when all partitions and hints are at their new homes. Rejects with QuorumError when there is nobody to hand them to; waits for homes
 * that are away, as long as the signal allows.
 */
export async function handEverythingOver(
  node: Node,
  progress: (left: LeaveProgress) => void,
  signal: AbortSignal | undefined,
): Promise<void> {
  const others = node.membership.placed().filter((member) => member !== node.options.node)
  const nothingToLose = node.replica.forest.records === 0 && node.replica.hints.pending === 0
  if (others.every((member) => !node.peers.isReachable(member)) && !nothingToLose) {
    throw new QuorumError('leave: no other member is reachable to take over what this node holds.', 0, 1, 'none')
  }
  if (!node.membership.isLeaving(node.options.node)) node.membership.declare({ state: 'leaving' })
  for (;;) {
    signal?.throwIfAborted()
    await node.handoff.reroute()
    for (const home of node.replica.hints.homes()) node.handoff.deliverTo(home)
    const partitionsLeft = await node.transfers.releaseStrays()
    const hintsLeft = node.replica.hints.pending
    progress({ partitionsLeft, hintsLeft })
    // With everybody else asleep, as seen from a cut-off tab, all would be this node's own again: nothing was handed over.
    const isHandedOver = node.replica.forest.records === 0 || node.membership.placed().length > 0
    if (partitionsLeft === 0 && hintsLeft === 0 && node.synced && isHandedOver) {
      // Of a disk that was lost on the way, nobody knows what is on it.
      await node.replica.storage.getHints([])
      if (node.membership.self.state !== 'left') node.membership.declare({ state: 'left' })
      if (await node.gossip.tellAll()) return
    }
    await node.pause(RETRY_MS)
  }
}
