/** Read repair (§5): once a get has its answer, the homes that are behind it are brought up to date, a limited number a second. */
import type { Clock, Digest } from '../environment.js'
import type { NodeId, StoreKey } from '../ids.js'
import { type Message, mayTravel } from '../messages.js'
import type { Peers } from '../peers.js'
import { sameDigest } from '../replica/merkle.js'
import type { Replica } from '../replica/replica.js'
import type { Routing } from '../routing.js'
import type { Tuning } from '../tuning.js'
import { type Container, dominates } from '../versions/container.js'
import { isEmpty } from '../versions/context.js'
import { digestOf, encodeContainer } from '../versions/encoding.js'
import { type Answer, askFor, digestIfAny } from './answer.js'

export interface RepairContext {
  routing: Routing
  peers: Peers
  replica: Replica
  clock: Clock
  tuning: Tuning
  /** Permission for one read repair now: they are limited in rate (P19). */
  mayRepair: () => boolean
  repaired: (key: StoreKey, nodes: NodeId[]) => void
}

/**
 * Sends `merged` to each home whose answer was something else, and who is still behind it after a moment: a write on its way is no divergence, and
 * must not make reads write (P18). Who did not answer is left to handoff and Merkle sync.
 * @throws StorageFailure
 */
export async function repairHomes(
  key: StoreKey,
  merged: Container,
  homes: ReadonlyMap<NodeId, Answer>,
  context: RepairContext,
): Promise<void> {
  const { routing, clock, tuning } = context
  if (isEmpty(merged.context)) return
  const digest = digestOf(key, merged)
  let stale = [...homes].filter(([, answer]) => isBehind(answer, merged, digest)).map(([node]) => node)
  if (stale.length === 0) return
  await new Promise<void>((resolve) => void clock.setTimer(tuning.syncSettleMs, resolve))
  stale = await stillBehind(key, merged, stale, context)
  const bytes = encodeContainer(merged)
  if (!mayTravel(bytes)) stale = stale.filter((node) => node === routing.self)
  if (stale.length === 0 || !context.mayRepair()) return
  await Promise.all(stale.map((node) => send(key, merged, node, context)))
  context.repaired(key, stale)
}

function isBehind({ container, digest }: Answer, merged: Container, wanted: Digest): boolean {
  if (container) return !dominates(container, merged)
  return !digest || !sameDigest(digest, wanted)
}

/** Of these homes, the ones whose state is neither the merged one nor a newer one now. */
async function stillBehind(
  key: StoreKey,
  merged: Container,
  homes: NodeId[],
  { replica, routing, peers, tuning }: RepairContext,
): Promise<NodeId[]> {
  const digest = digestOf(key, merged)
  const behind = await Promise.all(
    homes.map(async (node) => {
      const own = node === routing.self ? (await replica.read([key]))[0] : undefined
      const now = own ? { digest: digestIfAny(key, own), container: own } : await askFor(key, node, true, peers, tuning)
      if (!now || (now.digest && sameDigest(now.digest, digest))) return false
      return !(now.container && dominates(now.container, merged))
    }),
  )
  return homes.filter((_, i) => behind[i])
}

async function send(
  key: StoreKey,
  merged: Container,
  node: NodeId,
  { replica, routing, peers, tuning }: RepairContext,
): Promise<void> {
  if (node === routing.self) return void (await replica.storeRecords([{ key, container: merged }], 'relaxed'))
  const entries: [StoreKey, Uint8Array][] = [[key, encodeContainer(merged)]]
  const message: Message = { type: 'Store', entries, hintFor: [], strict: false, fresh: false }
  await peers.request(node, message, tuning.requestTimeoutMs, 'background')
}
