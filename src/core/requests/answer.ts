/** What a node says of a key that it is asked for: half a message, and what both ends make of it. */
import type { Digest } from '../environment.js'
import type { NodeId, StoreKey } from '../ids.js'
import { type MessageOf, mayTravel } from '../messages.js'
import type { Peers } from '../peers.js'
import { digestsFromBytes, digestsToBytes } from '../replica/merkle.js'
import type { Tuning } from '../tuning.js'
import { type Container, EMPTY_CONTAINER } from '../versions/container.js'
import { isEmpty } from '../versions/context.js'
import { decodeContainer, digestOf, encodeContainer, ifPossible } from '../versions/encoding.js'

export interface Answer {
  /** undefined: this node holds nothing of the key. */
  digest: Digest | undefined
  container: Container | undefined
  complete: boolean
  /** It counts itself among the homes of the key: its view of who the members are may be newer than this node's. */
  home: boolean
}

/** @param full the value too, not only its digest. @returns undefined when it does not answer, or with nonsense */
export async function askFor(
  key: StoreKey,
  node: NodeId,
  full: boolean,
  peers: Peers,
  { requestTimeoutMs }: Tuning,
): Promise<Answer | undefined> {
  const reply = await peers.request(node, { type: 'Read', key, full }, requestTimeoutMs)
  return reply?.type === 'ReadResult' ? ifPossible(() => answerOf(reply)) : undefined
}

/** @throws MalformedError */
function answerOf({ digest, container, complete, home = true }: MessageOf<'ReadResult'>): Answer {
  const nothing = digest.length === 0 ? EMPTY_CONTAINER : undefined
  return {
    digest: digestsFromBytes(digest)[0],
    container: container ? decodeContainer(container) : nothing,
    complete,
    home,
  }
}

/** The replica's answer to a Read, as it travels. Of what is too large for that, the digest says that there is something. */
export function readResult(key: StoreKey, container: Container, full: boolean, complete: boolean, home: boolean) {
  const digest = digestIfAny(key, container)
  const encoded = digest && full ? encodeContainer(container) : undefined
  return {
    type: 'ReadResult' as const,
    digest: digest ? digestsToBytes([digest]) : new Uint8Array(0),
    container: encoded && mayTravel(encoded) ? encoded : undefined,
    complete,
    home,
  }
}

export function digestIfAny(key: StoreKey, container: Container): Digest | undefined {
  return isEmpty(container.context) ? undefined : digestOf(key, container)
}
