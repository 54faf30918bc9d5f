/** The built page as people use it: two tabs of one room, looked at and clicked at. Nothing here reaches into a store. */
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

const WAIT_MS = 30_000

let browser: Browser
let server: Server
let signaling: ReturnType<typeof attachSignaling>
let url: string
let contexts: BrowserContext[] = []
/** What no healthy page writes to its console. */
let noise: string[] = []

beforeAll(async () => {
  browser = await launchChromium()
  // As `npm start` serves it: the page and the signaling server on one port, under the strict policy.
  server = serveFolder(join(dist, 'page'))
  signaling = attachSignaling(server, { path: '/signal' })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
})

beforeEach(() => {
  const { port } = server.address() as AddressInfo
  url = `http://127.0.0.1:${port}/?room=${crypto.randomUUID()}`
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

async function openPage(options: Parameters<Browser['newContext']>[0] = {}): Promise<Page> {
  const context = await browser.newContext(options)
  contexts.push(context)
  context.setDefaultTimeout(WAIT_MS)
  const page = await context.newPage()
  listen(page)
  await page.goto(url)
  return page
}

function listen(page: Page): void {
  page.on('pageerror', (error) => noise.push(String(error)))
  page.on('console', (message) => message.type() === 'error' && noise.push(message.text()))
}

async function twoPages(): Promise<[Page, Page]> {
  const pages = await Promise.all([openPage(), openPage()])
  for (const page of pages) await shows(page.getByTestId('status-peers'), '1 of 1')
  return pages
}

/** Waits until an element holds this text. */
async function shows(element: Locator, text: string | RegExp): Promise<void> {
  await element.filter({ hasText: text }).waitFor()
}

async function put(page: Page, key: string, value: string): Promise<void> {
  await page.getByLabel('Key', { exact: true }).fill(key)
  await page.getByLabel('Value').fill(value)
  await page.getByRole('button', { name: 'Put' }).click()
}

function row(page: Page, key: string): Locator {
  return page.getByTestId('key-row').filter({ has: page.getByRole('button', { name: key, exact: true }) })
}

test('a key put in one tab shows in the table of the other, and goes when it is deleted there', async () => {
  const [a, b] = await twoPages()
  await put(a, 'cart/ada', '{"items": ["tea"]}')
  await shows(row(b, 'cart/ada'), '{"items": ["tea"]}')
  await shows(a.getByTestId('log'), '"cart/ada": quorum met (2 confirmations, 2 needed)')
  await put(b, 'cart/ada', 'just text')
  await shows(row(a, 'cart/ada'), '"just text"')
  await row(b, 'cart/ada').getByRole('button', { name: 'Delete' }).click()
  await row(a, 'cart/ada').waitFor({ state: 'detached' })
  await row(b, 'cart/ada').waitFor({ state: 'detached' })
})

test('puts made while the links are cut become a conflict in both tabs, and keeping one version ends it in both', async () => {
  const [a, b] = await twoPages()
  await put(a, 'title', 'first')
  await shows(row(b, 'title'), 'first')
  await a.getByRole('button', { name: 'Cut this tab’s links' }).click()
  for (const page of [a, b]) await shows(page.getByTestId('member').nth(1), 'unreachable')
  await put(a, 'title', 'from A')
  await put(b, 'title', 'from B')
  for (const [page, own] of [
    [a, 'from A'],
    [b, 'from B'],
  ] as const) {
    await shows(row(page, 'title'), own)
    await shows(page.getByTestId('log'), /quorum not met .* hinted for/)
  }
  await a.getByRole('button', { name: 'Heal this tab’s links' }).click()
  for (const page of [a, b]) {
    await shows(row(page, 'title').getByTestId('conflict'), '2 versions')
    for (const version of ['from A', 'from B'])
      await shows(row(page, 'title').getByTestId('sibling').filter({ hasText: version }), version)
  }
  await b.getByRole('button', { name: 'Keep "from A" for title' }).click()
  for (const page of [a, b]) {
    await row(page, 'title').getByTestId('conflict').waitFor({ state: 'detached' })
    await shows(row(page, 'title').getByTestId('value'), /^"from A"$/)
  }
})

// The second click put the same version beside the first one's, and the conflict went on.
test('a double click that keeps a version ends the conflict as well', async () => {
  const [a, b] = await twoPages()
  await a.getByRole('button', { name: 'Cut this tab’s links' }).click()
  for (const page of [a, b]) await shows(page.getByTestId('member').nth(1), 'unreachable')
  await put(a, 'title', 'from A')
  await put(b, 'title', 'from B')
  await a.getByRole('button', { name: 'Heal this tab’s links' }).click()
  await shows(row(b, 'title').getByTestId('conflict'), '2 versions')
  await b.getByRole('button', { name: 'Keep "from A" for title' }).evaluate((button: HTMLButtonElement) => {
    button.click()
    button.click()
  })
  await shows(b.getByTestId('log'), '"title": quorum met')
  await shows(row(b, 'title').getByTestId('value'), /^"from A"$/)
  await shows(row(a, 'title').getByTestId('value'), /^"from A"$/)
})

// Focus was on the page then: from its beginning again, for who has no pointer.
test('who deletes keys and closes their places with the keyboard stays where that was', async () => {
  const page = await openPage()
  for (const key of ['a', 'b', 'c']) await put(page, key, '1')
  await row(page, 'b').getByRole('button', { name: 'b', exact: true }).press('Enter')
  await page.getByRole('button', { name: 'Close this key’s places' }).press('Enter')
  const focused = page.locator(':focus')
  await shows(focused, /^b$/)
  for (const [key, then] of [
    ['b', 'c'],
    ['c', 'a'],
  ] as const) {
    await row(page, key).getByRole('button', { name: 'Delete' }).press('Enter')
    await shows(focused, RegExp(`^${then}$`))
  }
})

test('a selected key shows its homes and where it is on the ring', async () => {
  const [a] = await twoPages()
  await put(a, 'greeting', 'hello')
  await a.getByRole('button', { name: 'greeting', exact: true }).click()
  await shows(a.getByTestId('agreement'), 'All 2 homes hold the same.')
  await a.getByTestId('place').nth(1).waitFor()
  expect(await a.getByTestId('place').count()).toBe(2)
  const ring = a.getByRole('slider', { name: 'Partition' })
  const index = Number(await ring.getAttribute('aria-valuenow'))
  await shows(a.getByTestId('agreement'), `Partition ${index}.`)
  await ring.press('ArrowRight')
  expect(await ring.getAttribute('aria-valuenow')).toBe(String((index + 1) % 256))
  await shows(a.getByTestId('ring-caption'), `Homes of partition ${(index + 1) % 256}:`)
})

// Each second the page asked once more, and took no answer but that to the last question.
test('a selected key shows its homes also where their answers take longer than a second', async () => {
  const a = await openPage()
  const cdp = await a.context().newCDPSession(a)
  const slow = (latency: number) =>
    cdp.send('Network.emulateNetworkConditions', {
      offline: false,
      latency,
      downloadThroughput: -1,
      uploadThroughput: -1,
      packetLoss: 0,
    })
  // It acts on connections that are made under it, and from then on at once.
  await slow(1)
  await openPage()
  await shows(a.getByTestId('status-peers'), '1 of 1')
  await put(a, 'greeting', 'hello')
  await shows(row(a, 'greeting'), 'hello')
  await slow(700)
  await a.getByRole('button', { name: 'greeting', exact: true }).click()
  await shows(a.getByTestId('agreement'), 'All 2 homes hold the same.')
})

test('a tab that goes offline keeps working, and catches up when it is back', async () => {
  const [a, b] = await twoPages()
  await a.getByRole('button', { name: 'Go offline' }).click()
  await shows(a.getByTestId('status-network'), 'offline')
  await shows(b.getByTestId('status-peers'), '0 of 1')
  await put(a, 'note', 'written alone')
  await shows(row(a, 'note'), 'written alone')
  await a.getByRole('button', { name: 'Go online' }).click()
  await shows(row(b, 'note'), 'written alone')
  for (const page of [a, b]) await shows(page.getByTestId('status-synced'), 'yes')
})

// The table stood still for good, while the store was as before.
test('after a disk that failed for a moment, the table goes on to show what changes', async () => {
  const page = await openPage()
  await put(page, 'before', '1')
  await shows(row(page, 'before'), '1')
  await page.evaluate(() => {
    const { transaction } = IDBDatabase.prototype
    IDBDatabase.prototype.transaction = () => {
      throw new DOMException('the disk fails', 'NotReadableError')
    }
    Object.assign(window, { mend: () => Object.assign(IDBDatabase.prototype, { transaction }) })
  })
  // A tab that stood still looks at everything again.
  await page.evaluate(() => {
    for (const end = Date.now() + 6000; Date.now() < end; );
  })
  await shows(page.getByTestId('log'), 'StorageError')
  await page.evaluate(() => (window as unknown as { mend(): void }).mend())
  await put(page, 'after', '3')
  await shows(row(page, 'after'), '3')
})

test('another tab opens from the button, joins the same room, and the page says that the room is public', async () => {
  const a = await openPage()
  await shows(a.getByTestId('public-room'), 'no secret')
  await shows(a.getByTestId('status-network'), 'online')
  const opened = a.context().waitForEvent('page')
  await a.getByRole('button', { name: 'Open another tab' }).click()
  const b = await opened
  listen(b)
  expect(b.url()).toBe(url)
  for (const page of [a, b]) await shows(page.getByTestId('status-peers'), '1 of 1')
})

test('nothing is wider than a screen of 360 pixels', async () => {
  const page = await openPage({ viewport: { width: 360, height: 740 } })
  await put(page, `a-long-key-without-a-place-to-break-${'x'.repeat(80)}`, 'y'.repeat(200))
  await page.getByTestId('select-key').click()
  await page.getByTestId('place').waitFor()
  expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(360)
})

// It stood at 'opening this tab’s disk …' for ever: the name of the tab was looked for first, and threw where nobody looked.
test('where the browser keeps nothing for this site, the page says so', async () => {
  const context = await browser.newContext()
  contexts.push(context)
  // As Chromium does where cookies and site data are blocked.
  await context.addInitScript(() => {
    const denied = () => {
      throw new DOMException('Access is denied for this document.', 'SecurityError')
    }
    Object.defineProperty(window, 'sessionStorage', { get: denied })
    IDBFactory.prototype.open = denied
  })
  const page = await context.newPage()
  listen(page)
  await page.goto(url)
  await shows(page.getByTestId('failure'), /did not open.*Access is denied/)
})
