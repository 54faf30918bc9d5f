/**
 * The words in which scenarios and the paper's sentences are told: a simulated ring of tabs, clients at them that remember the context of what they
 * read, and what lies on the tabs' disks. Everything runs in virtual time.
 */
import { strict as assert } from 'node:assert'
import { decode } from '@msgpack/msgpack'
import type { NodeId, StoreKey } from '../../src/core/ids.js'
import { nodeOfActor, storeKey } from '../../src/core/ids.js'
import { type MessageType, shapesByCode } from '../../src/core/messages.js'
import type { Node } from '../../src/core/node.js'
import type { GetOptions, GetOutcome } from '../../src/core/requests/get.js'
import type { PutOptions, PutOutcome } from '../../src/core/requests/put.js'
import type { Tuning } from '../../src/core/tuning.js'
import { type Container, EMPTY_CONTAINER } from '../../src/core/versions/container.js'
import { type CausalContext, EMPTY_CONTEXT } from '../../src/core/versions/context.js'
import { decodeContainer } from '../../src/core/versions/encoding.js'
import { handEverythingOver } from '../../src/store/leave.js'
import type { SeededRandom } from './random.js'
import type { TraceOptions } from './trace.js'
import { type Place as Tab, World, type WorldKnobs } from './world.js'

export type { Tab }

const encoder = new TextEncoder()
const decoder = new TextDecoder()

export interface RingOptions {
  seed: number
  tuning?: Partial<Tuning>
  /** After this long a cut link is reported down; infinite where only silence shall tell. */
  noticeMs?: number
  /** Tabs on named devices; a device each where this is not given. */
  devices?: string[]
  knobs?: Partial<WorldKnobs>
  trace?: TraceOptions
}

export interface Sent {
  from: NodeId
  to: NodeId
  type: MessageType
  bytes: number
}

export class Ring {
  readonly world: World
  private sent: Sent[] | undefined
  private readonly devices: string[]

  constructor({ seed, tuning, noticeMs = 1000, knobs, trace, devices = [] }: RingOptions) {
    this.world = new World(
      seed,
      {
        nodes: 0,
        minLatencyMs: 5,
        maxLatencyMs: 30,
        lossRate: 0,
        noticeMs,
        diskMinMs: 0.2,
        diskMaxMs: 2,
        tuning: { partitions: 16, ...tuning },
        ...knobs,
      },
      trace,
    )
    this.devices = devices
    this.tap()
  }

  /** Opens that many tabs and waits until they are one ring. */
  async open(tabs: number): Promise<void> {
    for (let i = 0; i < tabs; i++) {
      const device = this.devices[i]
      await this.world.start(this.world.addPlace(device === undefined ? {} : { device }))
    }
    await this.until('one ring', () => this.isWhole())
    // Until the members are written down and what was under way has arrived.
    await this.pass(3000)
  }

  get random(): SeededRandom {
    return this.world.random
  }

  get tabs(): Tab[] {
    return this.world.places
  }

  /** The first tab that was opened is 0. */
  tab(index: number): Tab {
    return this.tabs[index] as Tab
  }

  // --- tabs come and go

  /** A new tab opens: that is all it takes to join. */
  async join(): Promise<Tab> {
    const tab = this.world.addPlace()
    await this.world.start(tab)
    return tab
  }

  crash(...tabs: Tab[]): void {
    for (const tab of tabs) this.world.kill(tab)
  }

  async reopen(...tabs: Tab[]): Promise<void> {
    for (const tab of tabs) await this.world.start(tab)
  }

  /** Cuts every link between the two sides. */
  partition(left: Tab[], right: Tab[]): void {
    for (const a of left) for (const b of right) this.world.network.cut(a.id, b.id)
  }

  heal(): void {
    this.world.network.heal()
  }

  async leave(tab: Tab): Promise<void> {
    await this.await(handEverythingOver(nodeOf(tab)))
  }

  /** An open tab takes over what a closed one left behind. */
  async adopt(adopter: Tab, orphan: Tab): Promise<void> {
    await this.await(this.world.adopt(adopter, nodeOf(adopter), orphan))
    this.gone(orphan)
  }

  /** After an adoption, or when it has left: nothing is left on the disk, which is deleted. */
  gone(orphan: Tab): void {
    assert.deepEqual([orphan.disk.records.size, orphan.disk.hints.size], [0, 0], 'nothing is left there')
    this.tabs.splice(this.tabs.indexOf(orphan), 1)
  }

  // --- time

  pass(ms: number): Promise<void> {
    return this.world.time.advance(ms)
  }

  until(what: string, condition: () => boolean, limitMs = 60_000): Promise<void> {
    return this.world.time.until(what, condition, limitMs)
  }

  /** Lets virtual time run until the promise is settled. */
  async await<T>(promise: Promise<T>): Promise<T> {
    let settled = false
    const mark = () => {
      settled = true
    }
    promise.then(mark, mark)
    await this.world.time.until('an answer', () => settled, 120_000, 1)
    return promise
  }

  /** Everybody knows everybody, reaches everybody, and has the data of its partitions. */
  isWhole(): boolean {
    const open = this.world.alive()
    return open.every(
      ({ node }) =>
        node.membership.placed().length === open.length &&
        node.peers.reachable().length === open.length - 1 &&
        node.duties.filling().length === 0,
    )
  }

  /** Everybody is back, nothing is cut: as if no fault had ever been. */
  async allBack(): Promise<void> {
    this.heal()
    this.world.network.endSlowness()
    this.world.network.setSignaling(true)
    for (const tab of this.tabs) {
      this.world.thaw(tab)
      tab.timerStepMs = 0
      tab.clockError = 0
      if (tab.storage) tab.storage.failing = tab.storage.failingReads = undefined
      if (!tab.node) await this.world.start(tab)
    }
  }

  /** This tab will never be opened again. */
  evict(tab: Tab): void {
    if (tab.node) this.crash(tab)
    this.world.changeDisk(tab, 'is gone for good', () => tab.disk.wipe())
    this.tabs.splice(this.tabs.indexOf(tab), 1)
  }

  /** How long each of these takes, in virtual milliseconds, sorted. */
  async latencies(times: number, operation: (i: number) => Promise<unknown>): Promise<number[]> {
    const taken: number[] = []
    for (let i = 0; i < times; i++) {
      const start = this.world.time.now
      await operation(i)
      taken.push(this.world.time.now - start)
    }
    return taken.sort((a, b) => a - b)
  }

  saw(what: string): void {
    this.world.sights.saw(what)
  }

  // --- keys

  /** The homes of a key as this tab sees them. */
  homes(key: string, seenBy: Tab = this.anyOpen()): [Tab, Tab, Tab] {
    const homes = this.tabsOf(nodeOf(seenBy).routing.homes(named(key)))
    assert.equal(homes.length, 3)
    return homes as [Tab, Tab, Tab]
  }

  preferenceList(key: string, seenBy: Tab = this.anyOpen()): Tab[] {
    return this.tabsOf(nodeOf(seenBy).routing.preferenceList(named(key)))
  }

  /** The tabs that are no homes of the key, first stand-in first. */
  others(key: string): [Tab, ...Tab[]] {
    const others = this.preferenceList(key).slice(this.homes(key).length)
    assert.ok(others.length > 0, 'a tab that is no home')
    return others as [Tab, ...Tab[]]
  }

  tabsOf(nodes: readonly NodeId[]): Tab[] {
    return nodes.map((id) => this.tabs.find((tab) => tab.id === id) as Tab)
  }

  client(tab: Tab): Client {
    return new Client(this, tab)
  }

  // --- what travels

  /** Everything that is sent while `during` runs. */
  async messages(during: () => Promise<void>): Promise<Sent[]> {
    const sent: Sent[] = []
    this.sent = sent
    await during()
    this.sent = undefined
    return sent
  }

  private anyOpen(): Tab {
    return this.world.alive()[0] as Tab
  }

  private tap(): void {
    this.world.network.taps.push((from, to, frame) => {
      const [code] = this.sent ? (decode(frame) as [number]) : []
      const type = code === undefined ? undefined : shapesByCode.get(code)?.type
      if (type) this.sent?.push({ from, to, type, bytes: frame.length })
    })
  }
}

/** Somebody who uses one tab: what was read is the context of what is written next. */
export class Client {
  private readonly seen = new Map<string, CausalContext>()

  constructor(
    private readonly ring: Ring,
    readonly tab: Tab,
  ) {}

  /** All versions that a get returns, in order of their text. */
  async get(key: string, options: Partial<GetOptions> = {}): Promise<string[]> {
    return textsOf((await this.ask(key, options)).container)
  }

  /** The whole outcome of a get. */
  async ask(key: string, options: Partial<GetOptions> = {}): Promise<GetOutcome> {
    const outcome = await this.ring.await(
      nodeOf(this.tab).coordinator.get(named(key), { r: 2, strictQuorum: false, ...options }),
    )
    this.seen.set(key, outcome.container.context)
    return outcome
  }

  /** Writes a version that descends from what this client saw last; undefined deletes. */
  put(
    key: string,
    text: string | undefined,
    options: Partial<PutOptions> & { expiresAt?: number } = {},
  ): Promise<PutOutcome> {
    return this.ring.await(this.begin(key, text, options))
  }

  /** Writes without having seen anything. */
  blind(key: string, text: string, options: Partial<PutOptions> = {}): Promise<PutOutcome> {
    this.forget(key)
    return this.put(key, text, options)
  }

  /** The context of what this client saw of the key is gone. */
  forget(key: string): void {
    this.seen.delete(key)
  }

  delete(key: string): Promise<PutOutcome> {
    return this.put(key, undefined)
  }

  /** A put whose answer is not waited for. */
  begin(
    key: string,
    text: string | undefined,
    { expiresAt = 0, ...options }: Partial<PutOptions> & { expiresAt?: number } = {},
  ): Promise<PutOutcome> {
    const value = text === undefined ? undefined : encoder.encode(text)
    const { container, outcome } = nodeOf(this.tab).coordinator.write(
      named(key),
      { value, expiresAt },
      this.seen.get(key) ?? EMPTY_CONTEXT,
      { w: 2, strictQuorum: false, durability: 'strict', ...options },
    )
    this.seen.set(key, container.context)
    return outcome
  }
}

export function named(key: string): StoreKey {
  return storeKey(3, '', key)
}

export function nodeOf(tab: Tab): Node {
  if (!tab.node) throw new Error(`${tab.id} is closed`)
  return tab.node
}

/** The values of all versions, sorted. */
export function textsOf(container: Container): string[] {
  return container.siblings.flatMap(({ value }) => (value ? [decoder.decode(value)] : [])).sort()
}

/** What lies on the tab's disk as one of the key's replicas. */
export function replicaAt(tab: Tab, key: string): string[] {
  return textsOf(containerAt(tab, key))
}

export function containerAt(tab: Tab, key: string): Container {
  const row = tab.disk.records.get(named(key))
  return row ? decodeContainer(row.container) : EMPTY_CONTAINER
}

/** The hint on the tab's disk: what it says, and for whom. */
export function hintAt(tab: Tab, key: string): { texts: string[]; homes: NodeId[] } | undefined {
  const row = tab.disk.hints.get(named(key))
  return row && { texts: textsOf(decodeContainer(row.container)), homes: row.homes }
}

/** A version vector as the paper writes it, by the tab that minted: { Sx: 2, Sy: 1 }. */
export function clockOf(context: CausalContext, names: Record<string, Tab>): Record<string, number> {
  const clock: Record<string, number> = {}
  for (const [actor, counter] of context.vector) {
    const name = Object.keys(names).find((candidate) => names[candidate]?.id === nodeOfActor(actor))
    clock[name ?? actor] = counter
  }
  assert.equal(context.cloud.size, 0, 'a clock without gaps')
  return clock
}
