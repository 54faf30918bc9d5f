/**
 * `npm test`: makes sure that there are a Chromium, a Firefox and a build, then runs the tests; arguments go to vitest
 * (`npm test -- test/unit`, `npm test -- --project browser -t 'partition'`).
 */
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { browserVariable, findBrowser } from './browsers.mjs'
import { buildIfStale } from './fresh.mjs'
import { root } from './paths.mjs'

/** What Debian calls the packages. */
const debianPackage = { chromium: 'chromium', firefox: 'firefox-esr' }
const DOWNLOAD_TIMEOUT_MS = 180_000
/** How long Playwright waits for somebody to answer, in ms. */
const DOWNLOAD_ENVIRONMENT = { PLAYWRIGHT_DOWNLOAD_CONNECTION_TIMEOUT: '10000' }

/** @type {('chromium' | 'firefox')[]} */
const browsers = ['chromium', 'firefox']
const missing = browsers.filter((browser) => !provide(browser))
for (const browser of missing) {
  console.error(
    `The tests need ${browser}, and none was found or could be installed.\n` +
      `Install it, or set ${browserVariable(browser)} to its executable, and run npm test again.`,
  )
}
if (missing.length > 0) process.exit(1)

await buildIfStale()
const vitest = join(packageFolder('vitest'), 'vitest.mjs')
const { status } = run(process.execPath, [vitest, 'run', ...process.argv.slice(2)])
process.exit(status ?? 1)

/**
 * @param {'chromium' | 'firefox'} browser
 * @returns {boolean} whether it is there now
 */
function provide(browser) {
  if (findBrowser(browser)) return true
  console.log(`no ${browser} found: installing it …`)
  // Debian's first: its package brings the system libraries that Playwright's download expects to be there.
  if (process.getuid?.() === 0 && existsSync('/usr/bin/apt-get')) {
    const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
    run('apt-get', ['update', '-qq'], { env })
    run('apt-get', ['install', '-y', '-qq', '--no-install-recommends', debianPackage[browser]], { env })
  }
  if (browser === 'chromium' && !findBrowser(browser)) {
    const playwright = join(packageFolder('playwright'), 'cli.js')
    const env = { ...process.env, ...DOWNLOAD_ENVIRONMENT }
    run(process.execPath, [playwright, 'install', 'chromium'], { timeout: DOWNLOAD_TIMEOUT_MS, env })
  }
  return findBrowser(browser) !== undefined
}

/**
 * @param {string} command
 * @param {string[]} args
 * @param {import('node:child_process').SpawnSyncOptions} [options]
 */
function run(command, args, options) {
  return spawnSync(command, args, { cwd: root, stdio: 'inherit', ...options })
}

/** @param {string} name */
function packageFolder(name) {
  return dirname(createRequire(import.meta.url).resolve(`${name}/package.json`))
}
