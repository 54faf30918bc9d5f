/** All named scenarios, by their numbers in SCENARIOS.md. */
import type { Scenario } from './scenario.js'

export const scenarios: Scenario[] = []
