/** The ring of the simulator's tests, for vitest: a test whose ring reported an error fails. */
import { expect, onTestFinished } from 'vitest'
import type { Tuning } from '../../src/core/tuning.js'
import { Ring, type RingOptions, type Tab } from '../sim/ring.js'

export * from '../sim/ring.js'

export interface OpenOptions extends Omit<RingOptions, 'seed' | 'tuning'> {
  /** False when the test expects a node to report errors. */
  quiet?: boolean
}

const SEED = 2007

/** Opens that many tabs and waits until they are one ring. */
export async function openRing(
  tabs: number,
  tuning: Partial<Tuning> = {},
  { quiet = true, ...options }: OpenOptions = {},
): Promise<Ring> {
  const ring = new Ring({ seed: SEED, tuning, ...options })
  if (quiet) onTestFinished(() => expect(ring.world.errors).toEqual([]))
  await ring.open(tabs)
  return ring
}

/** Nothing more comes to that tab's disk until the function that this returns is called. */
export function holdCommits({ storage }: Tab): () => void {
  if (!storage) throw new Error('it is open')
  const commit = storage.commit.bind(storage)
  let arrive = () => {}
  const arrived = new Promise<void>((resolve) => {
    arrive = resolve
  })
  storage.commit = (batch, durability) => arrived.then(() => commit(batch, durability))
  return () => {
    storage.commit = commit
    arrive()
  }
}
