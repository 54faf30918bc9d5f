/**
 * One tab with one open store, seen from a test. What its helpers return is plain data that was copied out of the page;
 * `evaluate` runs anything else inside, next to the store.
 */
import type { BrowserContext, CDPSession, JSHandle, Page } from 'playwright'
import type { BrowserName } from './browser.js'
import type { Tabring } from './page/main.js'

export type Store = Awaited<ReturnType<Tabring['openStore']>>
export type StoreOptions = Parameters<Tabring['openStore']>[0]

declare global {
  interface Window {
    /** Every public entry, for what runs inside the page. */
    tabring: Tabring
    store: Store
  }
}

/** Options as data; or, for merges and such, a function that runs in the page and cannot see the test's variables. */
export type TabOptions = Partial<StoreOptions> | ((tabring: Tabring) => Partial<StoreOptions>)

export interface QuorumData {
  met: boolean
  sloppy: boolean
  answers: number
  needed: number
  cached: boolean
}
export interface EntryData<V = unknown> {
  key: string
  value: V | undefined
  siblings: V[]
  conflict: boolean
  context: Uint8Array
  quorum: QuorumData
}
export interface ReceiptData {
  key: string
  context: Uint8Array
  quorum: QuorumData
  acks: string[]
  hintedFor: string[]
}
/** Whatever the store says of itself; the fields of API.md that tests ask for most are named. */
export interface StatusData {
  node: string
  device: string
  online: boolean
  peers: number
  members: number
  [field: string]: unknown
}
export interface MemberData {
  node: string
  name: string | undefined
  state: 'up' | 'unreachable' | 'asleep' | 'left'
  connected: boolean
  [field: string]: unknown
}

export interface WaitOptions {
  timeoutMs?: number
}
const WAIT_MS = 20_000
const POLL_MS = 50

/** Latency must be above 0 before a connection is made, or Chromium leaves its data channel out of all emulation. */
const NETWORK_UP = { offline: false, latency: 1, downloadThroughput: -1, uploadThroughput: -1, packetLoss: 0 }

export interface TabSetup {
  name: string
  browser: BrowserName
  url: string
  context: BrowserContext
  /** Where its page comes from; default: a new one of the context. */
  newPage?: () => Promise<Page>
  /** Data for `openStore`, and what is to be added to it inside the page. */
  options: Record<string, unknown>
  more: TabOptions | undefined
  /** Is told everything that must not happen in a healthy tab. */
  onNoise(tab: Tab, what: string): void
}

export class Tab {
  readonly name: string
  readonly browser: BrowserName
  readonly context: BrowserContext
  /** Everything that this tab wrote to its console, for the report of a failed test. */
  readonly log: string[] = []
  #setup: TabSetup
  #page: Page | undefined
  #cdp: CDPSession | undefined
  #store: JSHandle<Store> | undefined

  constructor(setup: TabSetup) {
    this.#setup = setup
    this.name = setup.name
    this.browser = setup.browser
    this.context = setup.context
  }

  get page(): Page {
    if (!this.#page) throw new Error(`${this.name} is closed; reopen() it first`)
    return this.#page
  }

  /** Opens the page and its store; after `close` and `crash` again, on the same disk. */
  async open(): Promise<void> {
    const { context, url, newPage = () => context.newPage() } = this.#setup
    const page = await newPage()
    this.#page = page
    this.#listen(page)
    if (this.browser === 'chromium') {
      this.#cdp = await context.newCDPSession(page)
      await this.#cdp.send('Network.enable')
      await this.#cdp.send('Network.emulateNetworkConditions', NETWORK_UP)
    }
    await page.goto(url)
    await this.#openStore()
  }

  async reopen(): Promise<void> {
    await this.close()
    await this.open()
  }

  /** As a user reloads it: the same page, disk and session storage. */
  async reload(): Promise<void> {
    await this.page.reload()
    await this.#openStore()
  }

  /** Closes the tab without letting it say a word; `politely`, its `beforeunload` and `pagehide` handlers still run. */
  async close({ politely = false } = {}): Promise<void> {
    const page = this.#page
    if (!page) return
    this.#page = undefined
    this.#store = undefined
    const closed = new Promise((resolve) => page.once('close', resolve))
    await page.close({ runBeforeUnload: politely })
    await closed
  }

  /** Kills the renderer process, as a crash or the system would. Nothing of the tab runs any more. */
  async crash(): Promise<void> {
    const page = this.page
    const crashed = new Promise((resolve) => page.once('crash', resolve))
    // Nobody is left to answer this command.
    this.#needCdp()
      .send('Page.crash')
      .catch(() => {})
    await crashed
    await this.close()
  }

  /** Runs `work` in the page, with the store and with a copy of `argument`; it cannot see the test's variables. */
  async evaluate<Result, Argument = undefined>(
    work: (store: Store, argument: Argument) => Result | Promise<Result>,
    argument?: Argument,
  ): Promise<Result> {
    if (!this.#store) throw new Error(`${this.name} has no open store`)
    return this.#store.evaluate(work as never, argument) as Promise<Result>
  }

  get<V = unknown>(key: string, options: object = {}): Promise<EntryData<V>> {
    return this.#call('get', [key, options])
  }

  put(key: string, value: unknown, options: object = {}): Promise<ReceiptData> {
    return this.#call('put', [key, value, options])
  }

  delete(key: string, options: object = {}): Promise<ReceiptData> {
    return this.#call('delete', [key, options])
  }

  status(): Promise<StatusData> {
    return this.#read('status')
  }

  members(): Promise<MemberData[]> {
    return this.#read('members')
  }

  /** Resolves when this many other members are connected. */
  async ready(peers: number, { timeoutMs = WAIT_MS }: WaitOptions = {}): Promise<void> {
    await this.waitFor(`${peers} connected peers`, (store, wanted) => store.status.peers >= wanted, peers, {
      timeoutMs,
    })
  }

  /** Asks `predicate` in the page again and again until it is truthy; `what` says in the failure what did not come. */
  async waitFor<Argument = undefined>(
    what: string,
    predicate: (store: Store, argument: Argument) => unknown,
    argument?: Argument,
    { timeoutMs = WAIT_MS }: WaitOptions = {},
  ): Promise<void> {
    const end = Date.now() + timeoutMs
    while (!(await this.evaluate(predicate, argument))) {
      if (Date.now() > end) {
        const status = JSON.stringify(await this.status(), (_, value) =>
          typeof value === 'bigint' ? `${value}n` : value,
        )
        throw new Error(`${this.name} waited ${timeoutMs} ms in vain for ${what}; its status is ${status}`)
      }
      await new Promise((resolve) => setTimeout(resolve, POLL_MS))
    }
  }

  /**
   * From now on every packet of this tab's data channels is lost, in both directions; WebSockets go on. With `ms`, heals
   * and resolves after that time. Chromium only.
   */
  async cutNetwork(ms?: number): Promise<void> {
    await this.#emulate({ packetLoss: 100 })
    if (ms === undefined) return
    await new Promise((resolve) => setTimeout(resolve, ms))
    await this.healNetwork()
  }

  /** No network at all: data channels as `cutNetwork`, WebSockets stand still, `navigator.onLine` is false. Chromium only. */
  offline(): Promise<void> {
    return this.#emulate({ packetLoss: 100, offline: true })
  }

  /** A slow or lossy network: milliseconds each way, and per cent of packets. Chromium only. */
  degradeNetwork(conditions: { latency?: number; packetLoss?: number }): Promise<void> {
    return this.#emulate(conditions)
  }

  /** Undoes `cutNetwork`, `offline` and `degradeNetwork`. */
  healNetwork(): Promise<void> {
    return this.#emulate({})
  }

  async #emulate(conditions: Partial<typeof NETWORK_UP>): Promise<void> {
    await this.#needCdp().send('Network.emulateNetworkConditions', { ...NETWORK_UP, ...conditions })
  }

  #needCdp(): CDPSession {
    if (!this.#cdp) throw new Error(`${this.name} runs in ${this.browser}; only Chromium can do that`)
    return this.#cdp
  }

  async #openStore(): Promise<void> {
    const { options, more } = this.#setup
    // As an expression: page.evaluate passes data, and `more` may be a function.
    const added = typeof more === 'function' ? `(${more})(window.tabring)` : JSON.stringify(more ?? {})
    const open = `window.tabring.openStore({ ...${JSON.stringify(options)}, ...${added} })`
    this.#store = (await this.page.evaluateHandle(`${open}.then((store) => (window.store = store))`)) as JSHandle<Store>
  }

  #call<Result>(verb: string, parameters: unknown[]): Promise<Result> {
    return this.evaluate(
      async (store, [name, given]) => {
        const verbs = store as unknown as Record<string, (...parameters: unknown[]) => Promise<object>>
        return { ...(await verbs[name]?.(...given)) } as Result
      },
      [verb, parameters] as const,
    )
  }

  #read<Result>(property: string): Promise<Result> {
    return this.evaluate((store, name) => (store as unknown as Record<string, Result>)[name] as Result, property)
  }

  #listen(page: Page): void {
    const noise = (what: string) => {
      this.log.push(what)
      this.#setup.onNoise(this, what)
    }
    page.on('console', (message) => {
      const text = `console.${message.type()}: ${message.text()}`
      if (message.type() === 'error') noise(text)
      else this.log.push(text)
    })
    page.on('pageerror', (error) => noise(`uncaught ${error.stack || error}`))
  }
}
