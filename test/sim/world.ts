/** A simulated ring: the production core on virtual time, simulated disks and links. Tabs are started, killed, frozen and wiped; their disks stay. */
import type { Clock } from '../../src/core/environment.js'
import type { DeviceId, NodeId } from '../../src/core/ids.js'
import { Node } from '../../src/core/node.js'
import { DEFAULT_TUNING, type Tuning } from '../../src/core/tuning.js'
import { Disk, SimulatedStorage } from './disk.js'
import { Network, type NetworkKnobs } from './network.js'
import { SeededRandom } from './random.js'
import { VirtualTime } from './virtual-time.js'

export interface WorldKnobs extends NetworkKnobs {
  nodes: number
  tuning: Partial<Tuning>
  diskMinMs: number
  diskMaxMs: number
}

/** One tab's place in the world; `node` is undefined while it is closed. */
export interface Place {
  id: NodeId
  disk: Disk
  node: Node | undefined
  storage: SimulatedStorage | undefined
  /** Timers that came due while the tab was frozen. */
  asleep: (() => void)[] | undefined
  lives: number
}

export class World {
  readonly time = new VirtualTime()
  readonly random: SeededRandom
  readonly network: Network
  readonly places: Place[] = []
  readonly errors: unknown[] = []

  constructor(
    seed: number,
    readonly knobs: WorldKnobs,
  ) {
    this.random = new SeededRandom(seed)
    this.network = new Network(this.time, this.random, knobs)
    for (let i = 0; i < knobs.nodes; i++) this.addPlace()
  }

  addPlace(): Place {
    const place: Place = {
      id: this.random.id(10) as NodeId,
      disk: new Disk(),
      node: undefined,
      storage: undefined,
      asleep: undefined,
      lives: 0,
    }
    this.places.push(place)
    return place
  }

  alive(): (Place & { node: Node })[] {
    return this.places.filter((place): place is Place & { node: Node } => place.node !== undefined)
  }

  /** Opens the tab on its disk. */
  async start(place: Place): Promise<void> {
    const life = ++place.lives
    const storage = new SimulatedStorage(place.disk, { schedule: (work) => this.onDisk(place, life, work) })
    place.storage = storage
    const starting = Node.start(
      {
        node: place.id,
        device: place.id as string as DeviceId,
        name: '',
        capacity: 1,
        config: '',
        replication: [3],
        tuning: { ...DEFAULT_TUNING, ...this.knobs.tuning },
      },
      { clock: this.clock(place, life), random: this.random, storage, transport: this.network.transport(place.id) },
    )
    void starting.then((node) => {
      if (place.lives !== life) return
      place.node = node
      node.events.on('error', (error) => this.errors.push(error))
    })
    await this.time.until(`${place.id} to start`, () => place.node !== undefined || place.lives !== life, 10_000, 5)
  }

  /** The tab is gone in this very moment, without a word. */
  kill(place: Place): void {
    place.lives++
    place.storage?.kill()
    place.node = undefined
    place.asleep = undefined
    this.network.leave(place.id)
  }

  freeze(place: Place): void {
    if (!place.node || place.asleep) return
    place.asleep = []
    this.network.freeze(place.id)
  }

  thaw(place: Place): void {
    const due = place.asleep
    if (!due) return
    place.asleep = undefined
    this.network.thaw(place.id)
    for (const run of due) run()
  }

  private clock(place: Place, life: number): Clock {
    const zero = this.random.between(0, 100_000)
    return {
      now: () => this.time.now + zero,
      wallTime: () => 1_700_000_000_000 + this.time.now,
      setTimer: (delayMs, callback) => this.time.at(delayMs, () => this.whenAwake(place, life, callback)),
    }
  }

  private onDisk(place: Place, life: number, work: () => void): void {
    // One at a time, in order, as transactions of one store are.
    const free = Math.max(this.time.now, this.diskFree.get(place) ?? 0)
    const done = free + this.random.between(this.knobs.diskMinMs, this.knobs.diskMaxMs)
    this.diskFree.set(place, done)
    this.time.at(done - this.time.now, () => this.whenAwake(place, life, work))
  }

  private readonly diskFree = new Map<Place, number>()

  private whenAwake(place: Place, life: number, run: () => void): void {
    if (place.lives !== life) return
    if (place.asleep) place.asleep.push(() => place.lives === life && run())
    else run()
  }
}
