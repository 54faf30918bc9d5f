/**
 * The complete history of all writes of a run: the true causal graph, and who holds what on which disk. Judges what is there against it (the
 * invariants' numbers are those of docs/simulator.md).
 *
 * What a write saw is its context, and contexts are exact sets of dots; so the graph is known without any help of the protocol's merging.
 */
import type { ActorId, NodeId, StoreKey } from '../../src/core/ids.js'
import type { PutOutcome } from '../../src/core/requests/put.js'
import { type Container, type Sibling, compareDots, isLiveSibling } from '../../src/core/versions/container.js'
import { type CausalContext, type Dot, covers } from '../../src/core/versions/context.js'

export interface Write {
  key: StoreKey
  dot: Dot
  at: NodeId
  /** What the writer had seen, without the write itself. */
  context: CausalContext
  deleted: boolean
  /** What was written; every copy has to say the same. */
  sibling: Sibling
  /** When it began, in virtual time. */
  time: number
  /** The writer's wall clock. */
  wallTime: number
  /** Who said that it is durable there; where it really is, since a disk that had it lost it. */
  holders: Set<NodeId>
  /** A disk lost its copy of it before the put had ended. */
  struck: boolean
  /** Its last copies are of what replaced it, and that had not seen all that it had: no disk knows any more what it has replaced. */
  outlived: boolean
  /** Refused, or known to be nowhere: its writer was told so. */
  refused: boolean
  /** A disk from before that was forgotten has brought it back. */
  revived: boolean
  /** An application's, and not what the core made of expired values and tombstones. */
  byUser: boolean
}

export class History {
  private readonly writes = new Map<StoreKey, Write[]>()
  /** By key, actor and counter: every version that is shown anywhere is looked up. */
  private readonly byDot = new Map<StoreKey, Map<ActorId, Map<number, Write>>>()
  private readonly counters = new Map<string, number>()
  /** In the order of their beginnings. */
  readonly all: Write[] = []
  private readonly forgotten = new Set<StoreKey>()
  readonly violations: string[] = []

  /** Members agreed to forget the tombstones, or what long contexts say, of these keys. */
  forgot(keys: StoreKey[]): void {
    for (const key of keys) this.forgotten.add(key)
  }

  began(
    key: StoreKey,
    at: NodeId,
    container: Container,
    context: CausalContext,
    time: number,
    wallTime: number,
  ): Write {
    const [sibling] = container.siblings
    if (!sibling) throw new Error('a write has a version')
    const { dot } = sibling
    const name = nameOf(key, dot)
    if (this.writeOf(key, dot)) this.violation('I4', `dot issued twice: ${name}`)
    const counted = `${dot.actor} ${key}`
    if (dot.counter <= (this.counters.get(counted) ?? 0)) this.violation('I6', `counter went back: ${name}`)
    this.counters.set(counted, dot.counter)
    const write: Write = {
      key,
      dot,
      at,
      context,
      deleted: sibling.value === undefined,
      sibling,
      time,
      wallTime,
      holders: new Set(),
      struck: false,
      outlived: false,
      refused: false,
      revived: false,
      byUser: false,
    }
    const ofKey = this.byDot.get(key) ?? new Map<ActorId, Map<number, Write>>()
    this.byDot.set(
      key,
      ofKey.set(dot.actor, (ofKey.get(dot.actor) ?? new Map<number, Write>()).set(dot.counter, write)),
    )
    const known = this.writes.get(key) ?? []
    known.push(write)
    this.writes.set(key, known)
    this.all.push(write)
    return write
  }

  /**
   * @param holds whether it, or what replaced it, really is on that node's disk
   * @param struck whether some fault has met that node meanwhile, so that its word counts no more
   * @param copies all nodes that hold it
   */
  ended(
    write: Write,
    outcome: PutOutcome,
    holds: (node: NodeId) => boolean,
    struck: (node: NodeId) => boolean,
    copies: () => ReadonlySet<NodeId>,
  ): void {
    write.refused = outcome.refused
    // Who has acknowledged it may have handed it on to just the disk that lost it.
    if (write.struck) {
      if (outcome.acks.length > 0) write.holders = new Set(copies())
      return
    }
    const missing = outcome.acks.filter((node) => !holds(node) && !struck(node))
    for (const node of outcome.acks) if (missing.includes(node) || !struck(node) || holds(node)) write.holders.add(node)
    // A stand-in, or the writer's outbox, may have handed it on already: then all homes have it.
    if (missing.length > 0 && copies().size < Math.min(write.holders.size, outcome.answers))
      this.violation('I13', `${missing} acknowledged ${nameOf(write.key, write.dot)} without having it on disk`)
    if (outcome.met && outcome.acks.length < outcome.needed && !outcome.refused)
      this.violation(
        'I13',
        `${nameOf(write.key, write.dot)} met its quorum of ${outcome.needed} with ${outcome.acks.length}`,
      )
  }

  /**
   * These had a copy on a disk that has lost it by no fault of the protocol: what was there alone is nobody's fault. Of all others, it is.
   * @param isKnown whether some copy tells all that the write has replaced
   */
  copiesLost(
    writes: readonly Write[],
    copies: (write: Write) => ReadonlySet<NodeId>,
    isKnown: (write: Write) => boolean,
  ): void {
    for (const write of writes)
      if (write.holders.size > 0) {
        write.holders = new Set(copies(write))
        write.outlived = !isKnown(write)
      } else write.struck = true
  }

  /**
   * These are on a disk again that went back in time. What replaced or deleted them may have been forgotten, with that disk's consent: then nobody can
   * know. And it may be a time when a put that was refused then was still under way.
   */
  cameBack(writes: readonly Write[]): void {
    for (const write of writes) {
      write.refused = false
      write.outlived = false
      write.revived ||= this.forgotten.has(write.key)
    }
  }

  keys(): StoreKey[] {
    return [...this.writes.keys()]
  }

  writesOf(key: StoreKey): readonly Write[] {
    return this.writes.get(key) ?? []
  }

  violation(invariant: string, what: string): void {
    this.violations.push(`${invariant}: ${what}`)
  }

  /** The write that a version is; undefined for what nobody wrote. */
  writeOf(key: StoreKey, dot: Dot): Write | undefined {
    return this.byDot.get(key)?.get(dot.actor)?.get(dot.counter)
  }

  /**
   * I5 while the run goes on: nothing unknown or altered, and no version beside one that replaced it. A session keeps a deletion that it saw, also when
   * everybody forgets what was replaced: it shows nothing.
   * @param answered what was answered, without what the session had found before
   */
  judgeAnswer(key: StoreKey, container: Container, where: string, answered = container): void {
    const shown = container.siblings.flatMap(({ dot }) => this.writeOf(key, dot) ?? [])
    if (shown.length < container.siblings.length) this.violation('I5', `${where} shows a version that nobody wrote`)
    const isKept = (write: Write) =>
      write.deleted &&
      this.forgotten.has(key) &&
      !answered.siblings.some(({ dot }) => compareDots(dot, write.dot) === 0)
    for (const write of shown)
      if (
        !write.revived &&
        !isKept(write) &&
        shown.some((later) => later !== write && covers(later.context, write.dot))
      )
        this.violation('I5', `${where} shows ${nameOf(key, write.dot)} beside a version that replaced it`)
    this.judgeVersions(key, container, where)
  }

  /** Whether the container shows this write, or what replaced it; or it was deleted, and that was forgotten. */
  shows({ siblings, context }: Container, write: Write): boolean {
    if (covers(context, write.dot)) return true
    const { key } = write
    const later = siblings.flatMap(({ dot }) => this.writeOf(key, dot) ?? [])
    if (later.some((sibling) => covers(sibling.context, write.dot))) return true
    // Contexts may have been shortened: then only all that the versions saw, and what these had seen, tell.
    const deletions = this.forgotten.has(key) ? this.writesOf(key).filter(({ deleted }) => deleted) : []
    const start = new Set([...later, ...deletions])
    return start.size > 0 && closure(this.writesOf(key), (one) => start.has(one)).has(write)
  }

  /** Whether some deletion has seen this write. */
  isDeleted(write: Write): boolean {
    const all = this.writesOf(write.key)
    // Mostly by one that saw it itself; to find the others takes long.
    if (all.some(({ deleted, context }) => deleted && covers(context, write.dot))) return true
    return closure(all, ({ deleted }) => deleted).has(write)
  }

  /** The bytes and the expiry of a version are what its writer gave it, wherever it went: moving it never extends it. */
  private judgeVersions(key: StoreKey, { siblings }: Container, where: string): void {
    for (const { dot, expiresAt, value } of siblings) {
      const written = this.writeOf(key, dot)?.sibling
      if (!written) continue
      if (expiresAt !== written.expiresAt)
        this.violation('I5', `${where} shows ${nameOf(key, dot)} with another time to live`)
      if (value?.length !== written.value?.length || value?.some((byte, i) => byte !== written.value?.[i]))
        this.violation('I5', `${where} shows ${nameOf(key, dot)} with another value`)
    }
  }

  /** What the core replaced by itself was a tombstone, or had expired by the clock of the tab that did. */
  judgeExpiries(): void {
    for (const [key, writes] of this.writes)
      for (const { context, byUser, wallTime, at } of writes) {
        if (byUser) continue
        for (const { dot, sibling } of writes)
          if (covers(context, dot) && isLiveSibling(sibling, wallTime))
            this.violation('I1', `${at} took ${nameOf(key, dot)} for expired`)
      }
  }

  /** I1, I2, I5 for one key, from the state that all homes agree on; undefined when none holds anything. */
  judge(key: StoreKey, state: Container | undefined): void {
    const writes = this.writes.get(key) ?? []
    if (state) this.judgeVersions(key, state, 'the ring')
    const left = new Set<Write>()
    for (const { dot } of state?.siblings ?? []) {
      const write = this.writeOf(key, dot)
      if (write) left.add(write)
      else this.violation('I5', `unknown version ${nameOf(key, dot)}`)
    }
    const isLeft = (write: Write) => left.has(write)
    // A write took effect when somebody confirmed it, when it is there, or when somebody who saw it wrote what did.
    const effective = closure(writes, (write) => isLeft(write) || write.holders.size > 0)
    // A deletion that everybody agreed to forget leaves nothing behind, but what it deleted is not lost; it may be one whose writer was
    // killed before he heard of its success.
    const mayBeForgotten = (write: Write) => write.deleted && (effective.has(write) || this.forgotten.has(key))
    const explained = closure(writes, (write) => isLeft(write) || mayBeForgotten(write))
    for (const write of writes) {
      // Who saw what replaced it, has seen it as well.
      const by = writes.find(
        (later) =>
          later !== write &&
          (isLeft(later) || (later.holders.size > 0 && !later.outlived)) &&
          covers(later.context, write.dot),
      )
      // A session that goes on without its disk gives back a deletion that it has seen, also one that is forgotten: it shows nothing (seed 100469).
      const isForgottenDeletion = write.deleted && this.forgotten.has(key)
      if (isLeft(write) && by && !write.revived && !isForgottenDeletion)
        this.violation(
          by.deleted ? 'I2' : 'I5',
          `${nameOf(key, write.dot)} is there although ${nameOf(key, by.dot)}, held by ${[...by.holders].join(' and ') || 'the ring'}, ${by.deleted ? 'deleted' : 'replaced'} it`,
        )
      if (write.refused && isLeft(write))
        this.violation('I13', `${nameOf(key, write.dot)} is there although it was refused for too many siblings`)
      if (write.holders.size > 0 && !write.refused && !explained.has(write))
        this.violation(
          'I1',
          `acknowledged write lost: ${nameOf(key, write.dot)}, held by ${[...write.holders].join(' and ')}`,
        )
    }
  }
}

/** These writes, and all that somebody among them had seen. */
function closure(writes: readonly Write[], start: (write: Write) => boolean): Set<Write> {
  const found = new Set<Write>()
  const rest = writes.filter(start)
  for (let next = rest.pop(); next; next = rest.pop()) {
    if (found.has(next)) continue
    found.add(next)
    const { context } = next
    for (const write of writes) if (!found.has(write) && covers(context, write.dot)) rest.push(write)
  }
  return found
}

export function nameOf(key: StoreKey, { actor, counter }: Dot): string {
  return `${actor}:${counter} of ${JSON.stringify(key)}`
}
