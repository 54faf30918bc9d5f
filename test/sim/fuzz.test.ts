/** A share of the simulated bad days; `SEEDS=1000 FIRST=1 npx vitest run test/sim` runs more. */
import { expect, test } from 'vitest'
import { fuzz } from './fuzz.js'

const first = Number(process.env.FIRST ?? 1)
const seeds = Number(process.env.SEEDS ?? 12)

test.each(Array.from({ length: seeds }, (_, i) => first + i))(
  'seed %d: nothing acknowledged is lost, nothing deleted rises, everything converges',
  async (seed) => {
    const { violations } = await fuzz({ seed, operations: Number(process.env.OPERATIONS ?? 600) })
    expect(violations).toEqual([])
  },
  120_000,
)
