/**
 * What two nodes say to each other to make a link, through the signaling server or a common neighbour, and the check of
 * it at the door: simple-peer destroys a connection over a signal that it does not understand. Pure; relied on by the dialer.
 */

export type PeerSignal =
  | { type: 'offer' | 'answer'; sdp: string }
  | { type: 'candidate'; candidate: { candidate: string; sdpMid: string | null; sdpMLineIndex: number | null } }

export type Signal = {
  /** One life of the sender's page. A newer one makes everything of the older one void. */
  session: string
  /** Counts the sender's signals to this peer: copies that come on several ways are dropped. */
  n: number
  /** The attempt that it belongs to, as its initiator numbered it: `<session>.<attempt>`. */
  link: string
} & (
  | PeerSignal
  /** Please dial me: the initiator is the other side. `link` is the last one that died here, or ''. */
  | { type: 'call' }
  /** No place for this link now. */
  | { type: 'busy' }
  /** The sender's page goes away. Said on the link as well, where it may get lost with it. */
  | { type: 'bye' }
)

const MAX_SDP_LENGTH = 32 * 1024

/** The signal, if it is one; undefined otherwise. Never throws. */
export function checkSignal(value: unknown): Signal | undefined {
  if (!isObject(value)) return undefined
  const { session, n, link, type, sdp, candidate } = value
  if (!isText(session, 32) || !isText(link, 64) || !Number.isSafeInteger(n)) return undefined
  const head = { session, link, n: n as number }
  if (type === 'call' || type === 'busy' || type === 'bye') return { ...head, type }
  if (type === 'offer' || type === 'answer') return isText(sdp, MAX_SDP_LENGTH) ? { ...head, type, sdp } : undefined
  if (type !== 'candidate' || !isObject(candidate)) return undefined
  const { candidate: line, sdpMid = null, sdpMLineIndex = null } = candidate
  if (!isText(line, 2048)) return undefined
  if (sdpMid !== null && !isText(sdpMid, 64)) return undefined
  if (sdpMLineIndex !== null && !(typeof sdpMLineIndex === 'number' && sdpMLineIndex >= 0 && sdpMLineIndex < 64))
    return undefined
  return { ...head, type, candidate: { candidate: line, sdpMid, sdpMLineIndex } }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null
}

function isText(value: unknown, maxLength: number): value is string {
  return typeof value === 'string' && value.length <= maxLength
}
