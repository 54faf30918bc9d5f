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

serveJobs<Job, JobResult>((job) =>
  guarded<JobResult>(
    async () => {
      const once = () => (job.kind === 'fuzz' ? run(planOf(job)) : runScenario(job.name, job.seed))
      const { violations, seen, hash } = await once()
      if (job.twice && (await once()).hash !== hash)
        violations.push('I14: the same seed gave another trace the second time')
      return { violations, seen }
    },
    { violations: [], seen: new Map() },
  ),
)
