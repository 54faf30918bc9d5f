/** Runs a scenario, and then checks what holds after every one: all back, nothing lost or risen, one ring, converged, bounded, quiet. */
import { StorageFailure } from '../../../src/core/environment.js'
import { DEFAULT_TUNING } from '../../../src/core/tuning.js'
import { MalformedError } from '../../../src/core/versions/encoding.js'
import { disagreement, leftovers, settledState, unrest, unsettled } from '../checks.js'
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
  // A whole scrub finds what is to be forgotten, and who asks may have to ask once more. Some time after that nothing may go on.
  const { reapAfterMs, scrubIntervalMs } = { ...DEFAULT_TUNING, ...world.knobs.tuning }
  const afterwardsMs = 2 * reapAfterMs + 10_000
  // Who asks in vain does so again within this time.
  const quietMs = Math.max(QUIET_MS, 2 * reapAfterMs)
  const rest = () => unsettled(world, afterwardsMs + quietMs)
  try {
    await time.until('rest', () => rest() === undefined, 16 * scrubIntervalMs + 3 * reapAfterMs + 10_000, 1000)
  } catch {
    history.violation('no rest', rest() ?? 'it came and went')
    return
  }
  await time.advance(afterwardsMs)
  for (const found of [...leftovers(world), ...(await unrest(world, quietMs))]) history.violations.push(found)
  for (const error of world.errors) {
    if (error instanceof StorageFailure || error instanceof MalformedError) continue
    history.violation('error', error instanceof Error ? String(error.stack) : String(error))
  }
}
