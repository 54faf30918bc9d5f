/** The replica's answers to other nodes' requests: Store, Read, Fetch and Scan, straight from this node's disk. */
import type { KeyRange, StorageFailure } from '../environment.js'
import { guarded } from '../guarded.js'
import type { Partition, StoreKey } from '../ids.js'
import { type Message, type MessageOf, mayTravel } from '../messages.js'
import type { Peers } from '../peers.js'
import type { Entry, Reader, Replica } from '../replica/replica.js'
import type { Tuning } from '../tuning.js'
import { EMPTY_CONTAINER, isLive } from '../versions/container.js'
import { isEmpty } from '../versions/context.js'
import { decodeContainer, encodeContainer } from '../versions/encoding.js'
import { readResult } from './answer.js'

export interface ServeContext {
  replica: Replica
  tuning: Tuning
  isComplete: (key: StoreKey) => boolean
  isHome: (key: StoreKey) => boolean
  /** This node hands everything over and will be gone: what it took now would be lost. */
  isLeaving: () => boolean
  /** Partitions of which this node may lack data, in the replication class in which a range starts. */
  lacking: (from: string) => Partition[]
  /** Received containers pass by here, so that the node notices if anybody knows more of its own dots than it does. */
  observe: (entries: Entry[]) => void
  onStorageFailure: (failure: StorageFailure) => void
  /** After a pause: until this node knows again who the members are. */
  refreshed: () => Promise<void> | undefined
}

export function serveRequests(peers: Peers, context: ServeContext): void {
  const { replica, tuning } = context
  const serve = <M>(answer: (message: M) => Promise<Message>) =>
    guarded(context.onStorageFailure, async (message: M) => {
      const refreshed = context.refreshed()
      if (refreshed !== undefined) await refreshed
      return answer(message)
    })

  peers.handle(
    'Store',
    serve(async ({ entries, hintFor, strict, fresh }: MessageOf<'Store'>) => {
      if (context.isLeaving()) return { type: 'Failed', kind: 'leaving' }
      const decoded = entries.map(([key, bytes]): Entry => ({ key, container: decodeContainer(bytes) }))
      context.observe(decoded)
      const { pressure } = replica
      const forOthers = hintFor.some((home) => home !== peers.self.node)
      if (
        forOthers ? pressure.refusesHints : pressure.refusesReplicas && decoded.some((entry) => isLive(entry.container))
      )
        return { type: 'Failed', kind: 'quota' }
      const refused = await replica.store(decoded, {
        // A hint for this node itself has arrived.
        asRecord: hintFor.length === 0 || hintFor.includes(peers.self.node),
        hintFor: hintFor.filter((home) => home !== peers.self.node),
        own: false,
        durability: strict ? 'strict' : 'relaxed',
        maxSiblings: fresh ? tuning.maxSiblings : 0,
      })
      return { type: 'Stored', refused, home: decoded.every(({ key }) => context.isHome(key)) }
    }),
  )

  peers.handle(
    'Read',
    serve(async ({ key, full }: MessageOf<'Read'>) => {
      const complete = context.isComplete(key)
      if (replica.certainlyAbsent(key)) return readResult(key, EMPTY_CONTAINER, full, complete, context.isHome(key))
      const [container = EMPTY_CONTAINER] = await replica.read([key], 'peer')
      // Both before and after: either may be when the disk was lost or filled.
      return readResult(key, container, full, complete && context.isComplete(key), context.isHome(key))
    }),
  )

  peers.handle(
    'Fetch',
    serve(async ({ keys }: MessageOf<'Fetch'>) => {
      const containers = await replica.readEach(keys, 'peer')
      const entries: [StoreKey, Uint8Array][] = []
      let bytes = 0
      for (let i = 0; i < keys.length; i++) {
        const container = containers[i]
        if (!container || isEmpty(container.context)) continue
        const encoded = encodeContainer(container)
        if (!mayTravel(encoded)) continue
        if (bytes > 0 && bytes + encoded.length > tuning.batchBytes) break
        bytes += encoded.length
        entries.push([keys[i] as StoreKey, encoded])
      }
      return { type: 'Entries', entries, cursor: undefined }
    }),
  )

  peers.handle(
    'Scan',
    serve(async (range: MessageOf<'Scan'>) => {
      const lacking = () => context.lacking(range.from)
      return { type: 'ScanPage', ...(await scanHere(replica, range, lacking, tuning.batchBytes, 'peer')) }
    }),
  )
}

const NO_BYTES = new Uint8Array(0)

/**
 * One page of this node's live keys in a range, in order, with their containers; at most `limit` keys, and about `maxBytes`. No bytes stand
 * for a container that is damaged, or too large to travel to a peer: a read has to decide what there is.
 * @param lacking partitions of which this node may lack data: the page may lack it where that was so before or is so after it was read
 */
export async function scanHere(
  replica: Replica,
  range: KeyRange,
  lacking: () => Partition[],
  maxBytes: number,
  reader: Reader = 'self',
): Promise<{ entries: [StoreKey, Uint8Array][]; more: boolean; lacking: Partition[] }> {
  const lackedBefore = lacking()
  const limit = Math.max(1, Math.min(range.limit, 500))
  const inRange = (key: string) => key >= range.from && key < range.to
  const stored = await replica.storage.scanKeys({ ...range, limit })
  // Writes that wait here for their homes are keys of this node as well. What lies behind a full stored page does not come into this one.
  const hinted = replica.hints.keys().filter(inRange)
  const keys = [...new Set([...stored, ...hinted])].sort()
  if (range.reverse) keys.reverse()
  const page = keys.slice(0, limit)
  const containers = await replica.readEach(page, reader)
  const entries: [StoreKey, Uint8Array][] = []
  let bytes = 0
  for (let i = 0; i < page.length; i++) {
    const container = containers[i]
    let encoded = container ? encodeContainer(container) : NO_BYTES
    if (reader === 'peer' && !mayTravel(encoded)) encoded = NO_BYTES
    bytes += encoded.length
    if (i > 0 && bytes > maxBytes) break
    entries.push([page[i] as StoreKey, encoded])
  }
  const more = stored.length === limit || keys.length > entries.length
  return { entries, more, lacking: [...new Set([...lackedBefore, ...lacking()])] }
}
