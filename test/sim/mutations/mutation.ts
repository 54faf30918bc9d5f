/**
 * A known mistake, put back into the production core: a change of one place in its source, made while the simulator is built. The text must be
 * there exactly once, so that a mutation that no longer fits the code says so.
 */
export interface Mutation {
  /** In docs/pitfalls.md. */
  pitfall: string
  name: string
  /** The scenario that has to notice. */
  killedBy: string
  /** Only what the scenario itself claims counts: what this does to dots or counters (I4, I6) shows in any scenario, whether it does harm there or not. */
  byItsOwnClaim?: boolean
  changes: { file: string; find: string; replace: string }[]
}

/** A pitfall that has nothing here to be put back into, and why. */
export interface Absent {
  pitfall: string
  name: string
  reason: string
}
