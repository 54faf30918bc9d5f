/**
 * A world for real-browser tests: a page server, a signaling server that can be killed, browsers, and tabs with open
 * stores. A test file says `const world = useWorld()` and opens tabs in its tests; every tab is a browser profile, that
 * is a device, of its own, unless it is opened in the profile of another.
 */
import type { Browser, BrowserContext } from 'playwright'
import { afterAll, afterEach, beforeAll, inject } from 'vitest'
import type { SignalingOptions } from '../../../signaling/index.js'
import { type BrowserName, launchChromium, launchFirefox } from './browser.js'
import { type PageServer, TestSignaling, servePage } from './servers.js'
import { Tab, type TabOptions } from './tab.js'

export interface WorldOptions {
  /** Launches Firefox at once; otherwise the first tab that wants one does. */
  firefox?: boolean
  /** Limits and origins of the signaling server. */
  signaling?: SignalingOptions
}

export interface TabRequest {
  name?: string
  /** Default: Chromium. */
  browser?: BrowserName
  /** Default: the room of the present test. */
  room?: string
  /** Added to what `openStore` is called with. */
  options?: TabOptions
  /** A second tab in the browser profile of this one: the same disk. */
  profile?: Tab
  /** A browser profile that the test has prepared. */
  context?: BrowserContext
}

export class World {
  readonly signaling: TestSignaling
  /** Where tabs meet when they name no room; a new one for each test. */
  room = newRoom()
  #pages: PageServer | undefined
  #browsers = new Map<BrowserName, Promise<Browser>>()
  #tabs: Tab[] = []
  #noise: { tab: Tab; what: string }[] = []
  #expected: RegExp[] = []

  constructor(options: WorldOptions = {}) {
    this.signaling = new TestSignaling(options.signaling)
  }

  async open({ firefox = false }: WorldOptions = {}): Promise<void> {
    this.#pages = await servePage(inject('testPage'))
    await Promise.all([this.signaling.start(), this.browser('chromium'), firefox && this.browser('firefox')])
  }

  /** Address of the page that tabs load; it is a page of its own origin, so the signaling server is another one. */
  get url(): string {
    if (!this.#pages) throw new Error('the world is not open')
    return this.#pages.url
  }

  /** A new tab with an open store. */
  async tab(request: TabRequest = {}): Promise<Tab> {
    const { profile, room = this.room } = request
    const browser = profile?.browser ?? request.browser ?? 'chromium'
    const name = request.name ?? `tab ${this.#tabs.length + 1}`
    const tab = new Tab({
      name,
      browser,
      url: this.url,
      context: request.context ?? profile?.context ?? (await (await this.browser(browser)).newContext()),
      options: { room, name, signaling: this.signaling.url },
      more: request.options,
      onNoise: (noisy, what) => this.#noise.push({ tab: noisy, what }),
    })
    this.#tabs.push(tab)
    await tab.open()
    return tab
  }

  /** Several tabs of one room, opened at the same time, and all connected to each other. */
  async ring(size: number, request: Omit<TabRequest, 'name' | 'profile'> = {}): Promise<Tab[]> {
    const tabs = await Promise.all(
      Array.from({ length: size }, (_, i) => this.tab({ ...request, name: `tab ${i + 1}` })),
    )
    await Promise.all(tabs.map((tab) => tab.ready(size - 1)))
    return tabs
  }

  /** Allows console errors and uncaught exceptions that match, until the end of the present test. */
  expectNoise(pattern: RegExp): void {
    this.#expected.push(pattern)
  }

  /** Kills the signaling server; that tabs cannot connect any more is then no noise. */
  async killSignaling(): Promise<void> {
    this.expectNoise(/WebSocket|can.t establish a connection|The connection to ws:.* was interrupted/)
    await this.signaling.kill()
  }

  /** Throws when a console error, an uncaught exception or an unhandled rejection came from any tab since the last call. */
  expectQuiet(): void {
    const unexpected = this.#noise.filter(({ what }) => !this.#expected.some((pattern) => pattern.test(what)))
    this.#noise = []
    this.#expected = []
    if (unexpected.length > 0)
      throw new Error(`unexpected in tabs:\n${unexpected.map(({ tab, what }) => `${tab.name}: ${what}`).join('\n')}`)
  }

  /** What the tabs wrote to their consoles. */
  report(): string {
    return this.#tabs.map((tab) => `--- ${tab.name} (${tab.browser})\n${tab.log.join('\n')}`).join('\n')
  }

  /** Ends a test: closes all tabs with their disks, brings signaling back, changes the room. */
  async reset(): Promise<void> {
    const contexts = new Set(this.#tabs.map((tab) => tab.context))
    this.#tabs = []
    await Promise.all([...contexts].map((context) => context.close()))
    await this.signaling.start()
    this.room = newRoom()
  }

  async close(): Promise<void> {
    const browsers = await Promise.all(this.#browsers.values())
    await Promise.all(browsers.map((browser) => browser.close()))
    await this.signaling.kill()
    await this.#pages?.close()
  }

  /** The browser that tabs of this name are opened in. */
  browser(name: BrowserName): Promise<Browser> {
    const launched = this.#browsers.get(name) ?? (name === 'firefox' ? launchFirefox() : launchChromium())
    this.#browsers.set(name, launched)
    return launched
  }
}

/** A world that the caller closes. */
export async function openWorld(options: WorldOptions = {}): Promise<World> {
  const world = new World(options)
  await world.open(options)
  return world
}

/**
 * A world for all tests of a file: opened before the first, reset after each (which fails when a tab was not quiet), and
 * closed after the last. What tabs wrote is printed when a test fails.
 */
export function useWorld(options: WorldOptions = {}): World {
  const world = new World(options)
  beforeAll(() => world.open(options))
  afterEach(async ({ task }) => {
    if (task.result?.state === 'fail') console.log(world.report())
    try {
      await world.reset()
    } finally {
      world.expectQuiet()
    }
  })
  afterAll(() => world.close())
  return world
}

function newRoom(): string {
  return `room-${crypto.randomUUID()}`
}
