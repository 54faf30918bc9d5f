/**
 * The staleness of `staleness.ts`, measured on a ring: the production core writes and reads over a simulated network with the delays of WARS, each for
 * the frames that it stands for. A writer and readers that are no homes of the keys are the model's clients.
 */
import { strict as assert } from 'node:assert'
import { storeKey } from '../../../src/core/ids.js'
import type { Node } from '../../../src/core/node.js'
import type { Tuning } from '../../../src/core/tuning.js'
import { type CausalContext, EMPTY_CONTEXT } from '../../../src/core/versions/context.js'
import { SeededRandom } from '../random.js'
import { Ring, type Tab, named, nodeOf } from '../ring.js'
import { typeOf } from '../trace.js'
import { type Delay, type Quorum, type Wars, withinVersions } from './staleness.js'

/** Longer than anything of a trial takes. */
const BETWEEN_MS = 30_000
const NEVER_MS = 1e9
const QUIET: Partial<Tuning> = {
  partitions: 8,
  heartbeatIntervalMs: NEVER_MS,
  gossipIntervalMs: NEVER_MS,
  handoffIntervalMs: NEVER_MS,
  syncIntervalMs: NEVER_MS,
  scrubIntervalMs: NEVER_MS,
  reapAfterMs: NEVER_MS,
  replaceAfterMs: NEVER_MS,
  standInAfterMs: NEVER_MS,
  // Nobody is asked twice, or somebody else instead: the model knows no such thing.
  patienceMinMs: 20_000,
  patienceMaxMs: 20_000,
  requestTimeoutMs: 25_000,
  readRepair: false,
  maxCopiesBytes: 0,
}

/** As `visibility`: the share of reads that see a write, for each time after its acknowledgement; one reader for each time. */
export async function measuredVisibility(
  { w, a, r, s }: Wars,
  quorum: Quorum,
  times: readonly number[],
  trials: number,
  seed: number,
): Promise<number[]> {
  const { ring, writer, readers, clients } = await open(quorum.n, times.length, seed)
  const delays = new Map<string, Delay>([
    ['Store', w],
    ['Stored', a],
    ['Read', r],
    ['ReadResult', s],
  ])
  const random = new SeededRandom(seed + 1)
  ring.world.network.knobs.latency = (_from, _to, frame) => delays.get(typeOf(frame))?.(random) ?? 0.1
  const seen = times.map(() => 0)
  for (let trial = 0, name = 0; trial < trials; trial++) {
    let key = storeKey(3, '', `k${name++}`)
    while (writer.routing.homes(key).some((home) => clients.some(({ id }) => id === home)))
      key = storeKey(3, '', `k${name++}`)
    let reads = 0
    const written = { value: new Uint8Array(1), expiresAt: 0 }
    const options = { w: quorum.w, strictQuorum: false, durability: 'relaxed' } as const
    void writer.coordinator.write(key, written, EMPTY_CONTEXT, options).outcome.then(() => {
      times.forEach((time, i) => {
        const read = () =>
          void readers[i]?.coordinator.get(key, { r: quorum.r, strictQuorum: false }).then(({ container }) => {
            reads++
            if (container.siblings.length > 0) seen[i] = (seen[i] ?? 0) + 1
          })
        if (time === 0) read()
        else ring.world.time.at(time, read)
      })
    })
    await ring.pass(BETWEEN_MS + Math.max(...times))
    assert.equal(reads, times.length, 'every read was answered')
  }
  return seen.map((count) => count / trials)
}

/** Versions of the key before the first read that counts: by then every home has some. */
const HISTORY = 60

/**
 * As `withinVersions` for N = 3, R = W = 1: the share of reads that are within k versions, for each k. Each write reaches one home, drawn anew, and no other ever,
 * and each read asks one: what the closed form assumes and no ring is that bad at.
 */
export async function measuredWithinVersions(ks: readonly number[], trials: number, seed: number): Promise<number[]> {
  const { ring, writer, readers, homes, clients } = await open(3, 1, seed)
  const random = new SeededRandom(seed + 1)
  let chosen: Tab | undefined
  ring.world.network.knobs.lose = (_from, to, frame) =>
    (typeOf(frame) === 'Store' || typeOf(frame) === 'Read') && to !== chosen?.id
  let name = 0
  while (writer.routing.homes(named(`k${name}`)).some((home) => clients.some(({ id }) => id === home))) name++
  const key = named(`k${name}`)
  const within = ks.map(() => 0)
  const options = { w: 1, strictQuorum: false, durability: 'relaxed' } as const
  let context: CausalContext = EMPTY_CONTEXT
  for (let version = 0; version < HISTORY + trials; version++) {
    chosen = random.pick(homes)
    const value = new Uint8Array(new Uint32Array([version]).buffer)
    const { container } = writer.coordinator.write(key, { value, expiresAt: 0 }, context, options)
    context = container.context
    await ring.pass(BETWEEN_MS)
    if (version < HISTORY) continue
    chosen = random.pick(homes)
    let read: number | undefined
    // One home alone answers: where it was asked for a digest only, the value is asked for when patience ends.
    void readers[0]?.coordinator.get(key, { r: 1, strictQuorum: false }).then(({ container: { siblings } }) => {
      read = new Uint32Array((siblings[0]?.value ?? value).slice().buffer)[0]
    })
    await ring.pass(BETWEEN_MS)
    assert.ok(read !== undefined && read <= version, 'the read was answered')
    const behind = version - read
    ks.forEach((k, i) => {
      if (behind < k) within[i] = (within[i] ?? 0) + 1
    })
  }
  return within.map((count) => count / trials)
}

/** At most: the windows of k reads in a row overlap, so that trials count k times less than independent ones would. */
export function standardErrorWithin(k: number, trials: number): number {
  const share = withinVersions(k, { n: 3, r: 1, w: 1 })
  return Math.sqrt((share * (1 - share) * k) / trials)
}

async function open(
  n: number,
  readers: number,
  seed: number,
): Promise<{ ring: Ring; writer: Node; readers: Node[]; homes: Tab[]; clients: Tab[] }> {
  const ring = new Ring({ seed, tuning: QUIET, knobs: { latency: () => 0.1, diskMinMs: 0, diskMaxMs: 0 } })
  // These hold next to nothing, so that hardly a key is theirs.
  const clients = Array.from({ length: 1 + readers }, () => ring.world.addPlace({ capacity: 0.01 }))
  const homes = Array.from({ length: n }, () => ring.world.addPlace())
  await ring.reopen(...homes, ...clients)
  await ring.until('everybody to meet', () => ring.isWhole(), 10 * NEVER_MS)
  const [writer, ...others] = clients.map(nodeOf) as [Node, ...Node[]]
  return { ring, writer, readers: others, homes, clients }
}
