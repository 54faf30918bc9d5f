/**
 * Real browsers for tests, driven by Playwright. Playwright is pinned to 1.64.1: later ones send a command that Firefox
 * ESR does not know. Nothing is downloaded here; `npm test` installs what is missing before the tests start.
 */
import { type Browser, type BrowserContext, type LaunchOptions, chromium, firefox } from 'playwright'
import { browserVariable, findBrowser } from '../../../scripts/browsers.mjs'

export type BrowserName = 'chromium' | 'firefox'

export const QUIET_CHROMIUM = [
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--disable-default-apps',
]

/** The executable of Chromium or Chrome. @throws with what to do when there is none */
export function findChromium(): string {
  return installed('chromium')
}

/** The executable of Firefox. @throws with what to do when there is none */
export function findFirefox(): string {
  return installed('firefox')
}

/** Headless Chromium; `options.args` are added to ours. */
export function launchChromium(options: LaunchOptions = {}): Promise<Browser> {
  return chromium.launch({
    executablePath: findChromium(),
    ...options,
    args: [...QUIET_CHROMIUM, ...(options.args ?? [])],
  })
}

/** Headless Chromium with its profile in this folder. Its one context is the whole browser: closing it ends the browser. */
export function launchChromiumIn(folder: string): Promise<BrowserContext> {
  return chromium.launchPersistentContext(folder, { executablePath: findChromium(), args: QUIET_CHROMIUM })
}

/** Headless Firefox as it is installed, over WebDriver BiDi. */
export function launchFirefox(options: LaunchOptions = {}): Promise<Browser> {
  return firefox.launch({ channel: 'moz-firefox', executablePath: findFirefox(), timeout: 60_000, ...options })
}

function installed(name: BrowserName): string {
  const path = findBrowser(name)
  if (path) return path
  throw new Error(
    `no ${name} on this machine: run \`npm test\`, which installs one where it can, or set ${browserVariable(name)} to its executable`,
  )
}
