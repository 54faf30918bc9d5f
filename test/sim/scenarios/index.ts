/** All named scenarios, in the order of their numbers. */
import { amnesia } from './amnesia.js'
import { deletes } from './deletes.js'
import { hints } from './hints.js'
import { life } from './life.js'
import { membership } from './membership.js'
import type { Scenario } from './scenario.js'
import { sync } from './sync.js'
import { trouble } from './trouble.js'
import { writes } from './writes.js'

export const scenarios: Scenario[] = [
  ...writes,
  ...hints,
  ...amnesia,
  ...deletes,
  ...sync,
  ...membership,
  ...trouble,
  ...life,
].sort((a, b) => a.number - b.number)
