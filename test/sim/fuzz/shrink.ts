/**
 * Makes the plan of a failing run smaller as long as it still fails in the same way (delta debugging, Zeller and Hildebrandt 2002): first the
 * steps, in chunks that get smaller and smaller, then the knobs.
 */
import type { Plan } from './plan.js'

export interface Shrunk {
  plan: Plan
  violation: string
  runs: number
}

const MAX_RUNS = 400

/** @param fails the first violation of a plan, or undefined when it passes. */
export async function shrink(plan: Plan, violation: string, fails: (plan: Plan) => Promise<string[]>): Promise<Shrunk> {
  let best: Shrunk = { plan, violation, runs: 0 }
  const attempt = async (candidate: Plan): Promise<boolean> => {
    if (best.runs >= MAX_RUNS) return false
    best.runs++
    const same = (await fails(candidate)).find((found) => kindOf(found) === kindOf(violation))
    if (same === undefined) return false
    best = { plan: candidate, violation: same, runs: best.runs }
    return true
  }
  for (let size = Math.ceil(plan.steps.length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
    for (let at = 0; at < best.plan.steps.length; ) {
      const { steps } = best.plan
      const dropped = steps.slice(at, at + size)
      // The time of what is left out passes nevertheless.
      const after = dropped.reduce((sum, step) => sum + step.after, 0)
      const rest = steps.slice(at + size)
      const [next, ...others] = rest
      const shifted = next ? [{ ...next, after: next.after + after }, ...others] : []
      if (!(await attempt({ ...best.plan, steps: [...steps.slice(0, at), ...shifted] }))) at += size
    }
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
    ...Object.keys(plan.tuning).map((knob): Partial<Plan> => {
      const { [knob as keyof typeof plan.tuning]: _, ...tuning } = plan.tuning
      return { tuning }
    }),
  ]
  for (const change of simpler) {
    const tuning = change.tuning && intersect(best.plan.tuning, change.tuning)
    await attempt({ ...best.plan, ...change, ...(tuning && { tuning }) })
  }
  return best
}

/** The invariant's number. */
function kindOf(violation: string): string {
  return violation.split(':')[0] as string
}

function intersect<T extends object>(a: T, b: T): T {
  return Object.fromEntries(Object.entries(a).filter(([name]) => name in b)) as T
}
