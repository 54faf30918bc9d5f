/**
 * The page of the mesh's browser tests: one node with nothing but transport and signaling, whose every event is kept for
 * the test to read. Frames begin with a kind: 1 asks for an echo, 2 is one, everything else is only noted.
 */
import SimplePeer from 'simple-peer/simplepeer.min.js'
import { Links } from '../../src/browser/links.js'
import { type Mesh, createMesh } from '../../src/browser/mesh/mesh.js'
import { createSignalingClient } from '../../src/browser/signaling-client.js'
import type { Lane } from '../../src/core/environment.js'
import type { NodeId } from '../../src/core/ids.js'
import { transportCases } from '../conformance/transport.js'

export interface NodeSetup {
  node: string
  urls: string | string[] | null
  room: string
  maxPeers?: number
  queueBytes?: { foreground: number; background: number }
  /** Nodes that are reached by relay only. */
  refuse?: string[]
}

interface Received {
  from: string
  length: number
  kind: number
  /** The number in bytes 1 to 4. */
  tag: number
  sum: number
}

const created: RTCPeerConnection[] = []
const Original = globalThis.RTCPeerConnection
globalThis.RTCPeerConnection = class extends Original {
  constructor(configuration?: RTCConfiguration) {
    super(configuration)
    created.push(this)
  }
}

class TestNode {
  mesh!: Mesh
  up = new Set<string>()
  log: [atMs: number, what: string, node: string][] = []
  received: Received[] = []
  warnings: string[] = []
  allow: Set<string> = new Set()
  /** What this node says by the signaling server is lost. */
  mute = false
  #echo: ((frame: Uint8Array) => void) | undefined
  created = created

  start({ node, urls, room, refuse = [], ...options }: NodeSetup): void {
    const self = node as NodeId
    this.allow = new Set(refuse)
    const onWarning = (message: string) => this.warnings.push(message)
    const links = new Links(() => {
      const client = createSignalingClient({ urls, room, self, onWarning })
      const send = (to: NodeId, payload: unknown) => this.mute || client.send(to, payload)
      const signaling = { ...client, send }
      this.mesh = createMesh({ self, signaling, onWarning, allowDirect: (other) => !this.allow.has(other), ...options })
      return this.mesh
    })
    // As a store does it.
    addEventListener('pagehide', ({ persisted }) => links.disconnect(persisted))
    addEventListener('pageshow', ({ persisted }) => persisted && links.connect())
    links.start({
      onUp: (other) => {
        if (this.up.has(other)) this.#note('TWICE UP', other)
        this.up.add(other)
        this.#note('up', other)
      },
      onDown: (other) => {
        if (!this.up.delete(other)) this.#note('DOWN WITHOUT UP', other)
        this.#note('down', other)
      },
      onFrame: (from, frame) => {
        const kind = frame[0] ?? 0
        if (kind === 1) {
          const answer = frame.slice()
          answer[0] = 2
          this.mesh.send(from, answer, 'foreground')
        } else if (kind === 2) this.#echo?.(frame)
        else {
          const tag = frame.length >= 5 ? new DataView(frame.buffer, frame.byteOffset).getUint32(1) : 0
          this.received.push({ from, length: frame.length, kind, tag, sum: checksum(frame) })
        }
      },
    })
  }

  send(to: string, length: number, lane: Lane = 'foreground', tag = 0, kind = 9): boolean {
    return this.mesh.send(to as NodeId, frameOf(length, tag, kind), lane)
  }

  /** What `sum` must be for a frame of that length and tag. */
  sumOf(length: number, tag: number): number {
    return checksum(frameOf(length, tag, 9))
  }

  paths(): Record<string, string> {
    return Object.fromEntries(this.mesh.paths())
  }

  /** Round trips of `length` bytes one after the other, in milliseconds, sorted. */
  async roundTrips(to: string, count: number, length: number): Promise<number[]> {
    const times: number[] = []
    for (let i = 0; i < count; i++) {
      const start = performance.now()
      await new Promise<void>((resolve) => {
        this.#echo = () => resolve()
        this.mesh.send(to as NodeId, frameOf(length, 0, 1), 'foreground')
      })
      times.push(performance.now() - start)
    }
    return times.sort((a, b) => a - b)
  }

  /** Megabytes per second of `count` frames, the last one answered. */
  async throughput(to: string, count: number, length: number, lane: Lane): Promise<number> {
    const frame = frameOf(length, 0, 3)
    const start = performance.now()
    for (let i = 0; i < count; i++) {
      while (!this.mesh.send(to as NodeId, frame, lane)) await new Promise((resolve) => setTimeout(resolve, 1))
    }
    await new Promise<void>((resolve) => {
      this.#echo = () => resolve()
      const ask = () => this.mesh.send(to as NodeId, frameOf(16, 0, 1), lane) || setTimeout(ask, 1)
      ask()
    })
    return (count * length) / 1000 / (performance.now() - start)
  }

  #note(what: string, node: string): void {
    this.log.push([performance.now(), what, node])
  }
}

/** Two plain simple-peers in this page, to compare with. */
async function rawPair(): Promise<[SimplePeer.Instance, SimplePeer.Instance]> {
  const a = new SimplePeer({ initiator: true, config: { iceServers: [] } })
  const b = new SimplePeer({ config: { iceServers: [] } })
  a.on('signal', (signal) => b.signal(signal))
  b.on('signal', (signal) => a.signal(signal))
  await Promise.all([a, b].map((peer) => new Promise<void>((resolve) => peer.on('connect', () => resolve()))))
  return [a, b]
}

function frameOf(length: number, tag: number, kind: number): Uint8Array {
  const frame = new Uint8Array(length)
  for (let i = 5; i < length; i += 997) frame[i] = i * 31 + tag
  if (length > 0) frame[0] = kind
  if (length >= 5) new DataView(frame.buffer).setUint32(1, tag)
  return frame
}

function checksum(frame: Uint8Array): number {
  let sum = 0
  for (let i = 0; i < frame.length; i++) sum = (Math.imul(sum, 31) + (frame[i] as number)) | 0
  return sum
}

/** Compares a raw simple-peer's round trips with the mesh's, both between two nodes of this page. */
async function compare(setup: NodeSetup, count: number, length: number): Promise<Record<string, number>> {
  const [a, b] = [new TestNode(), new TestNode()]
  a.start({ ...setup, node: 'compare--a' })
  b.start({ ...setup, node: 'compare--b' })
  while (!a.up.has('compare--b') || !b.up.has('compare--a')) await new Promise((resolve) => setTimeout(resolve, 20))
  const [c, d] = await rawPair()
  d.on('data', (data: Uint8Array) => d.send(data))
  const raw = async () => {
    const frame = new Uint8Array(length)
    const times: number[] = []
    for (let i = 0; i < count; i++) {
      const start = performance.now()
      await new Promise<void>((resolve) => {
        c.once('data', () => resolve())
        c.send(frame)
      })
      times.push(performance.now() - start)
    }
    return times.sort((x, y) => x - y)
  }
  const rounds: number[][][] = []
  for (let i = 0; i < 4; i++) rounds.push([await raw(), await a.roundTrips('compare--b', count, length)])
  const at = (which: number, part: number) => {
    const all = rounds.slice(1).flatMap((round) => round[which] as number[])
    all.sort((x, y) => x - y)
    return all[Math.floor(all.length * part)] as number
  }
  a.mesh.stop()
  b.mesh.stop()
  c.destroy()
  d.destroy()
  return { rawP50: at(0, 0.5), rawP99: at(0, 0.99), meshP50: at(1, 0.5), meshP99: at(1, 0.99) }
}

/** One of the cases that every transport passes, with all nodes in this page. */
async function runTransportCase(wanted: string, urls: string, room: string): Promise<void> {
  const pass = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms))
  const meshes: Mesh[] = []
  const open = (self: NodeId) => {
    const mesh = createMesh({ self, signaling: createSignalingClient({ urls, room, self }) })
    meshes.push(mesh)
    return mesh
  }
  const until = async (what: string, holds: () => boolean) => {
    const end = performance.now() + 20_000
    while (!holds()) {
      if (performance.now() > end) throw new Error(`waited in vain until ${what}`)
      await pass(20)
    }
  }
  try {
    await transportCases.find(({ name }) => name === wanted)?.run({ open, until, pass })
  } finally {
    for (const mesh of meshes) mesh.stop()
  }
}

export type MeshPage = {
  node: TestNode
  TestNode: typeof TestNode
  compare: typeof compare
  rawPair: typeof rawPair
  runTransportCase: typeof runTransportCase
}
Object.assign(window, { node: new TestNode(), TestNode, compare, rawPair, runTransportCase })
