/**
 * Tabs of one browser window as a user has them: one is looked at and the others are hidden, with timers as slow as Chromium makes them there, and a
 * back/forward cache. Playwright keeps every page visible, so this is driven by Puppeteer. All tabs are of one profile: one device,
 * a slot each.
 */
import puppeteer, { type Browser, type CDPSession, type Page } from 'puppeteer-core'
import { afterAll, afterEach, beforeAll, inject } from 'vitest'
import { QUIET_CHROMIUM, findChromium } from './browser.js'
import { type PageServer, TestSignaling, servePage } from './servers.js'
import type { Store } from './tab.js'

const WAIT_MS = 30_000
/** What automation switches off, and users have. */
const AS_USERS_HAVE_IT = [
  '--disable-background-timer-throttling',
  '--disable-backgrounding-occluded-windows',
  '--disable-renderer-backgrounding',
  '--disable-back-forward-cache',
]

export class RealTab {
  #cdp: CDPSession | undefined

  constructor(
    readonly name: string,
    readonly page: Page,
  ) {}

  /** Puts it in front; the others are hidden then. */
  look(): Promise<void> {
    return this.page.bringToFront()
  }

  /** Only a hidden tab can be frozen. */
  async freeze(): Promise<void> {
    this.#cdp ??= await this.page.createCDPSession()
    await this.#cdp.send('Page.setWebLifecycleState', { state: 'frozen' })
  }

  async thaw(): Promise<void> {
    await this.#cdp?.send('Page.setWebLifecycleState', { state: 'active' })
  }

  /** Runs `work` in the page, with the store and with a copy of `argument`; it cannot see the test's variables. */
  async evaluate<Result, Argument = undefined>(
    work: (store: Store, argument: Argument) => Result | Promise<Result>,
    argument?: Argument,
  ): Promise<Result> {
    const call = `(${work})(window.store, ${JSON.stringify(argument)})`
    return (await this.page.evaluate(call)) as Result
  }

  /** Asks again and again until it is truthy; by the test's clock, since a hidden page's own is slow. */
  async waitFor<Argument = undefined>(
    what: string,
    predicate: (store: Store, argument: Argument) => unknown,
    argument?: Argument,
    timeoutMs = WAIT_MS,
  ): Promise<void> {
    for (const end = Date.now() + timeoutMs; !(await this.evaluate(predicate, argument)); ) {
      if (Date.now() > end) {
        const status = JSON.stringify(await this.evaluate((store) => store.status))
        throw new Error(`${this.name} waited ${timeoutMs} ms in vain for ${what}; its status is ${status}`)
      }
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
  }
}

/** One window, its servers, and what must not be heard from its tabs. */
export class RealWindow {
  readonly signaling = new TestSignaling()
  room = ''
  #pages: PageServer | undefined
  #browser: Browser | undefined
  #noise: string[] = []

  async open(): Promise<void> {
    this.#pages = await servePage(inject('testPage'))
    await this.signaling.start()
    this.#browser = await puppeteer.launch({
      executablePath: findChromium(),
      headless: true,
      args: [...QUIET_CHROMIUM, ...(process.getuid?.() === 0 ? ['--no-sandbox'] : [])],
      ignoreDefaultArgs: AS_USERS_HAVE_IT,
    })
  }

  get url(): string {
    return this.#pages?.url ?? ''
  }

  /** A new tab, in front, with an open store. */
  async tab(name: string): Promise<RealTab> {
    const page = await (this.#browser as Browser).newPage()
    page.on('console', (message) => {
      // A frozen page loses its WebSocket, and Chromium says so on the console.
      if (message.type() === 'error' && !/Page entered Back-Forward Cache/.test(message.text()))
        this.#noise.push(`${name}: ${message.text()}`)
    })
    page.on('pageerror', (error) => this.#noise.push(`${name}: ${error}`))
    await page.goto(this.url)
    const options = JSON.stringify({ room: this.room, name, signaling: this.signaling.url })
    await page.evaluate(`window.tabring.openStore(${options}).then((store) => { window.store = store })`)
    return new RealTab(name, page)
  }

  async tabs(...names: string[]): Promise<RealTab[]> {
    const tabs: RealTab[] = []
    for (const name of names) tabs.push(await this.tab(name))
    for (const tab of tabs)
      await tab.waitFor(
        'one ring with all data',
        (store, others) => store.status.peers === others && store.status.partitionsFilling === 0,
        names.length - 1,
      )
    return tabs
  }

  /** Closes all tabs. @throws when one of them was not quiet */
  async reset(): Promise<void> {
    const [first, ...others] = (await this.#browser?.pages()) ?? []
    await Promise.all(others.map((page) => page.close()))
    await first?.goto('about:blank')
    const heard = this.#noise
    this.#noise = []
    if (heard.length > 0) throw new Error(`unexpected in tabs:\n${heard.join('\n')}`)
  }

  async close(): Promise<void> {
    await this.#browser?.close()
    await this.signaling.kill()
    await this.#pages?.close()
  }
}

/** A window for all tests of a file, with a new room for each. */
export function useRealWindow(): RealWindow {
  const window = new RealWindow()
  beforeAll(() => window.open())
  afterEach(async () => {
    window.room = `room-${crypto.randomUUID()}`
    await window.reset()
  })
  afterAll(() => window.close())
  window.room = `room-${crypto.randomUUID()}`
  return window
}
