/** One seed is one trace, whatever the machine does meanwhile (I14). */
import { expect, test } from 'vitest'
import { planOf } from './fuzz/plan.js'
import { run } from './fuzz/run.js'
import { shrink } from './fuzz/shrink.js'

/** Whole days are played: vitest's five seconds were too few while browsers ran beside it. */
const BUSY_MACHINE_MS = 120_000

test(
  'the same seed gives the same trace, another seed another one',
  async () => {
    const hash = async (seed: number) => (await run(planOf({ seed, operations: 300 }))).hash
    expect(await hash(5)).toBe(await hash(5))
    expect(await hash(5)).not.toBe(await hash(6))
  },
  BUSY_MACHINE_MS,
)

test('a failing schedule is shrunk to what it takes to fail', async () => {
  const plan = planOf({ seed: 9, operations: 200 })
  const puts = plan.steps.filter((step) => step.do === 'put')
  const culprits = [puts[20], puts[50]].flatMap((step) => step ?? [])
  expect(culprits).toHaveLength(2)
  const names = (steps: typeof plan.steps) => steps.map(({ after, ...step }) => JSON.stringify(step))
  const [first, second] = names(culprits) as [string, string]
  const shrunk = await shrink(plan, 'I1: both', async ({ steps }) => {
    const left = names(steps)
    return left.includes(first) && left.includes(second) ? ['I1: both'] : []
  })
  expect(names(shrunk.plan.steps)).toEqual([first, second])
})
