/** When a coordinator asks somebody else as well, or the same node once more, as the frame may be lost. Relied on by get and put. */
import type { NodeId } from '../ids.js'
import type { Peers } from '../peers.js'
import type { Tuning } from '../tuning.js'

/** A node is asked for the same at most this often. */
export const MAX_ATTEMPTS = 4

/** As long as the slowest asked peer usually takes, within bounds; twice as long with each attempt, from 0 on. */
export function patience(
  asked: Iterable<NodeId>,
  { peers, tuning }: { peers: Peers; tuning: Tuning },
  attempt: number,
): number {
  let wait = tuning.patienceMinMs
  for (const node of asked) wait = Math.max(wait, peers.slowAfter(node))
  return Math.min(wait, tuning.patienceMaxMs) * 2 ** attempt
}
