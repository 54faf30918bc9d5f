/** The built page without its server: the service worker has kept it, and the store needs nobody. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { cp, mkdtemp, readFile, readdir, rename, rm, writeFile } from 'node:fs/promises'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Browser, BrowserContext, Locator, Page } from 'playwright'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { dist } from '../../scripts/paths.mjs'
import { serveFolder } from '../../scripts/static.mjs'
import { attachSignaling } from '../../signaling/index.js'
import { launchChromium } from './support/browser.js'

const WAIT_MS = 40_000
/** What a page may write to its console while its server is down: that it cannot be reached. */
const UNREACHABLE = /WebSocket connection to .* failed/

let browser: Browser
let server: ChildProcess
let url: string
let contexts: BrowserContext[] = []
let noise: string[] = []

beforeAll(async () => {
  browser = await launchChromium()
})

beforeEach(async () => {
  url = `${await start('0')}?room=${crypto.randomUUID()}`
})

afterEach(async () => {
  const closing = contexts
  contexts = []
  await Promise.all(closing.map((context) => context.close()))
  await stop()
  const heard = noise
  noise = []
  expect(heard).toEqual([])
})

afterAll(() => browser.close())

/** Starts what `npm start` starts. @returns its address */
async function start(port: string): Promise<string> {
  const script = fileURLToPath(new URL('../../scripts/start.mjs', import.meta.url))
  server = spawn(process.execPath, [script, '--no-build'], { env: { ...process.env, PORT: port }, stdio: 'pipe' })
  for await (const line of server.stdout ?? []) {
    const address = /http:\/\/localhost:\d+\//.exec(String(line))
    if (address) return address[0]
  }
  throw new Error('the server ended before it printed an address')
}

async function stop(): Promise<void> {
  if (server.exitCode !== null || server.signalCode !== null) return
  server.kill('SIGKILL')
  await once(server, 'exit')
}

async function openPage(address = url): Promise<Page> {
  const context = await browser.newContext()
  contexts.push(context)
  context.setDefaultTimeout(WAIT_MS)
  const page = await context.newPage()
  page.on('pageerror', (error) => noise.push(String(error)))
  page.on('console', (message) => {
    if (message.type() === 'error' && !UNREACHABLE.test(message.text())) noise.push(message.text())
  })
  await page.goto(address)
  return page
}

async function shows(element: Locator, text: string | RegExp): Promise<void> {
  await element.filter({ hasText: text }).waitFor()
}

async function put(page: Page, key: string, value: string): Promise<void> {
  await page.getByLabel('Key', { exact: true }).fill(key)
  await page.getByLabel('Value').fill(value)
  await page.getByRole('button', { name: 'Put' }).click()
  await shows(row(page, key), value)
}

function row(page: Page, key: string): Locator {
  return page.getByTestId('key-row').filter({ has: page.getByRole('button', { name: key, exact: true }) })
}

test('a page whose server has gone reloads, has its data, takes edits, and shares them when the server is back', async () => {
  const a = await openPage()
  await put(a, 'before', 'with the server')
  await a.waitForFunction(() => navigator.serviceWorker.controller !== null)
  await stop()
  await a.reload()
  await shows(row(a, 'before'), 'with the server')
  await put(a, 'during', 'without the server')
  // Another tab of the same device opens too, in any room.
  const other = await a.context().newPage()
  await other.goto(`${new URL('/?room=another', url)}`)
  await shows(other.getByTestId('status-keys-held'), '0')
  await other.close()

  await start(new URL(url).port)
  const b = await openPage()
  await shows(row(b, 'before'), 'with the server')
  await shows(row(b, 'during'), 'without the server')
  await put(b, 'after', 'all is well')
  await shows(row(a, 'after'), 'all is well')
})

test('the page can be installed', async () => {
  const page = await openPage()
  await page.waitForFunction(() => navigator.serviceWorker.controller !== null)
  const cdp = await page.context().newCDPSession(page)
  const { errors, data } = await cdp.send('Page.getAppManifest')
  expect(errors).toEqual([])
  const { start_url: startUrl, icons } = JSON.parse(data ?? '{}')
  expect(startUrl).toBe('./')
  for (const { src, type } of icons) {
    const response = await page.request.get(new URL(src, url).href)
    expect([response.status(), response.headers()['content-type']], src).toEqual([200, type])
  }
  const { installabilityErrors } = await cdp.send('Page.getInstallabilityErrors')
  // A browser that a test drives has no profile to install anything in.
  expect(installabilityErrors.filter(({ errorId }) => errorId !== 'in-incognito')).toEqual([])
})

test('a new version shows at the next load, and a tab that is open with the old one goes on working', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'tabring-versions-'))
  await cp(join(dist, 'page'), folder, { recursive: true })
  const files = serveFolder(folder)
  const signaling = attachSignaling(files, { path: '/signal' })
  files.listen(0, '127.0.0.1')
  await once(files, 'listening')
  try {
    const address = `http://127.0.0.1:${(files.address() as AddressInfo).port}/`
    const old = await openPage(address)
    await old.waitForFunction(() => navigator.serviceWorker.controller !== null)
    await put(old, 'old', 'before the new version')
    await publishNewVersion(folder)
    await old.evaluate(async () => {
      const changed = new Promise((resolve) => navigator.serviceWorker.addEventListener('controllerchange', resolve))
      await (await navigator.serviceWorker.ready).update()
      await changed
    })
    await put(old, 'still', 'the old tab works')
    const page = await old.context().newPage()
    await page.goto(address)
    expect(await page.title()).toContain('tabring')
    expect(await page.locator('meta[name=version]').getAttribute('content')).toBe('new')
    await shows(row(page, 'old'), 'before the new version')
    await shows(row(page, 'still'), 'the old tab works')
    expect(await old.locator('meta[name=version]').count()).toBe(0)
  } finally {
    await signaling.close()
    files.close()
    files.closeAllConnections()
    await rm(folder, { recursive: true })
  }
})

/** As a deployment does it: other names for the assets, another page, another service worker; the old assets are gone. */
async function publishNewVersion(folder: string): Promise<void> {
  const replacements: [string | RegExp, string][] = [
    ['<head>', '<head><meta name="version" content="new" />'],
    [/"index\.html",revision:"\w+"/, '"index.html",revision:"new"'],
  ]
  for (const name of await readdir(join(folder, 'assets'))) {
    const renamed = name.replace(/^index-/, 'index-new-')
    await rename(join(folder, 'assets', name), join(folder, 'assets', renamed))
    replacements.push([name, renamed])
  }
  for (const name of ['index.html', 'sw.js']) {
    const path = join(folder, name)
    let text = await readFile(path, 'utf8')
    for (const [from, to] of replacements)
      text = text.replaceAll(from instanceof RegExp ? new RegExp(from, 'g') : from, to)
    await writeFile(path, text)
  }
}
