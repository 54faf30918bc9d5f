/**
 * A simulated room: the production core on virtual time, simulated disks and links. Tabs are opened, killed, frozen, and their disks wiped, swapped and
 * set back; every write goes into the history, every frame into the trace.
 */
import type { CancelTimer, Clock } from '../../src/core/environment.js'
import type { DeviceId, NodeId, Partition, ReplicationFactor, StoreKey } from '../../src/core/ids.js'
import { Node } from '../../src/core/node.js'
import type { Coordinator } from '../../src/core/requests/coordinator.js'
import type { Attic } from '../../src/core/requests/copies.js'
import { DEFAULT_TUNING, type Tuning } from '../../src/core/tuning.js'
import { type Container, EMPTY_CONTAINER } from '../../src/core/versions/container.js'
import { type CausalContext, covers, descends } from '../../src/core/versions/context.js'
import { decodeContainer } from '../../src/core/versions/encoding.js'
import { Disk, SimulatedStorage } from './disk.js'
import { History, type Write } from './history.js'
import { Network, type NetworkKnobs } from './network.js'
import { SeededRandom } from './random.js'
import { Sights } from './sights.js'
import { Trace, type TraceOptions } from './trace.js'
import { VirtualTime } from './virtual-time.js'

export interface WorldKnobs extends NetworkKnobs {
  nodes: number
  tuning: Partial<Tuning>
  diskMinMs: number
  diskMaxMs: number
  /** Time of one disk operation; replaces the uniform one where it is given. */
  diskTime?: () => number
  /** What closed tabs have left; nothing where it is not given. */
  attic?: Attic
  /** How long it takes to look for it. */
  atticMs?: number
  /** What it ends with instead of an answer. */
  atticError?: Error
  replication?: ReplicationFactor[]
  /** In which order a thawed tab finds its timers and its frames; by chance where it is not given. */
  timersFirst?: boolean
}

/** What one tab has for itself. */
export interface PlaceOptions {
  device?: string
  config?: string
  tuning?: Partial<Tuning>
  /** Default 1. */
  capacity?: number
  /** The versions of the protocol that its build speaks; those of the present one where it is not given. */
  protocol?: [oldest: number, newest: number]
}

/** One tab's place in the world; `node` is undefined while it is closed. */
export interface Place {
  id: NodeId
  options: PlaceOptions
  disk: Disk
  node: Node | undefined
  storage: SimulatedStorage | undefined
  /** Timers that came due while the tab was frozen. */
  asleep: (() => void)[] | undefined
  lives: number
  /** It has begun to read its disk. */
  opening: boolean
  /** Who has its disk open in its place, and in which life. */
  adopter: { place: Place; life: number } | undefined
  /** Its wall clock is wrong by this many milliseconds. */
  clockError: number
  /** A hidden tab: its timers come at multiples of this only. */
  timerStepMs: number
  /** Timers that came due between those multiples. */
  throttled: Set<{ due: number; run: () => void; cancel: CancelTimer }>
  /** When some fault last touched it. */
  disturbedAt: number
  /** When its disk last lost something that it had confirmed, or began to hand it over. */
  lostAt: number
  /** When its disk last began or ceased to fail, or forgot what the node had noted about itself. */
  failedAt: number
  /** When it last gave up its copy of a partition. */
  releasedAt: Map<Partition, number>
  /** When a partition last became complete here: all of it was fetched, or nobody else was placed. */
  filledAt: Map<Partition, number>
}

export type OpenPlace = Place & { node: Node }

const WALL_CLOCK_AT_START = 1_700_000_000_000

export class World {
  readonly time = new VirtualTime()
  readonly random: SeededRandom
  readonly network: Network
  readonly history = new History()
  readonly trace: Trace
  readonly sights = new Sights()
  readonly places: Place[] = []
  readonly errors: unknown[] = []
  private readonly diskFree = new Map<Place, number>()

  constructor(
    readonly seed: number,
    readonly knobs: WorldKnobs,
    trace?: TraceOptions,
  ) {
    this.random = new SeededRandom(seed)
    this.trace = new Trace(trace)
    this.network = new Network(this.time, this.random, knobs)
    this.network.taps.push((from, to, frame) => this.trace.frame(this.time.now, from, to, frame))
    for (let i = 0; i < knobs.nodes; i++) this.addPlace()
  }

  addPlace(options: PlaceOptions = {}): Place {
    const place: Place = {
      id: this.random.id(10) as NodeId,
      options,
      disk: new Disk(),
      node: undefined,
      storage: undefined,
      asleep: undefined,
      lives: 0,
      opening: false,
      adopter: undefined,
      clockError: 0,
      timerStepMs: 0,
      throttled: new Set(),
      disturbedAt: 0,
      lostAt: -1,
      failedAt: -1,
      releasedAt: new Map(),
      filledAt: new Map(),
    }
    this.places.push(place)
    return place
  }

  alive(): OpenPlace[] {
    return this.places.filter((place): place is OpenPlace => place.node !== undefined)
  }

  placeOf(node: NodeId): Place {
    const place = this.places.find(({ id }) => id === node)
    if (!place) throw new Error(`no tab ${node}`)
    return place
  }

  /** Opens the tab on its disk. */
  async start(place: Place): Promise<void> {
    this.begin(place)
    const life = place.lives
    await this.time.until(`${place.id} to start`, () => place.node !== undefined || place.lives !== life, 60_000, 5)
  }

  /** Opens the tab on its disk, without waiting until it is open. */
  begin(place: Place): void {
    const life = ++place.lives
    place.opening = true
    this.happened(place, 'opens')
    const storage = new SimulatedStorage(place.disk, { schedule: (work) => this.onDisk(place, life, work) })
    place.storage = storage
    const { device = place.id, config = '', tuning = {}, capacity = 1 } = place.options
    const starting = Node.start(
      {
        node: place.id,
        device: device as DeviceId,
        name: '',
        capacity,
        config,
        replication: this.knobs.replication ?? [3],
        tuning: { ...DEFAULT_TUNING, ...this.knobs.tuning, ...tuning },
      },
      {
        clock: this.clock(place, life),
        random: this.random,
        storage,
        transport: this.network.transport(place.id),
        attic: this.attic(place, life),
      },
    )
    void starting.then(
      (node) => {
        if (place.lives !== life) return
        place.opening = false
        place.node = node
        // No frame has travelled yet: links come up in later turns.
        const { protocol } = place.options
        if (protocol) Object.assign(Reflect.get(node.peers, 'options'), { protocol })
        this.observe(place, node)
      },
      (error) => place.lives === life && this.errors.push(error),
    )
  }

  /** The tab is gone in this very moment, without a word. */
  kill(place: Place): void {
    this.happened(place, 'is killed')
    this.noteFailing(place)
    place.lives++
    place.storage?.kill()
    place.opening = false
    place.node = undefined
    place.asleep = undefined
    this.network.leave(place.id)
  }

  /** The whole machine is gone: what was not flushed is lost with it. */
  cutPower(place: Place): void {
    this.kill(place)
    this.changeDisk(place, 'loses what it had not flushed', () => place.disk.loseUnflushed())
  }

  /** Closes as a page does that has time to say goodbye. */
  async close(place: Place): Promise<void> {
    const { node } = place
    if (!node) return
    this.happened(place, 'closes')
    let done = false
    void node.stop().then(() => {
      done = true
    })
    await this.time.until('a tab to close', () => done, 60_000, 5)
    this.kill(place)
  }

  freeze(place: Place): void {
    if (!place.node || place.asleep) return
    this.happened(place, 'is frozen')
    place.asleep = []
    this.network.freeze(place.id)
  }

  thaw(place: Place): void {
    const due = place.asleep
    if (!due) return
    this.happened(place, 'is thawed')
    place.asleep = undefined
    // Timers and frames have waited, and nobody says which come first.
    const timersFirst = this.knobs.timersFirst ?? this.random.chance(0.5)
    if (timersFirst) for (const run of due) run()
    this.network.thaw(place.id)
    if (!timersFirst) for (const run of due) run()
  }

  /** The user looks at the tab again: its timers come as they should, and those that are late come now. */
  show(place: Place): void {
    if (place.timerStepMs === 0) return
    this.happened(place, 'is shown')
    place.timerStepMs = 0
    const late = [...place.throttled]
    place.throttled.clear()
    for (const { due, run, cancel } of late) {
      cancel()
      this.time.at(due - this.time.now, run)
    }
  }

  /** What the tab's wall clock says. */
  wallTime({ clockError }: Place): number {
    return WALL_CLOCK_AT_START + this.time.now + clockError
  }

  /** How long the tab's disk still needs for what it was asked. */
  backlog(place: Place): number {
    return Math.max(0, (this.diskFree.get(place) ?? 0) - this.time.now)
  }

  /** An open tab takes over the disk of a closed one, which stays locked as long as that lasts and the adopter lives. */
  async adopt(adopter: Place, node: Node, orphan: Place): Promise<void> {
    this.happened(orphan, `is adopted by ${adopter.id}`)
    // What is handed over is removed here at once: if its tab comes back in the middle, as a home that it had ceased to be, it has only the rest.
    orphan.lostAt = this.time.now
    const { lives: life } = adopter
    const storage = new SimulatedStorage(orphan.disk, { schedule: (work) => this.onDisk(adopter, life, work) })
    orphan.adopter = { place: adopter, life }
    try {
      await node.adopt({ node: orphan.id, storage })
    } finally {
      orphan.adopter = undefined
    }
  }

  /** Nobody has the tab's disk open. */
  isDown(place: Place): boolean {
    const { adopter } = place
    return place.node === undefined && !place.opening && (!adopter || adopter.place.lives !== adopter.life)
  }

  /** A tab's disk becomes another one: wiped, older, damaged. What was on it alone is nobody's fault. */
  changeDisk(place: Place, what: string, change: () => void): void {
    this.happened(place, what)
    place.lostAt = this.time.now
    const before = this.writesOn(place)
    change()
    const after = new Set(this.writesOn(place))
    this.history.copiesLost(
      before.filter((write) => !after.has(write)),
      (write) => this.copiesOf(write),
      (write) => this.places.some((each) => holds(each, write) && tellsAllOf(each, write)),
    )
  }

  rollBack(place: Place, backup: Disk): void {
    this.changeDisk(place, 'goes back in time', () => place.disk.restore(backup))
    this.history.cameBack(this.writesOn(place))
  }

  swapDisks(a: Place, b: Place): void {
    this.happened(a, `swaps disks with ${b.id}`)
    this.happened(b, `swaps disks with ${a.id}`)
    a.lostAt = b.lostAt = this.time.now
    const { disk } = a
    a.disk = b.disk
    b.disk = disk
  }

  /** The writes that are on this disk, or what replaced them. */
  private writesOn(place: Place): Write[] {
    const { records, hints } = place.disk
    const keys = new Set([...records.keys(), ...hints.keys()])
    return [...keys].flatMap((key) => this.history.writesOf(key).filter((write) => holds(place, write)))
  }

  /** The nodes on whose disks a write is, or what replaced it: as a replica or as a hint. */
  copiesOf(write: Write): Set<NodeId> {
    return new Set(this.places.filter((place) => holds(place, write)).map(({ id }) => id))
  }

  /** The nodes that have it, or what replaced it, as a replica: a hint goes once it is delivered. */
  replicasOf(write: Write): Set<NodeId> {
    const has = (place: Place) => holds(place, write, [place.disk.records.get(write.key)])
    return new Set(this.places.filter(has).map(({ id }) => id))
  }

  /** Its disk has failed until now, if it does. */
  noteFailing(place: Place): void {
    if (place.storage?.isFailing) place.failedAt = this.time.now
  }

  /** Something was done to a tab from outside. */
  happened(place: Place, what: string): void {
    place.disturbedAt = this.time.now
    this.trace.event(this.time.now, `${place.id} ${what}`)
  }

  /** A tab with other room parameters is in a room of its own: what is written there is none of this history. */
  private observe(place: Place, node: Node): void {
    node.events.on('error', (error) => this.errors.push(error))
    this.sights.watch(place, node)
    if (place.options.config) return
    node.events.on('forgetting', (agreed) => this.history.forgot(agreed.map(({ key }) => key)))
    node.transfers.events.on('released', ({ partition }) => place.releasedAt.set(partition, this.time.now))
    const markComplete = node.duties.markComplete.bind(node.duties)
    node.duties.markComplete = (partition, generation) => {
      markComplete(partition, generation)
      place.filledAt.set(partition, this.time.now)
    }
    const placementChanged = node.duties.placementChanged.bind(node.duties)
    node.duties.placementChanged = (joined) => {
      const { duties } = node
      const whole = () => duties.held().filter((partition) => duties.isComplete(partition))
      const before = new Set(whole())
      placementChanged(joined)
      for (const partition of whole()) if (!before.has(partition)) place.filledAt.set(partition, this.time.now)
    }
    const { coordinator } = node
    const note = (key: StoreKey, context: CausalContext, { container, outcome }: ReturnType<Coordinator['write']>) => {
      const start = this.time.now
      const known = this.history.began(key, place.id, container, context, start, this.wallTime(place))
      void outcome.then((reached) =>
        this.history.ended(
          known,
          reached,
          (acker) => holds(this.placeOf(acker), known),
          (acker) => this.placeOf(acker).disturbedAt >= start,
          () => this.copiesOf(known),
        ),
      )
    }
    const write = coordinator.write.bind(coordinator)
    coordinator.write = (key, written, context, options) => {
      const result = write(key, written, context, options)
      note(key, context, result)
      return result
    }
    const expire = coordinator.expire.bind(coordinator)
    coordinator.expire = (key, expired) => {
      const result = expire(key, expired)
      note(key, expired, result)
      return result
    }
  }

  /** Empty, but to look there takes its time. */
  private attic(place: Place, life: number): Attic {
    const { attic, atticMs = 0, atticError } = this.knobs
    if (attic) return attic
    const look = () =>
      new Promise<[]>((resolve, reject) =>
        this.time.at(atticMs, () => this.whenAwake(place, life, () => (atticError ? reject(atticError) : resolve([])))),
      )
    return { read: look, keysIn: look }
  }

  private clock(place: Place, life: number): Clock {
    const zero = this.random.between(0, 100_000)
    return {
      now: () => this.time.now + zero,
      wallTime: () => this.wallTime(place),
      setTimer: (delayMs, callback) => {
        const run = () => this.whenAwake(place, life, callback)
        return place.timerStepMs === 0 ? this.time.at(delayMs, run) : this.throttledTimer(place, delayMs, run)
      },
    }
  }

  private throttledTimer({ timerStepMs: step, throttled }: Place, delayMs: number, run: () => void): CancelTimer {
    const due = this.time.now + delayMs
    let over = false
    const timer = {
      due,
      run: () => {
        throttled.delete(timer)
        if (!over) run()
      },
      cancel: this.time.at(Math.ceil(due / step) * step - this.time.now, () => timer.run()),
    }
    throttled.add(timer)
    return () => {
      over = true
      timer.cancel()
      throttled.delete(timer)
    }
  }

  private onDisk(place: Place, life: number, work: () => void): void {
    // One at a time, in order, as transactions of one store are.
    const free = Math.max(this.time.now, this.diskFree.get(place) ?? 0)
    const { diskMinMs, diskMaxMs, diskTime } = this.knobs
    const done = free + (diskTime ? diskTime() : this.random.between(diskMinMs, diskMaxMs))
    this.diskFree.set(place, done)
    this.time.at(done - this.time.now, () => this.whenAwake(place, life, work))
  }

  private whenAwake(place: Place, life: number, run: () => void): void {
    if (place.lives !== life) return
    if (place.asleep) place.asleep.push(() => place.lives === life && run())
    else run()
  }
}

/**
 * The write is on the disk, or what replaced it. Not where something is shown that the write itself replaced: there only a later version has come
 * that was written to replace nothing but it, as the tombstone of an expired value among others is.
 */
function holds(
  { disk }: Place,
  { key, dot, context }: Write,
  rows = [disk.records.get(key), disk.hints.get(key)],
): boolean {
  return rows.some((row) => {
    const found = containerOn(row)
    return covers(found.context, dot) && !found.siblings.some((sibling) => covers(context, sibling.dot))
  })
}

/** What the write has replaced is known there, as its context or more is. */
function tellsAllOf({ disk }: Place, { key, context }: Write): boolean {
  return [disk.records.get(key), disk.hints.get(key)].some((row) => descends(containerOn(row).context, context))
}

function containerOn(row: { container: Uint8Array } | undefined): Container {
  if (!row) return EMPTY_CONTAINER
  try {
    return decodeContainer(row.container)
  } catch {
    // Bit rot.
    return EMPTY_CONTAINER
  }
}

export type { Write }
