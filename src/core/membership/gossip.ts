/**
 * Gossip of member records: every second with one random reachable peer, digests first, then only what the other lacks, both
 * ways (§4.8.1). Signs of life travel along, so that a member whom only others can reach is not put to sleep.
 */
import type { CancelTimer, Clock, Random } from '../environment.js'
import type { NodeId } from '../ids.js'
import type { MessageOf } from '../messages.js'
import type { Peers } from '../peers.js'
import type { Membership } from './membership.js'
import { type MemberRecord, recordVersion, saysLeft } from './records.js'

const REPLY_TIMEOUT_MS = 5000
/** Records in one message; the rest comes with the next rounds. */
const MAX_TOLD = 1000

export class Gossip {
  private timer: CancelTimer | undefined
  /** The hash of its members that each peer told last. */
  private readonly hashes = new Map<NodeId, Uint8Array>()

  constructor(
    private readonly membership: Membership,
    private readonly peers: Peers,
    private readonly clock: Clock,
    private readonly random: Random,
    private readonly intervalMs: number,
  ) {
    peers.handle('Gossip', (message, from) => {
      this.hashes.set(from, message.hash)
      return this.answer(message, from)
    })
    peers.handle('Members', (message, from) => {
      this.absorb(message, from)
      return undefined
    })
    // A new contact is the fastest moment to learn: do not wait for the dice.
    peers.events.on('up', (node) => {
      membership.saw(node)
      void this.exchange(node)
    })
    peers.events.on('down', (node) => this.hashes.delete(node))
  }

  /** Every member, sleepers included, is here and has said that it knows the very same ones. */
  everybodyAgrees(): boolean {
    const hash = this.membership.hash()
    return this.membership.all().every(({ node, state }) => {
      if (state === 'left' || node === this.membership.self.node) return true
      const theirs = this.hashes.get(node)
      return theirs !== undefined && equalBytes(theirs, hash)
    })
  }

  start(): void {
    this.timer = this.clock.setTimer(this.intervalMs * (0.8 + 0.4 * this.random.next()), () => {
      this.start()
      this.noteSignsOfLife()
      const reachable = this.peers.reachable()
      const peer = reachable[Math.floor(this.random.next() * reachable.length)]
      if (peer) void this.exchange(peer)
    })
  }

  stop(): void {
    this.timer?.()
  }

  /** Who was heard, and when: before anybody's silence is judged. */
  noteSignsOfLife(): void {
    for (const node of this.peers.reachable())
      this.membership.saw(node, this.clock.now() - (this.peers.detector.lastHeard(node) ?? 0))
  }

  /** Tells a change at once instead of at the next round. */
  spread(): void {
    const reachable = this.peers.reachable()
    for (let i = 0; i < 2 && reachable.length > 0; i++) {
      const [peer] = reachable.splice(Math.floor(this.random.next() * reachable.length), 1)
      if (peer) void this.exchange(peer)
    }
  }

  /**
   * Tells everybody who is reachable. True if every reachable peer now has all our records, and at least one peer is reachable unless we are the only member, of
   * whom nobody has heard either.
   */
  async tellAll(): Promise<boolean> {
    const known = await Promise.all(this.peers.reachable().map((peer) => this.exchange(peer)))
    const isAlone = () => this.membership.placed().length === 0 && !this.peers.isBeingMet
    return known.every((complete) => complete) && (known.length > 0 || isAlone())
  }

  /** Resolves once anybody has told what changed, if anybody does. */
  async refresh(): Promise<void> {
    await Promise.any(this.peers.reachable().map((peer) => this.exchange(peer))).catch(() => {})
  }

  /** @returns whether the peer answered and lacked nothing. */
  async exchange(peer: NodeId): Promise<boolean> {
    const records = this.membership.all()
    const reply = await this.peers.request(
      peer,
      {
        type: 'Gossip',
        digests: records.map((record) => [record.node, recordVersion(record)]),
        heard: records.map((record) => this.membership.evidenceAge(record.node)),
        hash: this.membership.hash(),
      },
      REPLY_TIMEOUT_MS,
    )
    if (reply?.type !== 'GossipReply') return false
    const wanted = reply.wanted.flatMap((node) => this.membership.get(node) ?? [])
    if (wanted.length > 0)
      this.peers.notify(peer, { type: 'Members', members: wanted, empty: this.emptyOf(wanted) }, 'foreground')
    this.absorb(reply, peer)
    return wanted.length === 0
  }

  private answer(message: MessageOf<'Gossip'>, from: NodeId): MessageOf<'GossipReply'> {
    // It has aged on its way: else, told on from one to the next, the last sign of life of who is gone would never grow old.
    const travelled = (this.peers.rtt(from) ?? 0) / 2
    message.digests.forEach(([node], index) => {
      const silence = message.heard[index]
      if (silence !== undefined && silence >= 0 && this.membership.get(node))
        this.membership.saw(node, silence + travelled)
    })
    const theirs = new Map(message.digests)
    if (equalBytes(message.hash, this.membership.hash()))
      return { type: 'GossipReply', members: [], wanted: [], empty: [] }
    const own = this.membership.all()
    const others = message.digests.filter(([, version]) => !saysLeft(version))
    const members = own.filter(({ state }) => state !== 'left')
    // Same versions but another hash: two records tie by number and differ in content; only sending all settles it.
    const tie =
      members.every((record) => theirs.get(record.node) === recordVersion(record)) && others.length === members.length
    // That somebody has left is told to those who believe otherwise, and to nobody else: it would never be forgotten.
    const newer = own.filter((record) => {
      const version = theirs.get(record.node)
      return version === undefined ? record.state !== 'left' : tie || version < recordVersion(record)
    })
    const wanted = message.digests.filter(([node, version]) => {
      const known = this.membership.get(node)
      return known ? tie || recordVersion(known) < version : !saysLeft(version)
    })
    const told = newer.slice(0, MAX_TOLD)
    return {
      type: 'GossipReply',
      members: told,
      wanted: wanted.slice(0, MAX_TOLD).map(([node]) => node),
      empty: this.emptyOf(told),
    }
  }

  private emptyOf(records: MemberRecord[]): NodeId[] {
    return records.map(({ node }) => node).filter((node) => this.peers.saidItIsEmpty(node))
  }

  private absorb(
    { members, empty = [] }: { members: MemberRecord[]; empty: NodeId[] | undefined },
    from: NodeId,
  ): void {
    // Before the placement changes by it. What a node said of itself is newer than what others say.
    this.peers.noteEmpty(empty.filter((node) => !this.membership.get(node)))
    this.membership.absorb(members, from)
  }
}

function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i])
}
