/** One part of an experiment of `npm run paper`, in a worker thread. */
import { serveJobs } from '../../sim/pool.js'
import { type Job, experiments } from './experiments.js'

serveJobs<Job, unknown>(async ({ experiment, part }) => experiments[experiment]?.measure(part))
