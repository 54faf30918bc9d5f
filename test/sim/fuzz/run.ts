/**
 * Runs the plan of one bad day, in two phases: operations under faults, where safety must hold; then faults stop, a random core comes back and
 * must answer, everybody comes back, and within bounded time all must converge, stay so and be quiet.
 */
import { StorageFailure } from '../../../src/core/environment.js'
import { type StoreKey, storeKey } from '../../../src/core/ids.js'
import { type CausalContext, EMPTY_CONTEXT } from '../../../src/core/versions/context.js'
import { MalformedError } from '../../../src/core/versions/encoding.js'
import { disagreement, leftovers, ringOf, settledState, unrest } from '../checks.js'
import type { TraceOptions } from '../trace.js'
import { type OpenPlace, type Place, World } from '../world.js'
import { Faults } from './faults.js'
import type { Plan, Step } from './plan.js'

export interface RunResult {
  seed: number
  violations: string[]
  /** Equal for two runs of one plan (I14). */
  hash: string
  seen: Map<string, number>
}

/** Long enough that everybody knows of every fault and of its end: cuts are noticed late. */
const CALM_MS = 30_000
const CORE_MS = 15_000
const CONVERGED_WITHIN_MS = 400_000
const QUIET_MS = 15_000

export async function run(plan: Plan, trace?: TraceOptions): Promise<RunResult> {
  const day = new Day(plan, trace)
  try {
    await day.underFaults()
    await day.recovery()
  } catch (error) {
    day.world.history.violation('crash', error instanceof Error ? String(error.stack) : String(error))
  }
  const { history, trace: made, sights } = day.world
  return { seed: plan.seed, violations: history.violations, hash: made.hash, seen: sights.seen }
}

class Day {
  readonly world: World
  private readonly faults: Faults
  private readonly keys: StoreKey[]
  /** Clients remember what they last saw of a key. */
  private readonly remembered = new Map<string, CausalContext>()
  private readonly owed = new Set<{ place: Place; life: number }>()

  constructor(
    private readonly plan: Plan,
    trace: TraceOptions | undefined,
  ) {
    const { seed, tabs, tuning, minLatencyMs, maxLatencyMs, lossRate, duplicateRate, reorderRate, noticeMs } = plan
    this.world = new World(
      seed,
      {
        nodes: 0,
        tuning,
        minLatencyMs,
        maxLatencyMs,
        lossRate,
        duplicateRate,
        reorderRate,
        noticeMs,
        diskMinMs: 0.2,
        diskMaxMs: plan.diskMaxMs,
        replication: [plan.n],
      },
      trace,
    )
    for (let i = 0; i < tabs; i++) this.world.addPlace(i < 2 * plan.shared ? { device: 'shared-dev' } : {})
    if (plan.stranger) this.world.addPlace({ config: 'another room' })
    this.keys = Array.from({ length: plan.keys }, (_, i) => storeKey(plan.n, '', `k${i}`))
    this.faults = new Faults(this.world, this.keys)
  }

  async underFaults(): Promise<void> {
    const { world, plan } = this
    for (const place of world.places) if (world.random.chance(0.8)) world.begin(place)
    await world.time.advance(100)
    for (const step of plan.steps) {
      await world.time.advance(step.after)
      await this.take(step)
    }
  }

  async recovery(): Promise<void> {
    const { world, faults, plan } = this
    const { history, time, random } = world
    await time.advance(2 * (plan.tuning.requestTimeoutMs ?? 5000) + 1000)
    faults.end()
    const isBack = (place: Place) => place.node !== undefined || faults.isLeaving(place)
    // A core first: what it answers must not depend on the others.
    for (const place of world.places) if (!isBack(place) && random.chance(0.5)) await world.start(place)
    await time.advance(CORE_MS)
    const core = ringOf(world)
    if (core.length >= 2) await this.mustAnswer(random.pick(core))
    for (const place of world.places) if (!isBack(place)) await world.start(place)
    const { keys } = this
    const state = () => (faults.someoneIsLeaving ? 'somebody is still leaving' : disagreement(world, keys))
    try {
      await time.until('convergence', () => state() === undefined, CONVERGED_WITHIN_MS, 1000)
    } catch {
      history.violation('no convergence', state() ?? 'it came and went')
    }
    for (const key of keys) history.judge(key, settledState(world, key))
    // A tab that was killed owes nothing.
    const owed = [...this.owed].filter(({ place, life }) => place.lives === life).length
    if (owed > 0) history.violation('I9', `${owed} operations were never answered`)
    if (history.violations.length === 0) {
      // Forgetting may still go on for a while; then nothing may.
      await time.advance(2 * (plan.tuning.settleAfterMs ?? 60_000) + 5000)
      for (const found of [...leftovers(world), ...(await unrest(world, QUIET_MS))]) history.violations.push(found)
    }
    for (const error of world.errors) {
      if (error instanceof StorageFailure || error instanceof MalformedError) continue
      history.violation('error', error instanceof Error ? String(error.stack) : String(error))
    }
  }

  private async take(step: Step): Promise<void> {
    const { world } = this
    if (step.do === 'put' || step.do === 'get') {
      const open = world.alive().filter(({ asleep, options }) => !asleep && !options.config)
      const place = open[step.tab % Math.max(1, open.length)]
      if (!place) return
      if (step.do === 'get') this.get(place, step)
      else this.put(place, step)
      return
    }
    const { places } = world
    const place = places[step.tab % places.length] as Place
    const other = places[step.other % places.length] as Place
    await this.faults.apply(step.do, { place, other, amount: step.amount })
  }

  private get(place: OpenPlace, step: Step & { do: 'get' }): void {
    const key = this.key(step.key)
    const { history } = this.world
    const ended = this.owe(place)
    void place.node.get(key, { r: step.r, strictQuorum: step.strict }).then(
      ({ container }) => {
        ended()
        history.judgeAnswer(key, container, place.id)
        this.remembered.set(this.client(place, step), container.context)
      },
      (error) => {
        ended()
        if (!(error instanceof StorageFailure || error instanceof MalformedError))
          history.violation('error', String(error))
      },
    )
  }

  private put(place: OpenPlace, step: Step & { do: 'put' }): void {
    const key = this.key(step.key)
    const client = this.client(place, step)
    const context = step.blind ? EMPTY_CONTEXT : (this.remembered.get(client) ?? EMPTY_CONTEXT)
    const value = step.deletes ? undefined : new Uint8Array([this.world.history.size & 255])
    const promised = this.isPromised(place, step)
    const { w, strict, durability } = step
    const { container, outcome } = place.node.write(key, { value, expiresAt: 0 }, context, {
      w,
      strictQuorum: strict,
      durability,
    })
    this.remembered.set(client, container.context)
    const ended = this.owe(place)
    void outcome.then((result) => {
      ended()
      if (!result.met && !result.refused && promised())
        this.world.history.violation('I9', `a put at ${place.id} met ${result.answers} of ${w} on a calm ring`)
    })
  }

  /** Whether W nodes will certainly take it: linked with this one and untouched for a while, then and at its end. */
  private isPromised(place: OpenPlace, step: Step & { do: 'put' }): () => boolean {
    const { world, plan } = this
    const calm = (each: Place, since: number) =>
      each.disturbedAt < since && !each.storage?.failing && !each.storage?.loseOutcome && !each.storage?.closed
    const start = world.time.now
    if (plan.lossRate > 0 || step.strict || !calm(place, start - CALM_MS)) return () => false
    // Without hinted handoff nobody stands in for a home.
    const homes = plan.tuning.hintedHandoff === false ? place.node.routing.homes(this.key(step.key)) : undefined
    const helpers = ringOf(world).filter(
      (each) =>
        each !== place &&
        (!homes || homes.includes(each.id)) &&
        !each.asleep &&
        calm(each, start - CALM_MS) &&
        world.network.isLinked(place.id, each.id),
    )
    const own = !homes || homes.includes(place.id) ? 1 : 0
    return () => calm(place, start) && helpers.filter((each) => calm(each, start)).length + own >= step.w
  }

  /** On a calm ring. */
  private async mustAnswer(place: OpenPlace): Promise<void> {
    const { world } = this
    let answered = false
    const { outcome } = place.node.write(
      this.key(0),
      { value: new Uint8Array(1), expiresAt: 0 },
      this.remembered.get('nobody') ?? EMPTY_CONTEXT,
      { w: Math.min(2, this.plan.n), strictQuorum: false, durability: 'strict' },
    )
    void outcome.then(({ met, refused }) => {
      answered = met || refused
    })
    await world.time.advance(this.plan.tuning.requestTimeoutMs ?? 5000)
    if (!answered) world.history.violation('I9', `${place.id} cannot write although its core is back`)
  }

  private owe(place: Place): () => void {
    const debt = { place, life: place.lives }
    this.owed.add(debt)
    return () => this.owed.delete(debt)
  }

  private key(index: number): StoreKey {
    return this.keys[index] as StoreKey
  }

  private client(place: Place, { client, key }: { client: number; key: number }): string {
    return `${place.id} ${client} ${key}`
  }
}
