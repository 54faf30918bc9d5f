/** The mutations fit the code as it is; `npm run sim -- --mutations` runs them against their scenarios. */
import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { scenarios } from '../scenarios/index.js'
import { absent, mutations } from './index.js'

test('every pitfall is put back in, or has a reason why it cannot be', () => {
  const named = new Set([...mutations, ...absent].map(({ pitfall }) => pitfall))
  expect(named).toEqual(new Set(Array.from({ length: 43 }, (_, i) => `P${i + 1}`)))
})

test.each(mutations)(
  '$pitfall, $name: its text is in the code once, and its scenario exists',
  ({ changes, killedBy }) => {
    for (const { file, find } of changes) expect(readFileSync(file, 'utf8').split(find)).toHaveLength(2)
    expect(scenarios.map(({ name }) => name)).toContain(killedBy)
  },
)
