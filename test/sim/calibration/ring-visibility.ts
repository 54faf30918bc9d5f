/**
 * The staleness of `staleness.ts`, measured on a ring: the production core writes and reads over a simulated network with the delays of WARS, each for
 * the frames that it stands for. A writer and readers that are no homes of the keys are the model's clients.
 */
import { strict as assert } from 'node:assert'
import { storeKey } from '../../../src/core/ids.js'
import type { Node } from '../../../src/core/node.js'
import { EMPTY_CONTEXT } from '../../../src/core/versions/context.js'
import { SeededRandom } from '../random.js'
import { Ring, nodeOf } from '../ring.js'
import { typeOf } from '../trace.js'
import type { Delay, Quorum, Wars } from './staleness.js'

/** Longer than anything of a trial takes. */
const BETWEEN_MS = 30_000
const NEVER_MS = 1e9
const QUIET = {
  partitions: 8,
  heartbeatIntervalMs: NEVER_MS,
  gossipIntervalMs: NEVER_MS,
  handoffIntervalMs: NEVER_MS,
  syncIntervalMs: NEVER_MS,
  scrubIntervalMs: NEVER_MS,
  settleAfterMs: NEVER_MS,
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
  const ring = new Ring({ seed, tuning: QUIET, knobs: { latency: () => 0.1, diskMinMs: 0, diskMaxMs: 0 } })
  // These hold next to nothing, so that hardly a key is theirs.
  const clients = Array.from({ length: 1 + times.length }, () => ring.world.addPlace({ capacity: 0.01 }))
  const homes = Array.from({ length: quorum.n }, () => ring.world.addPlace())
  await ring.reopen(...homes, ...clients)
  const [writer, ...readers] = clients.map(nodeOf) as [Node, ...Node[]]
  await ring.until('everybody to meet', () => ring.isWhole(), 10 * NEVER_MS)
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
    void writer.write(key, written, EMPTY_CONTEXT, options).outcome.then(() => {
      times.forEach((time, i) => {
        const read = () =>
          void readers[i]?.get(key, { r: quorum.r, strictQuorum: false }).then(({ container }) => {
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
