/**
 * Builds the simulator with each mutation and runs the scenario that has to notice it, on all cores; prints who was killed and who survived. A kill
 * counts only on a seed on which the same scenario passes without the mutation.
 */
import { rmSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { inWorkers } from '../pool.js'
import type { Job, JobResult } from '../worker.js'
import { absent, mutations } from './index.js'
import type { Mutation } from './mutation.js'

/** A mistake need not show on every day. */
const SEEDS = 5

type BuildSimulator = typeof import('../../../scripts/simulator.mjs').buildSimulator

export async function runMutations(pitfall: string | undefined): Promise<{ killed: number; survived: number }> {
  const chosen = mutations.filter((mutation) => pitfall === undefined || mutation.pitfall === pitfall)
  const script = pathToFileURL(resolve('scripts/simulator.mjs')).href
  const { buildSimulator } = (await import(script)) as { buildSimulator: BuildSimulator }
  const unchanged = resolve('out/sim/mutations', 'none')
  await buildSimulator(unchanged)
  /** By scenario and seed: what it finds in the code as it is. */
  const asItIs = new Map<string, Promise<string | undefined>>()
  const faultOf = (name: string, seed: number) => {
    const known = asItIs.get(`${name} ${seed}`) ?? violationOf(unchanged, name, seed)
    asItIs.set(`${name} ${seed}`, known)
    return known
  }
  let killed = 0
  const rest = [...chosen]
  const lane = async () => {
    for (let mutation = rest.shift(); mutation; mutation = rest.shift()) {
      const violation = await killerOf(mutation, buildSimulator, faultOf)
      if (violation !== undefined) killed++
      console.log(`${violation === undefined ? 'SURVIVED' : 'killed  '} ${mutation.pitfall.padEnd(4)} ${mutation.name}`)
      console.log(`           by ${mutation.killedBy}${violation === undefined ? ' it is not' : `: ${violation}`}`)
    }
  }
  await Promise.all([lane(), lane()])
  rmSync(unchanged, { recursive: true, force: true })
  for (const { pitfall: number, name, reason } of absent) {
    if (pitfall !== undefined && pitfall !== number) continue
    console.log(`no place ${number.padEnd(4)} ${name}\n           ${reason}`)
  }
  return { killed, survived: chosen.length - killed }
}

/** The first violation of a scenario in a build, or of what it claims itself, on one line; undefined when there is none. */
async function violationOf(
  outDir: string,
  name: string,
  seed: number,
  onlyItsOwn = false,
): Promise<string | undefined> {
  let violation: string | undefined
  const job: Job = { kind: 'scenario', name, seed, twice: false }
  await inWorkers<Job, JobResult>(join(outDir, 'worker.js'), [job], ({ violations }) => {
    const first = onlyItsOwn ? violations.find((each) => each.startsWith(`${name}: `)) : violations[0]
    violation = first?.split('\n')[0]?.slice(0, 160)
  })
  return violation
}

/** The first violation that the mutation causes; undefined when it survives. @throws where the scenario fails without it as well */
async function killerOf(
  mutation: Mutation,
  buildSimulator: BuildSimulator,
  faultOf: (name: string, seed: number) => Promise<string | undefined>,
): Promise<string | undefined> {
  const outDir = resolve('out/sim/mutations', `${mutations.indexOf(mutation)}`)
  const left = new Set(mutation.changes)
  await buildSimulator(outDir, [
    {
      name: 'mutation',
      enforce: 'pre',
      transform(code: string, id: string) {
        let changed = code
        for (const change of mutation.changes) {
          if (!id.endsWith(change.file)) continue
          if (changed.split(change.find).length !== 2)
            throw new Error(`${mutation.pitfall}: its text is not in ${change.file} exactly once`)
          changed = changed.replace(change.find, () => change.replace)
          left.delete(change)
        }
        return changed === code ? undefined : { code: changed, map: null }
      },
    },
  ])
  if (left.size > 0) throw new Error(`${mutation.pitfall}: ${[...left].map(({ file }) => file)} is not in the build`)
  let violation: string | undefined
  for (let seed = 1; seed <= SEEDS && violation === undefined; seed++) {
    const fault = await faultOf(mutation.killedBy, seed)
    if (fault !== undefined)
      throw new Error(`${mutation.killedBy} fails on seed ${seed} without any mutation: ${fault}`)
    violation = await violationOf(outDir, mutation.killedBy, seed, mutation.byItsOwnClaim)
  }
  rmSync(outDir, { recursive: true, force: true })
  // Text that does not even run would be killed by any scenario.
  if (/ReferenceError|SyntaxError|TypeError/.test(violation ?? ''))
    throw new Error(`${mutation.pitfall}, ${mutation.name}: ${violation}`)
  return violation
}
