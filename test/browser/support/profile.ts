/**
 * A browser profile in a folder of its own: it outlives its browser, which can be closed, started again, and killed with
 * all its processes. A test file says `const newProfile = useProfiles(world)` after `useWorld()`. All tabs of a profile
 * are one device; each of them is a node.
 */
import { readFileSync, readdirSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { BrowserContext } from 'playwright'
import { afterEach } from 'vitest'
import { launchChromiumIn } from './browser.js'
import { Tab, type TabOptions } from './tab.js'
import type { World } from './world.js'

/** `Profile.kill` finds the browser's processes in /proc, which only Linux has. */
export const canKill = process.platform === 'linux'

const ENDED_WITHIN_MS = 10_000

export class Profile {
  /** All tabs that were ever opened here. */
  readonly tabs: Tab[] = []
  /** What must not happen in healthy tabs. */
  readonly noise: string[] = []
  #context: BrowserContext | undefined

  constructor(
    readonly folder: string,
    private readonly world: World,
  ) {}

  /** Starts the browser; after `close` and `kill` again. */
  async open(): Promise<void> {
    if (this.#context) throw new Error('the browser of this profile runs already')
    this.#context = await launchChromiumIn(this.folder)
  }

  /** A new tab with an open store, in the room of the present test. */
  tab(name: string, options?: TabOptions): Promise<Tab> {
    return this.#open(name, options, undefined)
  }

  /** What `window.open` makes of a tab: the same page, with a copy of its session storage. It then opens its store. */
  copyOf(tab: Tab, name: string): Promise<Tab> {
    const { context, page } = tab
    return this.#open(name, undefined, async () => {
      const [copy] = await Promise.all([
        context.waitForEvent('page'),
        page.evaluate(() => void window.open(location.href)),
      ])
      return copy
    })
  }

  /**
   * What the browser says when it has thrown away all databases of the page's origin since the last call; otherwise undefined.
   * Chromium does so on its own: a kill can leave half a record in LevelDB's log, the next start appends behind it, and the
   * one after that finds a 'checksum mismatch' and deletes everything. It tells only the first database that is made then,
   * so call this after each start, before any store is opened.
   */
  async totalLoss(): Promise<string | undefined> {
    const page = await this.#running().newPage()
    await page.goto(this.world.url)
    const loss = await page.evaluate(
      () =>
        new Promise<string | undefined>((resolve, reject) => {
          const request = indexedDB.open('a database that nobody deletes', 1)
          let told: string | undefined
          request.onupgradeneeded = (
            event: IDBVersionChangeEvent & { dataLoss?: string; dataLossMessage?: string },
          ) => {
            if (event.dataLoss === 'total') told = event.dataLossMessage
          }
          request.onsuccess = () => {
            request.result.close()
            resolve(told)
          }
          request.onerror = () => reject(request.error)
        }),
    )
    await page.close()
    return loss
  }

  /**
   * SIGKILL for the browser and all its processes, as the system does it when memory is short: nobody says or stores
   * another word. Ends no process but those of this very profile.
   */
  async kill(): Promise<void> {
    if (!canKill) throw new Error('killing a whole browser needs Linux: its processes are looked for in /proc')
    const context = this.#running()
    const ended = new Promise((resolve) => context.once('close', resolve))
    const processes = processesOf(this.folder)
    if (processes.length === 0) throw new Error(`no process has the profile ${this.folder}`)
    for (const pid of processes) {
      try {
        process.kill(pid, 'SIGKILL')
      } catch {
        // It ended with its parent.
      }
    }
    await ended
    this.#context = undefined
    for (const end = Date.now() + ENDED_WITHIN_MS; processes.some((pid) => commandLine(pid).length > 0); ) {
      if (Date.now() > end) throw new Error('processes of the browser outlive SIGKILL')
      await new Promise((resolve) => setTimeout(resolve, 10))
    }
  }

  /** Ends the browser in an orderly way. Nothing happens when it does not run. */
  async close(): Promise<void> {
    await this.#context?.close()
    this.#context = undefined
  }

  async remove(): Promise<void> {
    await this.close()
    await rm(this.folder, { recursive: true, force: true, maxRetries: 5 })
  }

  async #open(name: string, more: TabOptions | undefined, newPage: TabNewPage): Promise<Tab> {
    const { url, room, signaling } = this.world
    const tab = new Tab({
      name,
      browser: 'chromium',
      url,
      context: this.#running(),
      newPage,
      options: { room, name, signaling: signaling.url },
      more,
      onNoise: (noisy, what) => this.noise.push(`${noisy.name}: ${what}`),
    })
    this.tabs.push(tab)
    await tab.open()
    return tab
  }

  #running(): BrowserContext {
    if (!this.#context) throw new Error('the browser of this profile does not run; open() it first')
    return this.#context
  }
}

type TabNewPage = ConstructorParameters<typeof Tab>[0]['newPage']

/**
 * @returns a maker of profiles whose browsers run. After each test they are removed, and the test fails when a tab was not
 * quiet. Call it after `useWorld`, so that the world outlives them.
 */
export function useProfiles(world: World): () => Promise<Profile> {
  let profiles: Profile[] = []
  afterEach(async ({ task }) => {
    const ending = profiles
    profiles = []
    if (task.result?.state === 'fail') {
      for (const { tabs } of ending)
        for (const { name, log } of tabs) console.log(`--- ${name} (its own profile)\n${log.join('\n')}`)
    }
    await Promise.all(ending.map((profile) => profile.remove()))
    const noise = ending.flatMap((profile) => profile.noise)
    if (noise.length > 0) throw new Error(`unexpected in tabs:\n${noise.join('\n')}`)
  })
  return async () => {
    const profile = new Profile(await mkdtemp(join(tmpdir(), 'tabring-profile-')), world)
    profiles.push(profile)
    await profile.open()
    return profile
  }
}

/** The browser of a profile, which is told its folder, and everything that descends from it. */
function processesOf(folder: string): number[] {
  const running = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
  const found = running.filter((pid) => commandLine(pid).includes(`--user-data-dir=${folder}`))
  const parents = new Map(running.map((pid) => [pid, parentOf(pid)]))
  // `found` grows while it is walked.
  for (const parent of found)
    for (const pid of running) if (parents.get(pid) === parent && !found.includes(pid)) found.push(pid)
  return found
}

/** Empty for what has ended. */
function commandLine(pid: number): string[] {
  return (read(pid, 'cmdline') ?? '').split('\0').filter((part) => part !== '')
}

function parentOf(pid: number): number | undefined {
  // Behind the name, which is in parentheses and may hold anything: state, parent.
  const parent = read(pid, 'stat')
    ?.replace(/^.*\) /s, '')
    .split(' ')[1]
  return parent === undefined ? undefined : Number(parent)
}

function read(pid: number, file: string): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'utf8')
  } catch {
    return undefined
  }
}
