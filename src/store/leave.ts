/** Leaving for good: everything this node holds is handed to the ring, then the node is forgotten. Resumable: each step may be repeated. */
import type { NodeId } from '../core/ids.js'
import type { Node } from '../core/node.js'
import { QuorumError } from './errors.js'

const RETRY_MS = 250
/** What this tab itself writes costs the ring the time that handing over takes: after this long it has to wait. */
const HOLD_WRITES_AFTER_MS = 3000

/** When there has been no sign of life of any other member for so long, there is nobody to hand things to. A link that was cut is often back sooner. */
const LOST_AFTER_MS = 10_000

export interface LeaveProgress {
  partitionsLeft: number
  hintsLeft: number
}

export interface LeaveOptions {
  progress?: (left: LeaveProgress) => void
  /** Told when new writes have to wait, as they are in the way, and when they may go on. */
  holdWrites?: (isHeld: boolean) => void
  signal?: AbortSignal | undefined
}

/**
 * Resolves when all partitions and hints are at their new homes or, for homes that have been away for a while, at others that stand in for these.
 * Rejects with QuorumError when there is nobody to hand them to, or to tell, or no longer: all others have left, or sleep, or have been out of reach for some
 * seconds. Of members that leave all at once, one stays for that reason. When it is given up, the node is a member as before, and fetches back what it had handed over.
 */
export async function handEverythingOver(node: Node, options: LeaveOptions = {}): Promise<void> {
  const { signal, holdWrites } = options
  const others = othersOf(node)
  if (isLast(node) || (others.length > 0 && others.every((member) => !node.peers.isReachable(member)))) throw noHeir()
  const leaving: Leaving = {
    tell: () => options.progress?.(leftAt(node)),
    partitionsLeft: Infinity,
    isOverdue: false,
    isOver: false,
  }
  const giveUp = () => {
    leaving.isOver = true
    holdWrites?.(false)
    stay(node)
  }
  // At once: the step under way may wait long for others, and stops by itself where it finds itself a home again.
  signal?.addEventListener('abort', giveUp)
  const stopTelling = node.transfers.events.on('released', leaving.tell)
  void node.pause(HOLD_WRITES_AFTER_MS).then(() => {
    leaving.isOverdue = true
    if (!leaving.isOver && othersOf(node).some((member) => node.peers.isReachable(member))) holdWrites?.(true)
  })
  try {
    while (!(await handOver(node, options, leaving))) await node.pause(RETRY_MS)
  } catch (error) {
    if (!leaving.isOver) giveUp()
    throw error
  } finally {
    leaving.isOver = true
    stopTelling()
    signal?.removeEventListener('abort', giveUp)
  }
}

interface Leaving {
  readonly tell: () => void
  /** After the last attempt. */
  partitionsLeft: number
  isOverdue: boolean
  /** It has ended, or was given up while its last step goes on. */
  isOver: boolean
}

/** Members that take part in the placement. */
function othersOf(node: Node): NodeId[] {
  return node.membership.placed().filter((member) => member !== node.options.node)
}

/** What it holds has no home but this node: all others have left or are about to, or sleep, as they also seem to from a cut-off tab. */
function isLast(node: Node): boolean {
  const { forest, hints } = node.replica
  return othersOf(node).length === 0 && (forest.records > 0 || hints.pending > 0)
}

/** All others went out of reach while it was leaving. */
function hasLostAll(node: Node): boolean {
  const others = othersOf(node)
  const isLost = (member: NodeId) => !node.peers.isReachable(member) && node.membership.silence(member) >= LOST_AFTER_MS
  return others.length > 0 && others.every(isLost)
}

/** Of those that leave at once, and are the last, the first one stays, and the others can hand over to it. */
function isFirstToStay(node: Node): boolean {
  return !node.routing.leavers().some((other) => other < node.options.node && node.peers.isReachable(other))
}

function noHeir(): QuorumError {
  return new QuorumError('leave: no other member is reachable to take over what this node holds.', 0, 1, 'none')
}

function leftAt(node: Node): LeaveProgress {
  return { partitionsLeft: node.transfers.strays().length, hintsLeft: node.replica.hints.pending }
}

/** One attempt. @returns whether everything is at its new homes, and everybody knows that this node has left. */
async function handOver(node: Node, { holdWrites, signal }: LeaveOptions, leaving: Leaving): Promise<boolean> {
  signal?.throwIfAborted()
  // Also when another call for the same was given up meanwhile.
  if (!node.membership.isLeaving(node.options.node)) {
    node.underWay.handsOver()
    node.membership.declare({ state: 'leaving' })
  }
  // What it takes over just now comes to this disk yet.
  await node.taken()
  signal?.throwIfAborted()
  leaving.tell()
  if (isLast(node) || hasLostAll(node)) {
    // Its writes are its own only: nothing will be handed over before they end.
    holdWrites?.(false)
    if (isFirstToStay(node)) throw noHeir()
    goOnLeaving(node)
    return false
  }
  await node.handoff.reroute()
  for (const home of node.replica.hints.homes()) node.handoff.deliverTo(home)
  await node.handoff.passOn((home) => node.transfers.isAway(home))
  await node.transfers.releaseStrays(true)
  signal?.throwIfAborted()
  leaving.tell()
  // Counted anew: what it was the only home of for a moment was no stray then.
  const { partitionsLeft, hintsLeft } = leftAt(node)
  // Where nothing moves, writes are not what is in the way.
  const isMoving = partitionsLeft < leaving.partitionsLeft
  leaving.partitionsLeft = partitionsLeft
  holdWrites?.(othersOf(node).length > 0 && (partitionsLeft === 0 || (leaving.isOverdue && isMoving)))
  if (isLast(node) || partitionsLeft > 0 || hintsLeft > 0 || !node.coordinator.isSettled) {
    goOnLeaving(node)
    return false
  }
  // Of a disk that was lost on the way, nobody knows what is on it.
  await node.replica.storage.getHints([])
  signal?.throwIfAborted()
  if (node.membership.self.state !== 'left') node.membership.declare({ state: 'left' })
  const isKnown = await node.gossip.tellAll()
  signal?.throwIfAborted()
  if (isKnown) {
    node.underWay.handedOver()
    node.events.emit('status', undefined)
  }
  return isKnown
}

/** Whoever has left is not asked before a deletion is forgotten, and this node has something to bring back. */
function goOnLeaving(node: Node): void {
  if (node.membership.self.state === 'left') node.membership.declare({ state: 'leaving' })
}

/** Takes the leaving back. What was written meanwhile went to others: nothing here counts as whole until it was compared with theirs. */
function stay(node: Node): void {
  node.membership.declare({ state: 'up' })
  node.duties.distrustAll()
  node.underWay.handsOver()
  node.transfers.takeBack()
}
