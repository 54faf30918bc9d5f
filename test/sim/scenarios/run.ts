import type { TraceOptions } from '../trace.js'

export interface ScenarioResult {
  violations: string[]
  hash: string
  seen: Map<string, number>
}

export async function runScenario(_name: string, _seed: number, _trace?: TraceOptions): Promise<ScenarioResult> {
  return { violations: ['not yet'], hash: '', seen: new Map() }
}
