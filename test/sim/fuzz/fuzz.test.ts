/** A share of the bad days; `npm run sim -- --seeds 1000` runs more, `-- --seed 7` the one. */
import { expect, test } from 'vitest'
import { HELD } from './clients.js'
import { planOf } from './plan.js'
import { run } from './run.js'

const first = Number(process.env.FIRST ?? 1)
const seeds = Number(process.env.SEEDS ?? 40)
const operations = Number(process.env.OPERATIONS ?? 600)

const seen = new Set<string>()

test.each(Array.from({ length: seeds }, (_, i) => first + i))(
  'seed %d: nothing acknowledged is lost, nothing deleted rises, everything converges and comes to rest',
  async (seed) => {
    const result = await run(planOf({ seed, operations }))
    for (const what of result.seen.keys()) seen.add(what)
    expect(result.violations).toEqual([])
  },
)

test.runIf(seeds >= 10)('these days held the ring to all that it promises', () => {
  expect(HELD.filter((what) => !seen.has(what))).toEqual([])
})
