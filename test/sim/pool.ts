/** Runs of the simulator on all cores. A job is plain data; what it comes to is printed by the main thread. */
import { availableParallelism } from 'node:os'
import { Worker, isMainThread, parentPort } from 'node:worker_threads'

/** Does `jobs` in worker threads that run the file `script`; calls `onResult` in the order of completion. */
export async function inWorkers<Job, Result>(
  script: string,
  jobs: readonly Job[],
  onResult: (result: Result, job: Job) => void,
  width = availableParallelism(),
): Promise<void> {
  const rest = [...jobs]
  await Promise.all(
    Array.from({ length: Math.min(width, jobs.length) }, async () => {
      // Frames and containers live for moments: with room for them, the collector has little to do.
      const worker = new Worker(script, { resourceLimits: { maxYoungGenerationSizeMb: 128 } })
      worker.setMaxListeners(0)
      for (let job = rest.shift(); job !== undefined; job = rest.shift()) {
        const result = await new Promise<Result>((resolve, reject) => {
          worker.once('message', resolve)
          worker.once('error', reject)
          worker.postMessage(job)
        })
        onResult(result, job)
      }
      await worker.terminate()
    }),
  )
}

/** The worker's side. */
export function serveJobs<Job, Result>(work: (job: Job) => Promise<Result>): void {
  if (isMainThread) return
  parentPort?.on('message', (job: Job) => {
    void work(job).then((result) => parentPort?.postMessage(result))
  })
}
