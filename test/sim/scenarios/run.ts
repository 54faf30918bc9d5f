/** Runs a scenario, and then checks what holds after every one: all back, nothing lost or risen, one ring, converged, bounded, quiet. */
import { StorageFailure } from '../../../src/core/environment.js'
import { MalformedError } from '../../../src/core/versions/encoding.js'
import { disagreement, leftovers, settledState, unrest } from '../checks.js'
import { Ring } from '../ring.js'
import type { TraceOptions } from '../trace.js'
import { scenarios } from './index.js'
import type { Scenario } from './scenario.js'

export interface ScenarioResult {
  violations: string[]
  hash: string
  seen: Map<string, number>
}

const QUIET_MS = 20_000
const CONVERGES_WITHIN_MS = 200_000

export async function runScenario(name: string, seed: number, trace?: TraceOptions): Promise<ScenarioResult> {
  const scenario = scenarios.find((one) => one.name === name)
  if (!scenario) throw new Error(`no scenario '${name}'`)
  const { tabs = 7, tuning, knobs, devices, noticeMs, visits = [] } = scenario
  const ring = new Ring({ seed, tuning: { partitions: 64, ...tuning }, knobs, devices, noticeMs, trace })
  const { history, sights, trace: made } = ring.world
  try {
    await ring.open(tabs)
    await scenario.run(ring)
    await ring.allBack()
    await restsWell(ring, scenario)
  } catch (error) {
    history.violation(name, error instanceof Error ? (error.stack ?? error.message) : String(error))
  }
  for (const what of visits) if (!sights.seen.has(what)) history.violation(name, `never got to: ${what}`)
  return { violations: history.violations, hash: made.hash, seen: sights.seen }
}

async function restsWell({ world }: Ring, { convergesWithinMs = CONVERGES_WITHIN_MS }: Scenario): Promise<void> {
  const { history, time } = world
  const keys = history.keys()
  const state = () => disagreement(world, keys)
  try {
    await time.until('convergence', () => state() === undefined, convergesWithinMs, 1000)
  } catch {
    history.violation('no convergence', state() ?? 'it came and went')
    return
  }
  for (const key of keys) history.judge(key, settledState(world, key))
  // Forgetting may still go on for a while; then nothing may.
  await time.advance(2 * (world.knobs.tuning.reapAfterMs ?? 60_000) + 10_000)
  for (const found of [...leftovers(world), ...(await unrest(world, QUIET_MS))]) history.violations.push(found)
  for (const error of world.errors) {
    if (error instanceof StorageFailure || error instanceof MalformedError) continue
    history.violation('error', error instanceof Error ? String(error.stack) : String(error))
  }
}
