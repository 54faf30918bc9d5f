/** How fast a failing schedule gets small; that it does is in test/sim/determinism.test.ts. */
import { expect, test } from 'vitest'
import { planOf } from './plan.js'
import { shrink } from './shrink.js'

test('operations on other keys than the one that failed are left out at once', async () => {
  const plan = planOf({ seed: 4, operations: 400 })
  const key = plan.steps.find((step) => step.do === 'put')?.key as number
  const isCulprit = (step: (typeof plan.steps)[number]) => step.do === 'put' && step.key === key
  let afterFirst = 0
  const shrunk = await shrink(plan, `I1: lost "k${key}"`, async ({ steps }) => {
    afterFirst ||= steps.filter((step) => 'key' in step && step.key !== key).length + 1
    return steps.some(isCulprit) ? ['I1: lost'] : []
  })
  expect(afterFirst).toBe(1)
  expect(shrunk.plan.steps.filter(isCulprit)).toHaveLength(1)
  expect(shrunk.plan.steps).toHaveLength(1)
})

test('a schedule whose time is up stays as it is', async () => {
  const plan = planOf({ seed: 4, operations: 100 })
  const shrunk = await shrink(plan, 'I1: lost', async () => ['I1: lost'], 0)
  expect(shrunk).toEqual({ plan, violation: 'I1: lost', runs: 0 })
})
