/** Runs of the simulator on all cores. A job is plain data; what it comes to is printed by the main thread. */
import { availableParallelism } from 'node:os'
import { Worker, isMainThread, parentPort } from 'node:worker_threads'

interface PoolOptions<Job, Result> {
  width?: number
  /** What a job comes to whose worker is dead; without this, all ends with it. */
  onDeath?: (error: unknown, job: Job) => Result
}

/** Does `jobs` in worker threads that run the file `script`; calls `onResult` in the order of completion. */
export async function inWorkers<Job, Result>(
  script: string,
  jobs: readonly Job[],
  onResult: (result: Result, job: Job) => void,
  { width = availableParallelism(), onDeath }: PoolOptions<Job, Result> = {},
): Promise<void> {
  const rest = [...jobs]
  await Promise.all(
    Array.from({ length: Math.min(width, jobs.length) }, async () => {
      let worker = open(script)
      for (let job = rest.shift(); job !== undefined; job = rest.shift()) {
        const result = await ask<Job, Result>(worker, job).catch(async (error) => {
          if (!onDeath) throw error
          await worker.terminate()
          worker = open(script)
          return onDeath(error, job)
        })
        onResult(result, job)
      }
      await worker.terminate()
    }),
  )
}

function open(script: string): Worker {
  // Frames and containers live for moments: with room for them, the collector has little to do.
  return new Worker(script, { resourceLimits: { maxYoungGenerationSizeMb: 128 } })
}

function ask<Job, Result>(worker: Worker, job: Job): Promise<Result> {
  return new Promise((resolve, reject) => {
    // Its own listeners only: the worker has some of itself, without which it tells nothing any more.
    const settle = (settled: () => void) => {
      worker.off('message', onMessage).off('error', onError).off('exit', onExit)
      settled()
    }
    const onMessage = (result: Result) => settle(() => resolve(result))
    const onError = (error: unknown) => settle(() => reject(error))
    const onExit = (code: number) => settle(() => reject(new Error(`the worker ended with code ${code}`)))
    worker.on('message', onMessage).on('error', onError).on('exit', onExit)
    worker.postMessage(job)
  })
}

/** The worker's side. */
export function serveJobs<Job, Result>(work: (job: Job) => Promise<Result>): void {
  if (isMainThread) return
  parentPort?.on('message', (job: Job) => {
    void work(job).then((result) => parentPort?.postMessage(result))
  })
}

/**
 * Does one job. What it throws, and every promise of it that fails with nobody to hear of it, is a violation of this job and not the end
 * of all others.
 */
export async function guarded<Result extends { violations: string[] }>(
  work: () => Promise<Result>,
  otherwise: Result,
): Promise<Result> {
  const unheard: string[] = []
  const hear = (error: unknown) => unheard.push(`crash: nobody heard of ${textOf(error)}`)
  process.on('unhandledRejection', hear)
  try {
    const result = await work()
    // Node tells of it only once its turn is over.
    await new Promise((resolve) => setImmediate(resolve))
    result.violations.push(...unheard)
    return result
  } catch (error) {
    return { ...otherwise, violations: [`crash: ${textOf(error)}`, ...unheard] }
  } finally {
    process.off('unhandledRejection', hear)
  }
}

export function textOf(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error)
}
