/**
 * The users of a bad day: two clients at every tab, each with the session that the store gives it. What they are shown is held against the history:
 * session guarantees (I7), quorums that overlap, scans; and what they ask for is owed an answer (I9).
 */
import { StorageFailure } from '../../../src/core/environment.js'
import { type NodeId, type StoreKey, bucketPrefix } from '../../../src/core/ids.js'
import type { Container } from '../../../src/core/versions/container.js'
import { type CausalContext, EMPTY_CONTEXT } from '../../../src/core/versions/context.js'
import { MalformedError } from '../../../src/core/versions/encoding.js'
import { readScanOptions } from '../../../src/store/scan.js'
import { Session } from '../../../src/store/session.js'
import { type Write, nameOf } from '../history.js'
import type { OpenPlace, Place, World } from '../world.js'
import { HELD_TO_OWN, HELD_TO_STATUS } from './claims.js'
import type { Plan, Step } from './plan.js'
import { type Availability, coverage, hasLost, homesSeenBy } from './promises.js'

type Get = Step & { do: 'get' }
type Put = Step & { do: 'put' }
type Scan = Step & { do: 'scan' }

/** One store handle in one life of a tab. */
interface Client {
  session: Session
  /** What its user was last shown of a key, and what was confirmed to it since. */
  shown: Map<StoreKey, Set<Write>>
  /** What its user was shown of a key, and then that the key has no value any more. */
  gone: Map<StoreKey, Set<Write>>
}

/** A put that met its quorum at homes of the key. */
interface Met {
  write: Write
  homes: string
  w: number
  began: number
  ended: number
}

export class Clients {
  private readonly clients = new Map<string, Client>()
  /** What each client last saw of a key, in whatever life of its tab: an application may keep a context. */
  private readonly kept = new Map<string, CausalContext>()
  private readonly met = new Map<StoreKey, Met[]>()
  private readonly owed = new Set<{ place: Place; life: number }>()

  constructor(
    private readonly world: World,
    private readonly plan: Plan,
    private readonly keys: readonly StoreKey[],
    private readonly availability: Availability,
  ) {}

  /** Operations that nobody ever answered; a tab that was killed owes nothing. */
  get unanswered(): number {
    return [...this.owed].filter(({ place, life }) => place.lives === life).length
  }

  async get(place: OpenPlace, step: Get): Promise<void> {
    const { client, key } = this.begin(place, step)
    const start = this.world.time.now
    const homes = homesSeenBy(place, key)
    const outcome = await this.answer(place, place.node.coordinator.get(key, { r: step.r, strictQuorum: step.strict }))
    if (!outcome) return
    this.sees(client, place, key, outcome.container)
    this.keep(place, step, outcome.container.context)
    // It may have been closed in the very turn of its answer.
    if (!place.node || !outcome.met || outcome.sloppy || homes !== homesSeenBy(place, key)) return
    for (const met of this.met.get(key) ?? [])
      if (met.ended <= start && met.homes === homes) this.judgeOverlap(place, step.r, met, outcome.container)
  }

  async put(place: OpenPlace, step: Put): Promise<void> {
    const { world } = this
    const { client, key, life } = this.begin(place, step)
    const { session } = client
    if (step.context === 'session' && !session.knows(key) && !place.node.replica.certainlyAbsent(key)) {
      const own = await this.answer(place, place.node.coordinator.ownContext(key))
      if (!own || place.lives !== life) return
      session.knew(key, own)
    }
    const began = world.time.now
    const isPromised = this.availability.promised(place, key, step)
    const homes = homesSeenBy(place, key)
    const { write, container, outcome } = this.write(place, key, step, this.contextFor(client, place, step))
    session.began(key, container.context, outcome)
    this.keep(place, step, container.context)
    const result = await this.answer(place, outcome)
    if (!result || place.lives !== life) return
    const { met, sloppy, refused, answers, acks } = result
    if (!refused && isPromised()) {
      world.sights.saw(HELD_TO_TAKE)
      if (!met) world.history.violation('I9', `a put at ${place.id} met ${answers} of ${step.w} on a calm ring`)
    }
    if (place.node && met && !refused && !sloppy && homes === homesSeenBy(place, key))
      this.met.set(key, [
        ...(this.met.get(key) ?? []).slice(1 - KEPT_MET),
        { write, homes, w: step.w, began, ended: world.time.now },
      ])
    // As the store does: what nobody has is not shown.
    if (acks.length === 0) return
    session.found(key, container)
    client.shown.set(key, (client.shown.get(key) ?? new Set()).add(write))
  }

  async scan(place: OpenPlace, step: Scan): Promise<void> {
    const { world, plan } = this
    const { history, sights, time } = world
    const { client, key: first } = this.begin(place, step)
    const range = readScanOptions(
      { start: first.slice(first.indexOf('\0') + 1), reverse: step.reverse },
      bucketPrefix(plan.n, ''),
    )
    const start = time.now
    const isCovered = coverage(world, place, place.node.duties.partitionsOf(plan.n))
    const expected = this.keys.flatMap((key) => (key >= first ? (this.everywhere(place, key) ?? []) : []))
    const scan = place.node.coordinator.scan(range, plan.n, { r: step.r, strictQuorum: false })
    const found = new Map<StoreKey, Container>()
    const whole = async () => {
      let last: StoreKey | undefined
      for await (const { key, container } of scan.entries()) {
        if (last !== undefined && (step.reverse ? key >= last : key <= last))
          history.violation('scan', `the one at ${place.id} is out of order`)
        last = key
        found.set(key, container)
        this.sees(client, place, key, container)
      }
      return scan.complete
    }
    if (!(await this.answer(place, whole())) || !place.node) return
    if (!isCovered())
      history.violation('scan', `the one at ${place.id} calls itself complete, and some partition had no whole home`)
    for (const { write, homes } of expected) {
      const { key } = write
      if (homes !== homesSeenBy(place, key) || hasLost(world, place, key, start)) continue
      sights.saw(HELD_TO_SHOW)
      const container = found.get(key)
      if (!(container ? history.shows(container, write) : history.isDeleted(write)))
        history.violation(
          'scan',
          `the complete one at ${place.id} lacks ${nameOf(key, write.dot)}, which all homes have`,
        )
    }
  }

  /** Every write for a user is made here; all others are the core's own. */
  write(
    place: OpenPlace,
    key: StoreKey,
    { w, strict, durability, deletes, ttlMs }: Pick<Put, 'w' | 'strict' | 'durability' | 'deletes' | 'ttlMs'>,
    context: CausalContext,
  ) {
    const { history } = this.world
    const value = deletes ? undefined : new Uint8Array([history.all.length & 255])
    const expiresAt = ttlMs > 0 ? Math.round(this.world.wallTime(place) + ttlMs) : 0
    const result = place.node.coordinator.write(key, { value, expiresAt }, context, {
      w,
      strictQuorum: strict,
      durability,
    })
    const write = history.writesOf(key).at(-1) as Write
    write.byUser = true
    return { ...result, write }
  }

  /** What the session gives; it covers whatever its user was shown. */
  private contextFor({ session, shown }: Client, place: Place, step: Put): CausalContext {
    const key = this.keyOf(step)
    if (step.context === 'nothing') return EMPTY_CONTEXT
    if (step.context === 'kept') return this.kept.get(nameOfClient(place, step)) ?? EMPTY_CONTEXT
    const context = session.contextOf(key)
    for (const write of shown.get(key) ?? [])
      if (!this.world.history.shows({ siblings: [], context }, write))
        this.world.history.violation(
          'I7',
          `a put at ${place.id} does not follow ${nameOf(key, write.dot)}, which it saw`,
        )
    return context
  }

  /** Read your writes, monotonic reads (I7). */
  private sees({ session, shown, gone }: Client, place: Place, key: StoreKey, container: Container): void {
    const { history, sights } = this.world
    const merged = session.found(key, container)
    session.knew(key, merged.context)
    history.judgeAnswer(key, merged, place.id, container)
    for (const write of shown.get(key) ?? []) {
      sights.saw(HELD_TO_SESSION)
      if (!history.shows(merged, write))
        history.violation('I7', `${place.id} no longer shows ${nameOf(key, write.dot)}, which its session saw`)
    }
    const now = new Set(merged.siblings.flatMap(({ dot }) => history.writeOf(key, dot) ?? []))
    const missed = gone.get(key) ?? new Set()
    if (missed.size > 0) sights.saw(HELD_TO_DELETION)
    for (const write of now)
      if (missed.has(write) && !write.revived)
        history.violation(
          'I7',
          `${place.id} shows ${nameOf(key, write.dot)} again, which its session saw and then saw gone`,
        )
    if ([...now].every(({ deleted }) => deleted))
      gone.set(key, new Set([...missed, ...(shown.get(key) ?? [])].filter(({ deleted }) => !deleted)))
    shown.set(key, now)
  }

  /** A put and a later get that met quorums of the same homes have a home in common, if R + W > N (§4.5). */
  private judgeOverlap(place: OpenPlace, r: number, { write, homes, w, began }: Met, container: Container): void {
    const { key } = write
    if (r + w <= homes.split(' ').length || hasLost(this.world, place, key, began)) return
    this.world.sights.saw(HELD_TO_QUORUM)
    if (!this.world.history.shows(container, write))
      this.world.history.violation('R+W>N', `a get at ${place.id} (R=${r}) misses ${nameOf(key, write.dot)} (W=${w})`)
  }

  /**
   * The latest put of a key that met its quorum, if every home has it as a replica and it will not go away by itself. A home that has it in a hint alone, for
   * another home, shows it until that one has it.
   */
  private everywhere(place: OpenPlace, key: StoreKey): Met | undefined {
    const met = this.met.get(key)?.at(-1)
    if (!met || met.write.deleted || met.write.sibling.expiresAt > 0) return undefined
    const replicas = this.world.replicasOf(met.write)
    return met.homes === homesSeenBy(place, key) && met.homes.split(' ').every((home) => replicas.has(home as NodeId))
      ? met
      : undefined
  }

  private begin(place: OpenPlace, step: Get | Put | Scan): { client: Client; key: StoreKey; life: number } {
    return { client: this.clientAt(place, step.client), key: this.keyOf(step), life: place.lives }
  }

  private clientAt(place: OpenPlace, number: number): Client {
    const name = `${place.id} ${place.lives} ${number}`
    const known = this.clients.get(name)
    if (known) return known
    const client: Client = { session: new Session(), shown: new Map(), gone: new Map() }
    this.clients.set(name, client)
    const { node } = place
    node.events.on('forgetting', (agreed) => {
      client.session.forgetVersions(agreed)
      for (const { key } of agreed) if (!client.session.foundOf(key)) client.shown.delete(key)
    })
    node.events.on('refused', ({ key, dot }) => {
      client.session.refused(key, dot)
      const write = this.world.history.writeOf(key, dot)
      if (write) client.shown.get(key)?.delete(write)
    })
    node.events.on('reborn', () => node.coordinator.handBack(client.session.entries()))
    return client
  }

  private keep(place: Place, step: Get | Put, context: CausalContext): void {
    this.kept.set(nameOfClient(place, step), context)
  }

  /** Undefined where a disk failed: that is an answer as well. */
  private async answer<T>(place: Place, work: Promise<T>): Promise<T | undefined> {
    const debt = { place, life: place.lives }
    this.owed.add(debt)
    try {
      return await work
    } catch (error) {
      if (!(error instanceof StorageFailure || error instanceof MalformedError))
        this.world.history.violation('error', String(error))
      return undefined
    } finally {
      this.owed.delete(debt)
    }
  }

  private keyOf({ key }: Get | Put | Scan): StoreKey {
    return this.keys[key] as StoreKey
  }
}

/** Of each key: older ones are mostly part of what these have seen. */
const KEPT_MET = 12

const HELD_TO_TAKE = 'a put had to meet its quorum'
const HELD_TO_QUORUM = 'a get had to show a put'
const HELD_TO_SESSION = 'a session was held to what it had seen'
const HELD_TO_DELETION = 'a session was held to a deletion that it had seen'
const HELD_TO_SHOW = 'a complete scan had to show a key'

/** Promises that some day of many has to have been held to: without that, none of them was tested. */
export const HELD: readonly string[] = [
  HELD_TO_TAKE,
  HELD_TO_QUORUM,
  HELD_TO_SESSION,
  HELD_TO_DELETION,
  HELD_TO_SHOW,
  HELD_TO_STATUS,
  HELD_TO_OWN,
]

function nameOfClient(place: Place, { client, key }: Get | Put): string {
  return `${place.id} ${client} ${key}`
}
