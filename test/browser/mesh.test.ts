/** The mesh between real pages: real WebRTC, a real signaling server, one page per browser profile. */
import { type Server, createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { fileURLToPath } from 'node:url'
import type { Browser, CDPSession, Page } from 'playwright'
import { type Rolldown, build } from 'vite'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { transportCases } from '../conformance/transport.js'
import type { MeshPage, NodeSetup } from './mesh.page.js'
import { launchChromium } from './support/browser.js'
import { TestSignaling } from './support/servers.js'

declare const node: MeshPage['node']
declare const runTransportCase: MeshPage['runTransportCase']

const A = 'aaaaaaaaaa'
const B = 'bbbbbbbbbb'
const C = 'cccccccccc'
const NETWORK_UP = { offline: false, latency: 1, downloadThroughput: -1, uploadThroughput: -1, packetLoss: 0 }

const signaling = new TestSignaling()
let browser: Browser
let pages: Server
let url: string
let room: string
let opened: MeshTab[] = []
/** What no healthy page writes to its console. */
let noise: string[] = []
/** What one writes all the same in the present test. */
let expectedNoise: RegExp | undefined

/** One page with one mesh node. */
class MeshTab {
  cdp!: CDPSession
  constructor(
    readonly page: Page,
    readonly setup: NodeSetup,
  ) {}

  async open(): Promise<void> {
    this.cdp = await this.page.context().newCDPSession(this.page)
    await this.cdp.send('Network.enable')
    await this.network({})
    await this.page.goto(url)
    await this.begin()
  }

  begin(): Promise<void> {
    return this.page.evaluate((setup) => node.start(setup), this.setup)
  }

  network(conditions: object): Promise<unknown> {
    return this.cdp.send('Network.emulateNetworkConditions', { ...NETWORK_UP, ...conditions })
  }

  until(what: string, timeoutMs = 10_000): Promise<unknown> {
    return this.page.waitForFunction(what, undefined, { timeout: timeoutMs, polling: 20 }).catch(async () => {
      const state = await this.page.evaluate(() =>
        JSON.stringify([[...node.up], node.paths(), node.log, node.warnings]),
      )
      throw new Error(`${this.setup.node} waited in vain for ${what}: ${state}`)
    })
  }

  /** Until exactly these are up and linked directly. */
  linked(...others: string[]): Promise<unknown> {
    return this.until(`${JSON.stringify(others)}.every((other) => node.paths()[other] === 'direct')`)
  }

  send(to: string, length: number, lane: 'foreground' | 'background' = 'foreground', tag = 0): Promise<boolean> {
    return this.page.evaluate(([to, length, lane, tag]) => node.send(to, length, lane, tag), [
      to,
      length,
      lane,
      tag,
    ] as const)
  }

  received(): Promise<{ from: string; length: number; tag: number; sum: number }[]> {
    return this.page.evaluate(() => node.received)
  }
}

async function newPage(): Promise<Page> {
  const page = await browser.newPage()
  page.on('pageerror', (error) => noise.push(String(error)))
  page.on('console', (message) => message.type() === 'error' && noise.push(message.text()))
  return page
}

async function open(name: string, setup: Partial<NodeSetup> = {}): Promise<MeshTab> {
  const tab = new MeshTab(await newPage(), { node: name, urls: signaling.url, room, ...setup })
  opened.push(tab)
  await tab.open()
  return tab
}

type Tabs<Names extends string[]> = { [Index in keyof Names]: MeshTab }

async function openLinked<Names extends string[]>(...names: Names): Promise<Tabs<Names>> {
  const tabs = await Promise.all(names.map((name) => open(name)))
  await Promise.all(tabs.map((tab) => tab.linked(...names.filter((name) => name !== tab.setup.node))))
  return tabs as Tabs<Names>
}

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

beforeAll(async () => {
  const built = (await build({
    configFile: false,
    logLevel: 'warn',
    build: {
      write: false,
      minify: false,
      modulePreload: false,
      rolldownOptions: { input: fileURLToPath(new URL('mesh.page.ts', import.meta.url)) },
    },
  })) as Rolldown.RolldownOutput
  const script = built.output[0].code
  pages = createServer((request, response) => {
    const isScript = request.url === '/mesh.js'
    response.setHeader('content-type', isScript ? 'text/javascript' : 'text/html')
    response.end(
      isScript
        ? script
        : '<!doctype html><link rel="icon" href="data:,"><script type="module" src="/mesh.js"></script>',
    )
  })
  await new Promise<void>((resolve) => pages.listen(0, '127.0.0.1', resolve))
  url = `http://127.0.0.1:${(pages.address() as AddressInfo).port}/`
  browser = await launchChromium()
})

beforeAll(() => signaling.start())
afterEach(async () => {
  await Promise.all(opened.map((tab) => tab.page.context().close()))
  opened = []
  const heard = noise.filter((what) => !expectedNoise?.test(what))
  noise = []
  expectedNoise = undefined
  expect(heard).toEqual([])
})
afterAll(async () => {
  await browser?.close()
  pages?.close()
  await signaling.kill()
})

const ms = (from: number) => Math.round(performance.now() - from)

beforeEach(() => {
  room = `room-${Math.random()}`
})

test.each(transportCases)('as every transport: $name', async ({ name }) => {
  const page = await newPage()
  await page.goto(url)
  await page.evaluate(([name, urls, room]) => runTransportCase(name, urls, room), [name, signaling.url, room] as const)
  await page.close()
})

test('three tabs are linked to each other, each pair once', async () => {
  const tabs = await openLinked(A, B, C)
  for (const tab of tabs) {
    const [log, connections] = await tab.page.evaluate(() => [node.log.map(([, what]) => what), node.created.length])
    expect(log).toEqual(['up', 'up'])
    expect(connections).toBe(2)
  }
})

test('frames of all sizes arrive whole and in order in both lanes', async () => {
  const [a, b] = await openLinked(A, B)
  const sizes = [0, 5, 1024, 300 * 1024, 4 * 1024 * 1024, 1, 65_536, 1024]
  for (const lane of ['foreground', 'background'] as const) {
    const sums: number[] = []
    for (const [tag, size] of sizes.entries()) {
      while (!(await a.send(B, size, lane, tag))) await sleep(50)
      sums.push(await a.page.evaluate(([size, tag]) => node.sumOf(size, tag), [size, tag] as const))
    }
    await b.until(`node.received.length === ${sizes.length}`)
    const received = await b.page.evaluate(() => node.received.splice(0))
    expect(received.map(({ length }) => length)).toEqual(sizes)
    expect(received.map(({ sum }) => sum)).toEqual(sums)
  }
})

test('a foreground frame overtakes a background backlog of 20 MiB', async () => {
  const queueBytes = { foreground: 16 << 20, background: 20 << 20 }
  const [a, b] = [await open(A, { queueBytes }), await open(B)]
  await a.linked(B)
  const accepted = await a.page.evaluate((to) => {
    let count = 0
    while (node.send(to, 1 << 20, 'background', count)) count++
    node.send(to, 1024, 'foreground', 1000)
    return count
  }, B)
  expect(accepted).toBe(20)
  await b.until('node.received.length === 21', 20_000)
  const tags = (await b.received()).map(({ tag }) => tag)
  expect(tags.indexOf(1000)).toBeLessThan(2)
  expect(tags.filter((tag) => tag !== 1000)).toEqual([...Array(20).keys()])
})

test('a receiver that does not come to read bounds what is sent to it, and gets everything when it does', async () => {
  const [a, b] = await openLinked(A, B)
  // As frozen: nothing runs in this page, while its browser goes on to receive.
  const stalled = b.page.evaluate(() => {
    const end = performance.now() + 4000
    while (performance.now() < end);
  })
  await sleep(200)
  const accepted = await a.page.evaluate(async (to) => {
    let count = 0
    for (let i = 0; i < 40; i++) {
      while (node.send(to, 1 << 20, 'foreground', count)) count++
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
    return count
  }, B)
  // 16 MiB of queue and 1 MiB of window.
  expect(accepted).toBeLessThanOrEqual(18)
  await stalled
  await b.until(`node.received.length === ${accepted}`, 20_000)
  expect((await b.received()).map(({ tag }) => tag)).toEqual([...Array(accepted).keys()])
})

test('a page that reloads is linked again within two seconds, under the same node id', async () => {
  const [a, b] = await openLinked(A, B)
  for (const tab of [a, b, a]) {
    const other = tab === a ? b : a
    await other.page.evaluate(() => node.log.splice(0))
    await tab.page.reload()
    const start = performance.now()
    await tab.begin()
    // By its log: a link to the former page may still look direct to the other one, if the page's goodbye got lost.
    await Promise.all([tab.linked(other.setup.node), other.until(`node.log.length > 1`)])
    expect(ms(start)).toBeLessThan(2000)
    expect(await other.page.evaluate(() => node.log.map(([, what]) => what))).toEqual(['down', 'up'])
    await tab.send(other.setup.node, 1024)
    await other.until(`node.received.splice(0).length === 1`)
  }
})

test('a page that crashes and comes back is linked at once, though its old link still looks alive', async () => {
  for (const [stays, crashes] of [
    [A, B],
    [C, B],
  ] as [string, string][]) {
    room += '+'
    const [a, b] = await openLinked(stays, crashes)
    const crashed = new Promise((resolve) => b.page.once('crash', resolve))
    b.cdp.send('Page.crash').catch(() => {})
    await crashed
    const start = performance.now()
    const again = await open(crashes)
    await Promise.all([a.linked(crashes), again.linked(stays)])
    await a.until(`node.log.map(([, what]) => what).join() === 'up,down,up'`)
    expect(ms(start)).toBeLessThan(4000)
  }
})

test('a tab that vanishes without a goodbye is noticed in seconds', async () => {
  const [a, b] = await openLinked(A, B)
  // Long before ICE gives up, at 15 seconds.
  await b.page.context().close()
  await a.until('node.up.size === 0', 6000)
})

test('a tab that is closed is noticed at once, also by those who could reach it through others', async () => {
  const [a, b, c] = await openLinked(A, B, C)
  await a.page.evaluate(() => node.mesh.stop())
  const start = performance.now()
  await Promise.all([b.until(`!node.up.has('${A}')`), c.until(`!node.up.has('${A}')`)])
  expect(ms(start)).toBeLessThan(1000)
  // An unloading page's goodbye may get lost; then its absence from the room makes the others ask.
  await c.page.goto('about:blank')
  await b.until(`!node.up.has('${C}')`, 5000)
})

test('links live on without the signaling server, and a lost one comes back through a common neighbour', async () => {
  const [a, b, c] = await openLinked(A, B, C)
  expectedNoise = /^WebSocket connection to /
  await signaling.kill()
  await a.send(B, 1024)
  await b.until('node.received.length === 1')
  // The link between a and b dies; nobody said goodbye.
  await a.page.evaluate(() => node.created[0]?.close())
  await a.page.evaluate(() => node.log.splice(0))
  await sleep(300)
  const links = [a.linked(B, C), b.linked(A, C), c.linked(A, B)]
  await Promise.all(links)
  await signaling.start()
  const d = await open('dddddddddd')
  await d.linked(A, B, C)
})

test('nodes that may not be linked reach each other through a common neighbour', async () => {
  const [a, b, c] = await Promise.all([open(A, { refuse: [C] }), open(B), open(C, { refuse: [A] })])
  await Promise.all([a.until(`node.paths()['${C}'] === '${B}'`), c.until(`node.paths()['${A}'] === '${B}'`)])
  for (const [tag, size] of [10, 1024, 300 * 1024, 4 * 1024 * 1024].entries()) await a.send(C, size, 'foreground', tag)
  await c.until('node.received.length === 4')
  expect((await c.received()).map(({ from, length }) => [from, length])).toEqual(
    [10, 1024, 300 * 1024, 4 * 1024 * 1024].map((size) => [A, size]),
  )
  expect(await b.received()).toEqual([])
  // The direct link takes over as soon as it may be.
  await Promise.all([a, c].map((tab) => tab.page.evaluate(() => node.allow.clear())))
  await a.page.evaluate(() => dispatchEvent(new Event('online')))
  await c.page.evaluate(() => dispatchEvent(new Event('online')))
  await Promise.all([a.linked(C), c.linked(A)])
  expect(await a.page.evaluate(() => node.log.filter(([, what]) => what !== 'up'))).toEqual([])
  // Without the neighbour, and with a link, nothing is lost.
  await b.page.close({ runBeforeUnload: true })
  await a.send(C, 10, 'foreground', 99)
  await c.until('node.received.some(({ tag }) => tag === 99)')
})

test('when the only neighbour goes, what it relayed is down', async () => {
  const [a, b, c] = await Promise.all([open(A, { refuse: [C] }), open(B), open(C, { refuse: [A] })])
  await Promise.all([a.until(`node.up.has('${C}')`), c.until(`node.up.has('${A}')`)])
  await b.page.evaluate(() => node.mesh.stop())
  await Promise.all([a.until('node.up.size === 0'), c.until('node.up.size === 0')])
})

test('a rejected peer is down, and stays so', async () => {
  const [a, b] = await openLinked(A, B)
  await a.page.evaluate((other) => node.mesh.reject(other as never), B)
  await Promise.all([a.until('node.up.size === 0'), b.until('node.up.size === 0')])
  await sleep(3000)
  expect(await a.page.evaluate(() => [...node.up])).toEqual([])
})

test('a link that the peer closes ends at once, although the closing does not come to its end', async () => {
  const [a, b] = await openLinked(A, B)
  // What B answers to the closing finds nobody, and that the connection is ended as well is lost.
  await b.network({ latency: 3000 })
  await a.page.evaluate((other) => node.mesh.reject(other as never), B)
  await sleep(100)
  await a.network({ packetLoss: 100 })
  await b.until('node.up.size === 0', 3000)
})

test('a rejected peer that reloads is linked again at once, whoever of the two dials', async () => {
  // An application with wrong parameters that was mended was kept out for a minute.
  for (const [stays, reloads] of [
    [A, B],
    [C, B],
  ] as [string, string][]) {
    room += '+'
    const [a, b] = await openLinked(stays, reloads)
    await a.page.evaluate((other) => node.mesh.reject(other as never), reloads)
    await Promise.all([a.until('node.up.size === 0'), b.until('node.up.size === 0')])
    await b.page.reload()
    await b.begin()
    await Promise.all([a.linked(reloads), b.linked(stays)])
  }
})

test('eight tabs that may have four links each reach all others', async () => {
  const names = [...'abcdefgh'].map((letter) => letter.repeat(10))
  const tabs = await Promise.all(names.map((name) => open(name, { maxPeers: 4 })))
  await Promise.all(tabs.map((tab) => tab.until('node.up.size === 7', 30_000)))
  for (const tab of tabs) {
    const paths = await tab.page.evaluate(() => Object.values(node.paths()))
    expect(paths.filter((path) => path === 'direct').length).toBeLessThanOrEqual(5)
  }
})

test('a page that went into the cache of back and forward is linked again when it is shown', async () => {
  const [a, b] = await openLinked(A, B)
  const event = (tab: MeshTab, type: string) =>
    tab.page.evaluate((type) => dispatchEvent(new PageTransitionEvent(type, { persisted: true })), type)
  await event(a, 'pagehide')
  await b.until('node.up.size === 0', 1000)
  await event(a, 'pageshow')
  await Promise.all([a.linked(B), b.linked(A)])
  await event(b, 'pagehide')
  await a.until('node.up.size === 0', 1000)
  await event(b, 'pageshow')
  await Promise.all([a.linked(B), b.linked(A)])
})

test('a goodbye that the link loses comes through the signaling server', async () => {
  const [a, b] = await openLinked(A, B)
  await b.network({ packetLoss: 100 })
  await b.page.evaluate(() => dispatchEvent(new PageTransitionEvent('pagehide', { persisted: true })))
  await a.until('node.up.size === 0', 1000)
})

test('a page that is hidden and shown twice at once is linked again', async () => {
  const [a, b] = await openLinked(A, B)
  await b.page.evaluate(() => {
    for (const type of ['pagehide', 'pageshow', 'pagehide', 'pageshow'])
      dispatchEvent(new PageTransitionEvent(type, { persisted: true }))
  })
  await a.until(`node.log.map(([, what]) => what).join() === 'up,down,up'`)
  await Promise.all([a.linked(B), b.linked(A)])
})

test('a cut of 8 seconds changes nothing; after one of 45 the link is back within seconds', async () => {
  const [a, b] = await openLinked(A, B)
  await a.network({ packetLoss: 100 })
  await a.send(B, 1024)
  await sleep(8000)
  await a.network({})
  await b.until('node.received.length === 1', 5000)
  for (const tab of [a, b]) expect(await tab.page.evaluate(() => node.log.length)).toBe(1)
  await a.network({ packetLoss: 100 })
  await sleep(45_000)
  for (const tab of [a, b]) expect(await tab.page.evaluate(() => node.up.size)).toBe(0)
  await a.network({})
  await Promise.all([a.linked(B), b.linked(A)])
})

// Nothing timed the offer out: the two were lost to each other for good, even when the other page was loaded again.
test('after a cut in which the offer of the next link got lost as well, the link is back within seconds', async () => {
  const [a, b] = await openLinked(A, B)
  await b.page.evaluate(() => {
    node.mute = true
  })
  await a.network({ packetLoss: 100 })
  await b.until('node.up.size === 0 && node.created.length >= 2', 30_000)
  await sleep(1000)
  await b.page.evaluate(() => {
    node.mute = false
  })
  await a.network({})
  await Promise.all([a.linked(B), b.linked(A)])
})
