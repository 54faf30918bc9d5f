/**
 * Where the browsers are: an environment variable first, then what is installed under a well-known name, then what
 * Playwright has downloaded. Used by `npm test`, which installs what is missing, and by the tests themselves.
 */
import { existsSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { chromium } from 'playwright'

const { env, platform } = process

const programFolders = [env.PROGRAMFILES, env['PROGRAMFILES(X86)'], env.LOCALAPPDATA].filter(
  (folder) => folder !== undefined,
)

/** @type {Record<'chromium' | 'firefox', { variable: string, names: string[], places: string[] }>} */
const known = {
  chromium: {
    variable: 'CHROMIUM_PATH',
    names: ['chromium', 'chromium-browser', 'google-chrome-stable', 'google-chrome', 'microsoft-edge'],
    places: {
      darwin: [
        '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome',
        '/Applications/Chromium.app/Contents/MacOS/Chromium',
        '/Applications/Microsoft Edge.app/Contents/MacOS/Microsoft Edge',
      ],
      win32: programFolders.flatMap((folder) => [
        join(folder, 'Google/Chrome/Application/chrome.exe'),
        join(folder, 'Chromium/Application/chrome.exe'),
        join(folder, 'Microsoft/Edge/Application/msedge.exe'),
      ]),
    }[String(platform)] ?? ['/usr/lib/chromium/chromium', '/opt/google/chrome/chrome', '/snap/bin/chromium'],
  },
  firefox: {
    variable: 'FIREFOX_PATH',
    names: ['firefox-esr', 'firefox'],
    places: {
      darwin: ['/Applications/Firefox.app/Contents/MacOS/firefox'],
      win32: programFolders.map((folder) => join(folder, 'Mozilla Firefox/firefox.exe')),
    }[String(platform)] ?? ['/usr/lib/firefox-esr/firefox-esr', '/usr/lib/firefox/firefox', '/opt/firefox/firefox'],
  },
}

/**
 * The executable of an installed browser; undefined when there is none.
 * @param {'chromium' | 'firefox'} browser
 * @returns {string | undefined}
 * @throws when the environment variable for this browser names a file that does not exist
 */
export function findBrowser(browser) {
  const { variable, names, places } = known[browser]
  const chosen = env[variable]
  if (chosen) {
    if (!existsSync(chosen)) throw new Error(`${variable} is ${chosen}, and there is no such file`)
    return chosen
  }
  const folders = platform === 'win32' ? [] : (env.PATH ?? '').split(delimiter).filter(Boolean)
  const installed = [...names.flatMap((name) => folders.map((folder) => join(folder, name))), ...places]
  // Playwright's own Firefox is a patched one that its Firefox channel here cannot drive, so only its Chromium counts.
  if (browser === 'chromium') installed.push(chromium.executablePath())
  return installed.find((path) => path !== '' && existsSync(path))
}

/** The variable that names a browser's executable, for messages.
 * @param {'chromium' | 'firefox'} browser */
export function browserVariable(browser) {
  return known[browser].variable
}
