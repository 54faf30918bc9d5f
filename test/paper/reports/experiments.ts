/** All experiments, in the order of the report. */
import { admission } from './admission.js'
import { buffering } from './buffering.js'
import { coordination } from './coordination.js'
import { gossip } from './gossip.js'
import { imbalance } from './imbalance.js'
import { loadBalance } from './load-balance.js'
import type { Experiment } from './report.js'
import { staleness } from './staleness.js'
import { versions } from './versions.js'

export const experiments: Record<string, Experiment> = {
  loadBalance,
  buffering,
  imbalance,
  versions,
  coordination,
  admission,
  gossip,
  staleness,
}

export interface Job {
  experiment: string
  part: unknown
}
