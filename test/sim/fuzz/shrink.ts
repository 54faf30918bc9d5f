/**
 * Makes the plan of a failing run smaller as long as it still fails in the same way (delta debugging, Zeller and Hildebrandt 2002): first all
 * operations on other keys, as most failures are one key's, then the steps, in chunks that get smaller and smaller, then the knobs.
 */
import type { Plan } from './plan.js'

export interface Shrunk {
  plan: Plan
  violation: string
  runs: number
}

const MAX_RUNS = 3000
const MAX_MS = 5 * 60_000

/** @param fails the violations of a plan; none when it passes. */
export async function shrink(
  plan: Plan,
  violation: string,
  fails: (plan: Plan) => Promise<string[]>,
  maxMs = MAX_MS,
): Promise<Shrunk> {
  const end = performance.now() + maxMs
  let best: Shrunk = { plan, violation, runs: 0 }
  const attempt = async (candidate: Plan): Promise<boolean> => {
    if (best.runs >= MAX_RUNS || performance.now() >= end) return false
    best.runs++
    const same = (await fails(candidate)).find((found) => kindOf(found) === kindOf(violation))
    if (same === undefined) return false
    best = { plan: candidate, violation: same, runs: best.runs }
    return true
  }

  // With the time when it comes: that stays, whatever is left out before it.
  let now = 0
  let steps = plan.steps.map((step) => {
    now += step.after
    return { at: now, step }
  })
  type Timed = (typeof steps)[number]
  const keep = async (kept: Timed[]): Promise<boolean> => {
    const spaced = kept.map(({ at, step }, i) => ({ ...step, after: at - (kept[i - 1]?.at ?? 0) }))
    if (!(await attempt({ ...best.plan, steps: spaced }))) return false
    steps = kept
    return true
  }

  const keysOnly = (keys: readonly number[]) => steps.filter(({ step }) => !('key' in step) || keys.includes(step.key))
  const named = /k(\d+)"/.exec(violation)?.[1]
  if (named === undefined || !(await keep(keysOnly([Number(named)])))) {
    const keys = new Set(plan.steps.flatMap((step) => ('key' in step ? [step.key] : [])))
    await reduce([...keys], (kept) => keep(keysOnly(kept)))
  }
  // Until no single step can be left out.
  for (let before = Number.POSITIVE_INFINITY; steps.length < before; ) {
    before = steps.length
    await reduce(steps, keep)
  }

  const simpler: Partial<Plan>[] = [
    { lossRate: 0 },
    { duplicateRate: 0 },
    { reorderRate: 0 },
    { stranger: false },
    { shared: 0 },
    { maxLatencyMs: 5 },
    { noticeMs: 50 },
    { diskMaxMs: 2 },
    { tunings: [] },
  ]
  for (const change of simpler) await attempt({ ...best.plan, ...change })
  for (const knob of Object.keys(plan.tuning)) {
    const { [knob as keyof typeof plan.tuning]: _, ...tuning } = best.plan.tuning
    await attempt({ ...best.plan, tuning })
  }
  return best
}

/** Leaves out chunks of the items, from halves down to single ones, as long as `holds` of what is left. */
async function reduce<T>(items: readonly T[], holds: (kept: T[]) => Promise<boolean>): Promise<void> {
  let left = [...items]
  for (let size = Math.ceil(left.length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
    for (let at = 0; at < left.length; ) {
      const kept = [...left.slice(0, at), ...left.slice(at + size)]
      if (await holds(kept)) left = kept
      else at += size
    }
  }
}

/** The invariant's number. */
function kindOf(violation: string): string {
  return violation.split(':')[0] as string
}
