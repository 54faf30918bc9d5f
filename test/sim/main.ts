/**
 * `npm run sim -- …`
 *
 *   --seeds 1000 [--first 1]        bad days with every fault, on all cores
 *   --seed 7                        that one; a failing one is shrunk to a minimal schedule
 *   --operations 2000 --tabs 7      how long, and how many tabs (default: drawn from the seed)
 *   --faults kill,cut               only these faults
 *   --plan out/sim/seed-7.json      a shrunk schedule again
 *   --scenario hint-flap|all        named scenarios
 *   --mutations [--pitfall P5]      every pitfall put back in, against the scenario that must notice
 *   --trace TEXT                    with one seed: prints messages and events that contain the text (a key, a node); '' for all
 *   --list                          names and what they show
 *
 * The last line is `N passed, N failed`.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { HELD } from './fuzz/clients.js'
import { FAULT_KINDS, type FaultKind, type Plan, type PlanOptions, type Step, planOf } from './fuzz/plan.js'
import { type RunResult, run } from './fuzz/run.js'
import { shrink } from './fuzz/shrink.js'
import { runMutations } from './mutations/run.js'
import { guarded, inWorkers, textOf } from './pool.js'
import { scenarios } from './scenarios/index.js'
import { runScenario } from './scenarios/run.js'
import type { TraceOptions } from './trace.js'
import type { Job, JobResult } from './worker.js'

/** What was asked for makes no sense: one line says why, and the exit code is 2. */
class UsageError extends Error {}

const values = readArguments()

function readArguments() {
  try {
    return parseArgs({
      options: {
        seeds: { type: 'string' },
        first: { type: 'string', default: '1' },
        seed: { type: 'string' },
        operations: { type: 'string', default: '2000' },
        tabs: { type: 'string' },
        faults: { type: 'string' },
        plan: { type: 'string' },
        scenario: { type: 'string' },
        mutations: { type: 'boolean', default: false },
        pitfall: { type: 'string' },
        trace: { type: 'string' },
        list: { type: 'boolean', default: false },
      },
    }).values
  } catch (error) {
    return misused(error)
  }
}

function misused(error: unknown): never {
  console.error(error instanceof Error ? error.message.split('\n')[0] : error)
  process.exit(2)
}

/** A whole number that was given as text. @throws UsageError */
function numberOf(option: 'seeds' | 'first' | 'seed' | 'operations' | 'tabs', least = 1): number {
  const text = values[option] ?? ''
  if (!/^\d+$/.test(text) || Number(text) < least)
    throw new UsageError(`--${option} takes a whole number from ${least} on, not '${text}'`)
  return Number(text)
}

/** One in so many is run twice, and its traces compared (I14). */
const TWICE_EVERY = 20
/** So many days visit all that has to be visited. */
const ENOUGH_SEEDS = 10
const script = fileURLToPath(new URL('worker.js', import.meta.url))
const count = { passed: 0, failed: 0 }

function tally(violations: string[]): void {
  if (violations.length === 0) count.passed++
  else count.failed++
}

function planOptions(seed: number): PlanOptions {
  const faults = values.faults?.split(',') as FaultKind[] | undefined
  const unknown = faults?.find((fault) => !FAULT_KINDS.includes(fault))
  if (unknown !== undefined) throw new UsageError(`no fault '${unknown}'; there are ${FAULT_KINDS.join(', ')}`)
  const tabs = values.tabs === undefined ? undefined : numberOf('tabs')
  return { seed, operations: numberOf('operations'), tabs, faults }
}

function again(seed: number): string {
  const rest = [
    values.operations !== '2000' && `--operations ${values.operations}`,
    values.tabs && `--tabs ${values.tabs}`,
    values.faults && `--faults '${values.faults}'`,
  ].filter(Boolean)
  return ['npm run sim --', `--seed ${seed}`, ...rest].join(' ')
}

const trace: TraceOptions | undefined =
  values.trace === undefined ? undefined : { about: values.trace, print: (line) => console.log(line) }

function play(plan: Plan, about?: TraceOptions): Promise<RunResult> {
  return guarded(() => run(plan, about), { seed: plan.seed, violations: [], hash: '', seen: new Map() })
}

async function oneSeed(seed: number): Promise<void> {
  const plan = planOf(planOptions(seed))
  const { violations, hash, seen } = await play(plan, trace)
  if ((await play(plan)).hash !== hash) violations.push('I14: the same seed gave another trace the second time')
  for (const violation of violations) console.log(violation)
  tally(violations)
  console.log(`trace ${hash}; visited: ${[...seen].map(([what, times]) => `${what} (${times})`).join(', ')}`)
  const [violation] = violations
  if (violation === undefined || trace) return
  const shrunk = await shrink(plan, violation, async (candidate) => (await play(candidate)).violations)
  mkdirSync('out/sim', { recursive: true })
  const file = `out/sim/seed-${seed}.json`
  writeFileSync(file, JSON.stringify(shrunk.plan, undefined, 1))
  console.log(`\nshrunk to ${shrunk.plan.steps.length} steps in ${shrunk.runs} runs: ${shrunk.violation}`)
  for (const step of shrunk.plan.steps) console.log(`  ${describe(step)}`)
  console.log(`again: npm run sim -- --plan ${file} --trace ''`)
}

function readPlan(file: string): Plan {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as Plan
  } catch (error) {
    throw new UsageError(`no plan in ${file}: ${error instanceof Error ? error.message : error}`)
  }
}

async function onePlan(file: string): Promise<void> {
  const { violations } = await play(readPlan(file), trace)
  for (const violation of violations) console.log(violation)
  tally(violations)
}

/** Its replay command comes with it, as with any other failure. */
const onDeath = (error: unknown): JobResult => ({
  violations: [`crash: the worker died: ${textOf(error)}`],
  seen: new Map(),
})

function describe({ after, ...step }: Step): string {
  return `+${after.toFixed(0)} ms ${Object.values(step).join(' ')}`
}

async function manySeeds(first: number, seeds: number): Promise<void> {
  const start = performance.now()
  const seen = new Map<string, number>()
  const jobs = Array.from({ length: seeds }, (_, i): Job => {
    return { kind: 'fuzz', twice: i % TWICE_EVERY === 0, ...planOptions(first + i) }
  })
  const onResult = (result: JobResult, job: Job) => {
    for (const [what, times] of result.seen) seen.set(what, (seen.get(what) ?? 0) + times)
    tally(result.violations)
    if (result.violations.length === 0 || job.kind !== 'fuzz') return
    console.log(`seed ${job.seed}: ${result.violations[0]}`)
    if (result.violations.length > 1) console.log(`  and ${result.violations.length - 1} more`)
    console.log(`  again: ${again(job.seed)}`)
  }
  await inWorkers<Job, JobResult>(script, jobs, onResult, { onDeath })
  for (const [what, times] of [...seen].sort(([, a], [, b]) => b - a))
    console.log(`${String(times).padStart(9)} ${what}`)
  if (seeds >= ENOUGH_SEEDS)
    for (const what of HELD) {
      if (seen.has(what)) continue
      count.failed++
      console.log(`never got to: ${what}`)
    }
  const seconds = (performance.now() - start) / 1000
  console.log(`${seeds} seeds of ${values.operations} operations in ${seconds.toFixed(0)} s`)
}

async function runScenarios(name: string): Promise<void> {
  const named = name === 'all' ? scenarios : scenarios.filter((scenario) => scenario.name === name)
  if (named.length === 0) throw new UsageError(`no scenario '${name}'; --list shows them`)
  const first = numberOf(values.seed === undefined ? 'first' : 'seed', 0)
  if (trace && named.length === 1) {
    const nothing = { violations: [], hash: '', seen: new Map<string, number>() }
    const { violations } = await guarded(() => runScenario(name, first, trace), nothing)
    for (const violation of violations) console.log(violation)
    tally(violations)
    return
  }
  const jobs = named.flatMap((scenario) =>
    Array.from({ length: values.seeds === undefined ? 1 : numberOf('seeds') }, (_, i): Job => {
      return { kind: 'scenario', name: scenario.name, seed: first + i, twice: i % TWICE_EVERY === 0 }
    }),
  )
  const onResult = ({ violations }: JobResult, job: Job) => {
    tally(violations)
    if (job.kind !== 'scenario') return
    console.log(`${violations.length === 0 ? 'pass' : 'FAIL'} ${job.name} (seed ${job.seed})`)
    for (const violation of violations) console.log(`  ${violation}`)
    if (violations.length > 0) console.log(`  again: npm run sim -- --scenario ${job.name} --seed ${job.seed}`)
  }
  await inWorkers<Job, JobResult>(script, jobs, onResult, { onDeath })
}

async function main(): Promise<void> {
  if (values.list) {
    for (const { number, name, shows } of scenarios)
      console.log(`${String(number).padStart(3)} ${name.padEnd(26)} ${shows}`)
    return
  }
  if (values.mutations) {
    const { killed, survived } = await runMutations(values.pitfall)
    Object.assign(count, { passed: killed, failed: survived })
  } else if (values.scenario !== undefined) await runScenarios(values.scenario)
  else if (values.plan !== undefined) await onePlan(values.plan)
  else if (values.seed !== undefined) await oneSeed(numberOf('seed', 0))
  else await manySeeds(numberOf('first', 0), values.seeds === undefined ? 100 : numberOf('seeds'))
  console.log(`${count.passed} passed, ${count.failed} failed`)
  process.exitCode = count.failed > 0 ? 1 : 0
}

await main().catch((error) => {
  if (error instanceof UsageError) misused(error)
  throw error
})
