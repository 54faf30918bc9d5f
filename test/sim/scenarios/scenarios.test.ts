/** Every named scenario on one day; `npm run sim -- --scenario hint-flap --seed 7` runs one, `--scenario all --seeds 20` all on more. */
import { expect, test } from 'vitest'
import { scenarios } from './index.js'
import { runScenario } from './run.js'

test('all scenarios of the list are there, each once', () => {
  const numbers = scenarios.map(({ number }) => number)
  expect(numbers).toEqual(Array.from({ length: numbers.length }, (_, i) => i + 1))
})

test.each(scenarios)('$name: $shows', async ({ name }) => expect((await runScenario(name, 1)).violations).toEqual([]))
