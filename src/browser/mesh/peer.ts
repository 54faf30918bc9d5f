/** What the mesh knows of one other node: how to dial it (the dialer's part) and which way frames take (the mesh's). */
import type { NodeId } from '../../core/ids.js'
import type { Link } from './link.js'
import type { Signal } from './signals.js'

export class Peer {
  /** In the signaling room; in the application's list of members. */
  present = false
  wanted = false
  /** Said goodbye and was not heard of since. */
  gone = false
  /** Was told to the application as up. */
  up = false

  link: Link | undefined
  /** The last link that ended here. */
  lastLink = ''
  /** When the link was begun, and when it opened. */
  dialedAt = 0
  openedAt = 0
  failures = 0
  /** In a row. */
  lostOffers = 0
  blockedUntil = 0
  /** Of the attempt under way, or the pause before the next one. */
  timer: ReturnType<typeof setTimeout> | undefined

  /** The present life of its page as far as we know, and former ones. */
  session: string | undefined
  /** When this one spoke last, but for what it said on a link. */
  metAt = Number.NEGATIVE_INFINITY
  /** When it came with another one than before. */
  restartedAt = Number.NEGATIVE_INFINITY
  readonly retired: string[] = []
  /** The greatest attempt that it has dialed with in this session, and the numbers of its latest signals. */
  attempt = 0
  readonly seen = new Set<number>()
  /** Candidates that came before their offer. */
  early: Signal[] = []
  /** How many signals we sent it. */
  sent = 0

  /** The neighbour that passes frames on, when there is no link. */
  via: NodeId | undefined
  /** Relays wait for a direct link to have had its chance. */
  patience: ReturnType<typeof setTimeout> | undefined
  /** Counts our paths to it: every change of link or neighbour is a new one. */
  pathOut = 0
  /** The greatest path of its that we have seen, and the one at which our present link began. */
  pathIn = 0
  linkPath: number | undefined

  constructor(readonly node: NodeId) {}
}
