/**
 * Runs the plan of one bad day, in two phases: operations under faults, where safety must hold; then faults stop, a random core comes back and
 * must answer, everybody comes back, and within bounded time all must converge, stay so and be quiet.
 */
import { StorageFailure } from '../../../src/core/environment.js'
import { type StoreKey, storeKey } from '../../../src/core/ids.js'
import { DEFAULT_TUNING } from '../../../src/core/tuning.js'
import { EMPTY_CONTEXT } from '../../../src/core/versions/context.js'
import { MalformedError } from '../../../src/core/versions/encoding.js'
import { disagreement, leftovers, ringOf, settledState, unrest, unsettled } from '../checks.js'
import type { TraceOptions } from '../trace.js'
import { type OpenPlace, type Place, World } from '../world.js'
import { Claims } from './claims.js'
import { Clients } from './clients.js'
import { Faults } from './faults.js'
import type { Plan, Step } from './plan.js'
import { Availability } from './promises.js'

export interface RunResult {
  seed: number
  violations: string[]
  /** Equal for two runs of one plan (I14). */
  hash: string
  seen: Map<string, number>
}

/** In steps of the plan. */
const CLAIMS_EVERY = 5
const CORE_MS = 15_000
const CONVERGED_WITHIN_MS = 400_000
const QUIET_MS = 15_000
/** A scan begun under faults may wait for a time-out at every key. */
const ANSWERED_WITHIN_MS = 600_000
/** From the time-out to the answer: what was refused is taken out of the outbox first. */
const DECISION_MS = 500
/** A pass over everything is sixteen rounds; who finds something there asks everybody, and waits before that. */
const SCRUBBED_WITHIN_MS = 200_000

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
  private readonly clients: Clients
  private readonly claims: Claims

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
    for (let i = 0; i < tabs; i++)
      this.world.addPlace({ tuning: plan.tunings[i], ...(i < 2 * plan.shared && { device: 'shared-dev' }) })
    if (plan.stranger) this.world.addPlace({ config: 'another room' })
    this.keys = Array.from({ length: plan.keys }, (_, i) => storeKey(plan.n, '', `k${i}`))
    this.claims = new Claims(this.world)
    this.faults = new Faults(this.world, this.keys)
    this.clients = new Clients(this.world, plan, this.keys, new Availability(this.world, plan, this.faults))
  }

  async underFaults(): Promise<void> {
    const { world, plan } = this
    for (const place of world.places) if (world.random.chance(0.8)) world.begin(place)
    await world.time.advance(100)
    for (const [i, step] of plan.steps.entries()) {
      await world.time.advance(step.after)
      await this.take(step)
      if (plan.tuning.hintedHandoff && i % CLAIMS_EVERY === 0) this.claims.judgeLately()
    }
  }

  async recovery(): Promise<void> {
    const { world, faults, keys, clients, claims } = this
    const { history, time, random } = world
    await time.advance(2 * this.most('requestTimeoutMs') + 1000)
    faults.end()
    const isBack = (place: Place) => place.node !== undefined || faults.isLeaving(place)
    // A core first: what it answers must not depend on the others.
    for (const place of world.places) if (!isBack(place) && random.chance(0.5)) await world.start(place)
    await time.advance(CORE_MS)
    const core = ringOf(world)
    if (core.length >= 2) await this.mustAnswer(random.pick(core))
    for (const place of world.places) if (!isBack(place)) await world.start(place)
    // Forgetting may go on for a while after that; then nothing may.
    const afterwardsMs = 2 * this.most('reapAfterMs') + 5000
    const state = () => {
      if (faults.someoneIsLeaving) return 'somebody is still leaving'
      // Without hinted handoff, nobody knows what a home missed.
      if (this.plan.tuning.hintedHandoff) claims.judge()
      return disagreement(world, keys)
    }
    const rest = () => state() ?? unsettled(world, afterwardsMs + QUIET_MS)
    try {
      await time.until('convergence', () => state() === undefined, CONVERGED_WITHIN_MS, 1000)
      await time.until('rest', () => rest() === undefined, SCRUBBED_WITHIN_MS, 5000)
    } catch {
      history.violation('no convergence', rest() ?? 'it came and went')
    }
    for (const key of keys) history.judge(key, settledState(world, key))
    history.judgeExpiries()
    const isAnswered = () => clients.unanswered === 0
    await time.until('the last answers', isAnswered, ANSWERED_WITHIN_MS, 1000).catch(() => {
      history.violation('I9', `${clients.unanswered} operations were never answered`)
    })
    if (history.violations.length === 0) {
      await time.advance(afterwardsMs)
      for (const found of [...leftovers(world), ...(await unrest(world, QUIET_MS))]) history.violations.push(found)
    }
    for (const error of world.errors) {
      if (error instanceof StorageFailure || error instanceof MalformedError) continue
      history.violation('error', error instanceof Error ? String(error.stack) : String(error))
    }
  }

  private async take(step: Step): Promise<void> {
    const { world, faults, clients } = this
    switch (step.do) {
      case 'put':
      case 'get':
      case 'scan': {
        const open = world.alive().filter(({ asleep, options }) => !asleep && !options.config)
        const place = open[step.tab % Math.max(1, open.length)]
        if (!place) return
        if (step.do === 'get') void clients.get(place, step)
        else if (step.do === 'scan') void clients.scan(place, step)
        else if (!faults.holdsWrites(place)) void clients.put(place, step)
        return
      }
      case 'calm':
        world.trace.event(world.time.now, 'calm')
        return faults.calm()
      case 'calm over': {
        const { lossRate, duplicateRate, reorderRate } = this.plan
        Object.assign(world.network.knobs, { lossRate, duplicateRate, reorderRate })
        return
      }
      default: {
        const { places } = world
        const place = places[step.tab % places.length] as Place
        const other = places[step.other % places.length] as Place
        await faults.apply(step.do, { place, other, amount: step.amount })
      }
    }
  }

  /** On a calm ring. */
  private async mustAnswer(place: OpenPlace): Promise<void> {
    const { world, clients } = this
    let answered = false
    const step = { w: Math.min(2, this.plan.n), strict: false, durability: 'strict', deletes: false, ttlMs: 0 } as const
    const { outcome } = clients.write(place, storeKey(this.plan.n, '', 'after all'), step, EMPTY_CONTEXT)
    void outcome.then(({ met, refused }) => {
      answered = met || refused
    })
    await world.time.advance(place.node.options.tuning.requestTimeoutMs + DECISION_MS)
    if (!answered) world.history.violation('I9', `${place.id} cannot write although its core is back`)
  }

  /** The longest such time of all tabs. */
  private most(name: 'requestTimeoutMs' | 'reapAfterMs'): number {
    const { tuning, tunings } = this.plan
    const common = { ...DEFAULT_TUNING, ...tuning }
    return Math.max(common[name], ...tunings.map((own) => own[name] ?? 0))
  }
}
