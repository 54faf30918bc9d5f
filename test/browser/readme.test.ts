/** The README's example, run exactly as it is printed, in a tab of a ring. */
import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { useWorld } from './support/world.js'

const world = useWorld()

test('the example of the README runs as printed', async () => {
  const readme = readFileSync(new URL('../../README.md', import.meta.url), 'utf8')
  const example = /```ts\n(import \{ openStore \}[\s\S]*?)```/.exec(readme)?.[1]
  expect(example?.trim().split('\n').length).toBeLessThanOrEqual(16)
  const tab = await world.tab({ room: 'my-app' })
  const other = await world.tab({ room: 'my-app' })
  await other.ready(1)
  // Only what a page without a bundler cannot have is put in its place: the import, and where the test's signaling server is.
  const body = (example ?? '')
    .replace(/^import .*$/m, 'const { tabring: { openStore: open } } = window')
    .replace(
      "openStore({ room: 'my-app' })",
      `open({ room: 'my-app', signaling: ${JSON.stringify(world.signaling.url)} })`,
    )
  expect(body).not.toContain('import')
  const printed = tab.page.waitForEvent(
    'console',
    (message) => message.text() === 'cart/43 {items: Array(1)}' || message.text().startsWith('cart/43'),
  )
  await tab.page.evaluate(`void (async () => { ${body} })()`)
  await tab.waitFor('the example to have put', async (store) => (await store.get('cart/42')).value?.items[0] === 'tea')
  await other.put('cart/43', { items: ['milk'] })
  expect((await printed).text()).toContain('cart/43')
})
