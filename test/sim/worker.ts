/** One job of `npm run sim`, in a worker thread. */
import { type PlanOptions, planOf } from './fuzz/plan.js'
import { run } from './fuzz/run.js'
import { guarded, serveJobs } from './pool.js'
import { runScenario } from './scenarios/run.js'

export type Job =
  | ({ kind: 'fuzz'; twice: boolean } & PlanOptions)
  | { kind: 'scenario'; name: string; seed: number; twice: boolean }

export interface JobResult {
  violations: string[]
  seen: Map<string, number>
}

/** Failing disks throw so many errors that noting where costs 3 % of a seed; who plays a failing one again is told. */
const STACK_FRAMES = { fuzz: 0, scenario: 10 }

serveJobs<Job, JobResult>((job) => {
  Error.stackTraceLimit = STACK_FRAMES[job.kind]
  return guarded<JobResult>(
    async () => {
      const once = () => (job.kind === 'fuzz' ? run(planOf(job)) : runScenario(job.name, job.seed))
      const { violations, seen, hash } = await once()
      if (job.twice && (await once()).hash !== hash)
        violations.push('I14: the same seed gave another trace the second time')
      return { violations, seen }
    },
    { violations: [], seen: new Map() },
  )
})
