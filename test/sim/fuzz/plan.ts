/**
 * The plan of one bad day, drawn from one integer: knobs, and a list of operations and faults. A plan is plain data, so that it can be shortened,
 * printed and replayed.
 */
import type { Tuning } from '../../../src/core/tuning.js'
import { SeededRandom } from '../random.js'

/** Every fault, with how often it may come per operation at most; each run draws a rate below, and is free of some. */
const FAULT_RATES = {
  cut: 0.004,
  'one-way cut': 0.003,
  isolate: 0.002,
  split: 0.001,
  unclog: 0.004,
  heal: 0.004,
  kill: 0.002,
  'power cut': 0.002,
  close: 0.001,
  open: 0.008,
  'mass restart': 0.0005,
  blackout: 0.0003,
  freeze: 0.002,
  thaw: 0.003,
  hide: 0.001,
  show: 0.002,
  join: 0.001,
  leave: 0.0005,
  adopt: 0.001,
  wipe: 0.0005,
  'wipe bookkeeping': 0.0005,
  'wipe open': 0.0003,
  snapshot: 0.002,
  'roll back': 0.001,
  'swap disks': 0.0005,
  'fill disk': 0.001,
  'free disk': 0.002,
  'fail commit': 0.002,
  'fail reads': 0.0005,
  'lose outcome': 0.002,
  'flip value': 0.001,
  'flip leaf': 0.0005,
  'jump clock': 0.001,
  'slow link': 0.001,
  'fast links': 0.001,
  'signaling down': 0.0005,
  'signaling up': 0.001,
} as const

export type FaultKind = keyof typeof FAULT_RATES
export const FAULT_KINDS = Object.keys(FAULT_RATES) as FaultKind[]

/** Faults that end others: they are never left out. */
const REMEDIES: ReadonlySet<FaultKind> = new Set([
  'unclog',
  'heal',
  'open',
  'thaw',
  'show',
  'free disk',
  'fast links',
  'signaling up',
])

/** Tabs are numbers here; they count modulo the tabs that are open (operations) or that exist (faults) at that time. */
export type Step = { after: number } & (
  | { do: 'get'; tab: number; client: number; key: number; r: number; strict: boolean }
  | {
      do: 'put'
      tab: number
      client: number
      key: number
      w: number
      strict: boolean
      deletes: boolean
      /** What it descends from: what its session saw, nothing, or what its client last saw in whatever life of the tab. */
      context: 'session' | 'nothing' | 'kept'
      /** 0: it does not expire. */
      ttlMs: number
      durability: 'strict' | 'relaxed' | 'all'
    }
  | { do: 'scan'; tab: number; client: number; key: number; reverse: boolean; r: number }
  /** All faults but closed tabs end, and none begins: whoever is open has to keep all promises, once everybody knows of that. */
  | { do: 'calm' }
  | { do: 'calm over' }
  | { do: FaultKind; tab: number; other: number; amount: number }
)

export interface Plan {
  seed: number
  tabs: number
  keys: number
  /** Copies of each key. */
  n: number
  /** Of the tabs, so many share a device with their neighbour. */
  shared: number
  /** One tab has other room parameters: it must stay alone. */
  stranger: boolean
  minLatencyMs: number
  maxLatencyMs: number
  lossRate: number
  duplicateRate: number
  reorderRate: number
  noticeMs: number
  diskMaxMs: number
  tuning: Partial<Tuning>
  /** What the first tabs do otherwise. */
  tunings: Partial<Tuning>[]
  steps: Step[]
}

/** After this long without faults, everybody has met everybody, and knows who does not answer. */
export function calmAfterMs({ noticeMs }: Plan): number {
  return noticeMs + CALM_MS
}

/** Links come back within two seconds, and two heartbeats tell the rest. */
const CALM_MS = 8000
const CALM_OPERATIONS = 25

export interface PlanOptions {
  seed: number
  operations: number
  /** Default: drawn from the seed, 3 to 7. */
  tabs?: number
  /** Only these faults; default: a random choice of all. */
  faults?: readonly FaultKind[]
}

export function planOf({ seed, operations, tabs, faults }: PlanOptions): Plan {
  const random = new SeededRandom(seed ^ 0x5eed)
  const count = tabs ?? 3 + random.below(5)
  const rates = FAULT_KINDS.map((kind) => {
    const allowed = faults ? faults.includes(kind) : REMEDIES.has(kind) || random.chance(0.7)
    return { kind, rate: allowed ? FAULT_RATES[kind] * random.between(0.3, 2) : 0 }
  })
  const plan: Plan = {
    seed,
    tabs: count,
    keys: random.pick([5, 25, 100]),
    n: random.pick([3, 3, 3, 2, 5]),
    shared: random.chance(0.3) ? 1 : 0,
    stranger: random.chance(0.1),
    minLatencyMs: 1,
    maxLatencyMs: random.pick([5, 30, 200]),
    lossRate: random.pick([0, 0, 0.01, 0.1]),
    duplicateRate: random.pick([0, 0, 0.02]),
    reorderRate: random.pick([0, 0, 0.02]),
    noticeMs: random.pick([50, 3000, 15_000]),
    diskMaxMs: random.pick([2, 20]),
    tuning: {
      partitions: random.pick([8, 16, 64]),
      requestTimeoutMs: random.pick([1000, 5000]),
      replaceAfterMs: random.pick([8000, 60_000, 600_000]),
      standInAfterMs: random.pick([1000, 2500, 30_000]),
      reapAfterMs: random.pick([2000, 15_000]),
      syncIntervalMs: random.pick([2000, 15_000]),
      syncSettleMs: random.pick([50, 400]),
      heartbeatIntervalMs: random.pick([1000, 3000]),
      gossipIntervalMs: random.pick([1000, 3000]),
      batchKeys: random.pick([2, 16, 256, 256]),
      batchBytes: random.pick([300, 4000, 262_144, 262_144]),
      handoffIntervalMs: random.pick([500, 2000]),
      scrubIntervalMs: 5000,
      readRepair: random.chance(0.8),
      hintedHandoff: random.chance(0.8),
      suspicionPhi: random.pick([8, 8, 4, 12]),
      patienceMinMs: random.pick([400, 100]),
      patienceMaxMs: random.pick([1500, 600]),
      maxSiblings: random.pick([100, 100, 100, 100, 3]),
    },
    tunings: [],
    steps: [],
  }
  if (random.chance(0.3)) for (let i = random.below(count); i >= 0; i--) plan.tunings.push(ownTuning(random))
  const ttl = random.chance(0.3) ? 0.2 : 0
  const pause = () => (random.chance(0.015) ? random.between(100, 3000) : random.between(0, 20))
  const calm = () => {
    plan.steps.push({ after: pause(), do: 'calm' }, operation(random, plan, calmAfterMs(plan) + 100, ttl))
    for (let i = 0; i < CALM_OPERATIONS; i++) plan.steps.push(operation(random, plan, random.between(0, 40), ttl))
    plan.steps.push({ after: 0, do: 'calm over' })
  }
  // Somewhere in the middle at least.
  const once = Math.floor(operations * random.between(0.2, 0.8))
  for (let i = 0; i < operations; i++) {
    if (i === once || random.chance(0.0003)) calm()
    plan.steps.push(operation(random, plan, pause(), ttl))
    for (const { kind, rate } of rates) {
      if (rate === 0 || !random.chance(rate)) continue
      const [tab, other] = [random.below(1000), random.below(1000)]
      plan.steps.push({ after: pause(), do: kind, tab, other, amount: random.next() })
    }
  }
  return plan
}

/** What a tab may decide for itself. */
function ownTuning(random: SeededRandom): Partial<Tuning> {
  const all: Partial<Tuning> = {
    requestTimeoutMs: random.pick([1000, 5000]),
    patienceMinMs: random.pick([100, 400]),
    replaceAfterMs: random.pick([8000, 600_000]),
    standInAfterMs: random.pick([1000, 30_000]),
    reapAfterMs: random.pick([2000, 15_000]),
    syncIntervalMs: random.pick([2000, 15_000]),
    heartbeatIntervalMs: random.pick([1000, 3000]),
    gossipIntervalMs: random.pick([1000, 3000]),
    handoffIntervalMs: random.pick([500, 2000]),
    batchKeys: random.pick([2, 256]),
    suspicionPhi: random.pick([4, 12]),
    readRepair: random.chance(0.5),
    maxCopiesBytes: random.pick([0, 1000]),
  }
  return Object.fromEntries(Object.entries(all).filter(() => random.chance(0.4)))
}

function operation(random: SeededRandom, { keys, n }: Plan, after: number, ttl: number): Step {
  const [tab, client, key] = [random.below(1000), random.below(2), random.below(keys)]
  const r = 1 + random.below(n)
  if (random.chance(0.005)) return { after, do: 'scan', tab, client, key, reverse: random.chance(0.3), r }
  if (random.chance(0.4)) return { after, do: 'get', tab, client, key, r, strict: random.chance(0.1) }
  const deletes = random.chance(0.15)
  return {
    after,
    do: 'put',
    tab,
    client,
    key,
    w: 1 + random.below(n),
    strict: random.chance(0.2),
    deletes,
    context: random.pick(['session', 'session', 'session', 'session', 'session', 'session', 'nothing', 'kept']),
    ttlMs: !deletes && random.chance(ttl) ? random.pick([0.1, 2000, 20_000]) : 0,
    durability: random.pick(['strict', 'strict', 'relaxed', 'all']),
  }
}
