/** The shopping cart of the page, `?app=cart`, as people use it in two tabs. */
import { once } from 'node:events'
import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import type { Browser, BrowserContext, Locator, Page } from 'playwright'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { dist } from '../../scripts/paths.mjs'
import { serveFolder } from '../../scripts/static.mjs'
import { attachSignaling } from '../../signaling/index.js'
import { launchChromium } from './support/browser.js'

const WAIT_MS = 40_000

let browser: Browser
let server: Server
let signaling: ReturnType<typeof attachSignaling>
let room: string
let contexts: BrowserContext[] = []
let noise: string[] = []

beforeAll(async () => {
  browser = await launchChromium()
  server = serveFolder(join(dist, 'page'))
  signaling = attachSignaling(server, { path: '/signal' })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
})

beforeEach(() => {
  room = crypto.randomUUID()
})

afterEach(async () => {
  const closing = contexts
  contexts = []
  await Promise.all(closing.map((context) => context.close()))
  const heard = noise
  noise = []
  expect(heard).toEqual([])
})

afterAll(async () => {
  await browser.close()
  await signaling.close()
  server.close()
  server.closeAllConnections()
})

async function openCart(options: Parameters<Browser['newContext']>[0] = {}): Promise<Page> {
  const context = await browser.newContext(options)
  contexts.push(context)
  context.setDefaultTimeout(WAIT_MS)
  const page = await context.newPage()
  page.on('pageerror', (error) => noise.push(String(error)))
  page.on('console', (message) => message.type() === 'error' && noise.push(message.text()))
  await page.goto(`http://127.0.0.1:${(server.address() as AddressInfo).port}/?app=cart&room=${room}`)
  return page
}

async function twoCarts(): Promise<[Page, Page]> {
  const pages = await Promise.all([openCart(), openCart()])
  for (const page of pages) await shows(page.getByTestId('status-peers'), '1 of 1')
  return pages
}

async function shows(element: Locator, text: string | RegExp): Promise<void> {
  await element.filter({ hasText: text }).waitFor()
}

async function add(page: Page, item: string): Promise<void> {
  await page.getByLabel('Item', { exact: true }).fill(item)
  await page.getByRole('button', { name: 'Add', exact: true }).click()
  await line(page, item).waitFor()
}

function line(page: Page, item: string): Locator {
  return page.getByTestId('cart-row').filter({ has: page.getByRole('rowheader', { name: item, exact: true }) })
}

/** Waits until the cart shows just this. */
async function holds(page: Page, cart: Record<string, number>): Promise<void> {
  // In one look: a row that goes while it is read is no reason to wait.
  const shown = () =>
    page
      .getByTestId('cart-row')
      .evaluateAll((rows) =>
        Object.fromEntries(
          rows.map((row) => [row.querySelector('th')?.textContent, Number(row.querySelector('output')?.textContent)]),
        ),
      )
  await expect.poll(shown, { timeout: WAIT_MS }).toEqual(cart)
}

test('what one tab puts into the cart, takes out and removes shows in the other, with the total', async () => {
  const [a, b] = await twoCarts()
  await add(a, 'tea')
  await add(b, 'milk')
  for (const page of [a, b]) await holds(page, { tea: 1, milk: 1 })
  for (let i = 0; i < 3; i++) await b.getByRole('button', { name: 'One tea more' }).click()
  await a.getByRole('button', { name: 'One milk less' }).click()
  for (const page of [a, b]) {
    await holds(page, { tea: 4 })
    await shows(page.getByTestId('cart-total'), 'Total: 4 things of 1 kind')
  }
  await a.getByRole('button', { name: 'One tea less' }).click()
  await holds(b, { tea: 3 })
  await b.getByRole('button', { name: 'Remove tea' }).click()
  for (const page of [a, b]) await shows(page.getByTestId('cart-total'), 'The cart is empty.')
})

// Focus was on the page then: from its beginning again, for who has no pointer.
test('who removes an item with the keyboard goes on at the field for the next', async () => {
  const page = await openCart()
  for (const item of ['tea', 'milk']) await add(page, item)
  await page.getByRole('button', { name: 'Remove tea' }).press('Enter')
  await holds(page, { milk: 1 })
  expect(await page.getByLabel('Item', { exact: true }).evaluate((field) => field === document.activeElement)).toBe(
    true,
  )
})

test('two tabs cut off from each other both change the cart, and after healing both have every item that was added', async () => {
  const [a, b] = await twoCarts()
  for (const item of ['milk', 'soap', 'tea']) await add(a, item)
  await holds(b, { milk: 1, soap: 1, tea: 1 })
  await a.getByRole('button', { name: 'Cut this tab’s links' }).click()
  for (const page of [a, b]) await shows(page.getByTestId('member').nth(1), 'unreachable')
  await add(a, 'bread')
  await a.getByRole('button', { name: 'Remove milk' }).click()
  await a.getByRole('button', { name: 'Remove tea' }).click()
  await a.getByRole('button', { name: 'One soap more' }).click()
  await add(b, 'jam')
  // What A removes meanwhile; only what A had seen of it goes.
  await b.getByRole('button', { name: 'One tea more' }).click()
  await b.getByRole('button', { name: 'One soap more' }).click()
  await holds(a, { bread: 1, soap: 2 })
  await holds(b, { jam: 1, milk: 1, soap: 2, tea: 2 })
  for (const page of [a, b]) expect(await page.getByTestId('cart-merged').isVisible()).toBe(false)
  await a.getByRole('button', { name: 'Heal this tab’s links' }).click()
  for (const page of [a, b]) {
    await holds(page, { bread: 1, jam: 1, soap: 3, tea: 1 })
    await shows(page.getByTestId('cart-merged'), /Merged at .* nothing that was added is lost/)
  }
  // The next change is made to the merged cart.
  await add(b, 'apples')
  await holds(a, { apples: 1, bread: 1, jam: 1, soap: 3, tea: 1 })
})

test('the keys’ page links to the cart of its room, and the cart back', async () => {
  const page = await openCart()
  await add(page, 'tea')
  await page.getByRole('link', { name: 'Keys and ring' }).click()
  await page.getByTestId('put-form').waitFor()
  expect(await page.getByTestId('cart').isVisible()).toBe(false)
  await shows(page.getByTestId('room'), room)
  await page.getByRole('link', { name: 'Shopping cart' }).click()
  await holds(page, { tea: 1 })
  await shows(page.getByTestId('room'), room)
})

test('the cart is no wider than a screen of 360 pixels', async () => {
  const page = await openCart({ viewport: { width: 360, height: 740 } })
  await add(page, 'x'.repeat(80))
  expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(360)
})

test('nothing can be submitted before there is a store that takes it', async () => {
  const page = await openCart({ javaScriptEnabled: false })
  for (const button of ['put', 'get', 'add-item']) expect(await page.getByTestId(button).isDisabled()).toBe(true)
})
