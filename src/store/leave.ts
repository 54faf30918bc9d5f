/** Leaving for good: everything this node holds is handed to the ring, then the node is forgotten. Resumable: each step may be repeated. */
import type { Node } from '../core/node.js'
import { QuorumError } from './errors.js'

const RETRY_MS = 250

export interface LeaveProgress {
  partitionsLeft: number
  hintsLeft: number
}

export interface LeaveOptions {
  progress?: (left: LeaveProgress) => void
  /** Told when new writes have to wait, as only they are still in the way, and when they may go on. */
  holdWrites?: (isHeld: boolean) => void
  signal?: AbortSignal | undefined
}

/**
 * Resolves when all partitions and hints are at their new homes or, for homes that have been away for a while, at others that stand in for these.
 * Rejects with QuorumError when there is nobody to hand them to, or to tell. When it is given up, the node is a member as before, and fetches back what
 * it had handed over.
 */
export async function handEverythingOver(node: Node, options: LeaveOptions = {}): Promise<void> {
  const { signal, holdWrites } = options
  const others = node.membership.placed().filter((member) => member !== node.options.node)
  const nothingToLose = node.replica.forest.records === 0 && node.replica.hints.pending === 0
  if (others.every((member) => !node.peers.isReachable(member)) && !(nothingToLose && others.length === 0)) {
    throw new QuorumError('leave: no other member is reachable to take over what this node holds.', 0, 1, 'none')
  }
  const giveUp = () => stay(node)
  // At once: the step under way may wait long for others, and stops by itself where it finds itself a home again.
  signal?.addEventListener('abort', giveUp)
  try {
    while (!(await handOver(node, options))) await node.pause(RETRY_MS)
  } catch (error) {
    holdWrites?.(false)
    if (!signal?.aborted) giveUp()
    throw error
  } finally {
    signal?.removeEventListener('abort', giveUp)
  }
}

/** One attempt. @returns whether everything is at its new homes, and everybody knows that this node has left. */
async function handOver(node: Node, { progress, holdWrites, signal }: LeaveOptions): Promise<boolean> {
  signal?.throwIfAborted()
  // Also when another call for the same was given up meanwhile.
  if (!node.membership.isLeaving(node.options.node)) node.membership.declare({ state: 'leaving' })
  await node.handoff.reroute()
  for (const home of node.replica.hints.homes()) node.handoff.deliverTo(home)
  await node.handoff.passOn((home) => node.transfers.isAway(home))
  const partitionsLeft = await node.transfers.releaseStrays(true)
  signal?.throwIfAborted()
  const hintsLeft = node.replica.hints.pending
  progress?.({ partitionsLeft, hintsLeft })
  holdWrites?.(partitionsLeft === 0)
  // With everybody else asleep, as seen from a cut-off tab, all would be this node's own again: nothing was handed over.
  const isHandedOver = node.replica.forest.records === 0 || node.membership.placed().length > 0
  if (partitionsLeft > 0 || hintsLeft > 0 || !node.coordinator.synced || !isHandedOver) return false
  // Of a disk that was lost on the way, nobody knows what is on it.
  await node.replica.storage.getHints([])
  signal?.throwIfAborted()
  if (node.membership.self.state !== 'left') node.membership.declare({ state: 'left' })
  const isKnown = await node.gossip.tellAll()
  signal?.throwIfAborted()
  return isKnown
}

/** Takes the leaving back. What was written meanwhile went to others: nothing here counts as whole until it was compared with theirs. */
function stay(node: Node): void {
  node.membership.declare({ state: 'up' })
  node.duties.distrustAll()
  node.transfers.fill()
}
