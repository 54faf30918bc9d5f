import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { Browser } from 'playwright'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { launchChromium } from './support/browser.js'

let browser: Browser
let server: ChildProcess
let url: string

function start(environment: Record<string, string>): ChildProcess {
  const script = fileURLToPath(new URL('../../scripts/start.mjs', import.meta.url))
  return spawn(process.execPath, [script, '--no-build'], { env: { ...process.env, ...environment }, stdio: 'pipe' })
}

async function addressOf(child: ChildProcess): Promise<string> {
  for await (const line of child.stdout ?? []) {
    const address = /http:\/\/localhost:\d+\//.exec(String(line))
    if (address) return address[0]
  }
  throw new Error('it ended before it printed an address')
}

beforeAll(async () => {
  browser = await launchChromium()
  server = start({ PORT: '0' })
  url = await addressOf(server)
})

afterAll(async () => {
  server.kill('SIGKILL')
  await browser.close()
})

test('npm start serves the page under a strict content security policy, and the page loads without an error', async () => {
  const page = await browser.newPage()
  const wrong: string[] = []
  page.on('pageerror', (error) => wrong.push(String(error)))
  page.on('console', (message) => message.type() === 'error' && wrong.push(message.text()))
  const response = await page.goto(url, { waitUntil: 'networkidle' })
  expect(response?.status()).toBe(200)
  expect(response?.headers()['content-security-policy']).not.toContain('unsafe')
  expect(await page.title()).toContain('tabring')
  expect(wrong).toEqual([])
  await page.close()
})

test('the signaling server answers on the same port', async () => {
  const page = await browser.newPage()
  await page.goto(url)
  const opened = await page.evaluate(
    () =>
      new Promise<boolean>((resolve) => {
        const socket = new WebSocket(`${location.origin.replace('http', 'ws')}/signal`)
        socket.onopen = () => resolve(true)
        socket.onerror = () => resolve(false)
      }),
  )
  expect(opened).toBe(true)
  await page.close()
})

test('nothing outside the page is served', async () => {
  for (const path of ['..%2findex.js', '%2e%2e/index.js', 'nothing.js', '..%2f..%2fpackage.json']) {
    expect((await fetch(url + path)).status, path).toBe(404)
  }
})

test('a taken PORT is an error, and Ctrl+C ends the server at once', async () => {
  const second = start({ PORT: new URL(url).port })
  const [code] = await once(second, 'exit')
  expect(code).not.toBe(0)
  server.kill('SIGINT')
  expect(await once(server, 'exit')).toEqual([0, null])
})
