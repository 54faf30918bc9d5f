/** IndexedDB in a real browser keeps the promises of `Storage`, and survives what browsers do to databases. */
import { expect, test } from 'vitest'
import { storageCases } from '../conformance/storage.js'
import { useWorld } from './support/world.js'

const world = useWorld({ firefox: true })

test.each(
  storageCases.flatMap(({ name }) => [
    { browser: 'chromium' as const, name },
    { browser: 'firefox' as const, name },
  ]),
)('$browser: $name', async ({ browser, name }) => {
  const tab = await world.tab({ browser, options: { signaling: null } })
  await tab.evaluate((_, wanted) => window.tabring.runStorageCase(wanted), name)
})

test('a connection that was closed under it is opened again', async () => {
  const tab = await world.tab({ options: { signaling: null } })
  expect(await tab.evaluate(() => window.tabring.reopensLostConnection())).toEqual(['before', 'after'])
})

test('a full disk is a StorageFailure of kind quota, nothing of the batch is kept, and later commits work', async () => {
  // A profile of its own, limited before it has opened any database: Chromium does not look at the limit again for long.
  const context = await (await world.browser('chromium')).newContext()
  const page = await context.newPage()
  const cdp = await context.newCDPSession(page)
  const { origin } = new URL(world.url)
  await cdp.send('Storage.overrideQuotaForOrigin', { origin, quotaSize: 2_000_000 })
  await page.goto(world.url)
  await page.evaluate(() => window.tabring.beginQuotaTest())
  expect(await page.evaluate(() => window.tabring.writeALot())).toBe('quota')
  await cdp.send('Storage.overrideQuotaForOrigin', { origin })
  expect(await page.evaluate(() => window.tabring.writeALot())).toBe('written')
  expect(await page.evaluate(() => window.tabring.leavesAreTrue())).toBe(true)
  await context.close()
})

test('deleting the database from outside is let through and told', async () => {
  const tab = await world.tab({ options: { signaling: null } })
  expect(await tab.evaluate(() => window.tabring.deletedFromOutside())).toEqual({ told: 'deleted', after: 'closed' })
})
