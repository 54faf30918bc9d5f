/**
 * One simulated bad day from one seed, in two phases: puts, gets and deletes under faults; then all faults stop, and everything has to converge within
 * bounded time, with nothing acknowledged lost and nothing deleted risen.
 */
import { type StoreKey, storeKey } from '../../src/core/ids.js'
import { type Container, isLive } from '../../src/core/versions/container.js'
import { type CausalContext, EMPTY_CONTEXT } from '../../src/core/versions/context.js'
import { decodeContainer, digestOf } from '../../src/core/versions/encoding.js'
import { Oracle } from './oracle.js'
import { SeededRandom } from './random.js'
import { type Place, World } from './world.js'

export interface FuzzOptions {
  seed: number
  operations: number
}

export interface FuzzResult {
  seed: number
  violations: string[]
  counts: Record<string, number>
}

const KEYS = 25

export async function fuzz({ seed, operations }: FuzzOptions): Promise<FuzzResult> {
  const knobRandom = new SeededRandom(seed ^ 0x5eed)
  const nodes = 3 + knobRandom.below(5)
  const world = new World(seed, {
    nodes,
    minLatencyMs: 1,
    maxLatencyMs: knobRandom.pick([5, 30, 200]),
    lossRate: knobRandom.pick([0, 0, 0.01, 0.1]),
    noticeMs: knobRandom.pick([50, 3000, 15_000]),
    diskMinMs: 0.2,
    diskMaxMs: knobRandom.pick([2, 20]),
    tuning: {
      partitions: knobRandom.pick([8, 16, 64]),
      requestTimeoutMs: knobRandom.pick([1000, 5000]),
      replaceAfterMs: knobRandom.pick([8000, 60_000, 600_000]),
      settleAfterMs: knobRandom.pick([2000, 60_000]),
      syncIntervalMs: knobRandom.pick([2000, 15_000]),
      scrubIntervalMs: 5000,
      readRepair: knobRandom.chance(0.8),
      hintedHandoff: knobRandom.chance(0.8),
    },
  })
  const { random, time, network } = world
  const oracle = new Oracle()
  const [unreliable] = world.places as [Place]
  let backup = unreliable.disk.snapshot()
  const counts: Record<string, number> = {}
  const count = (what: string) => {
    counts[what] = (counts[what] ?? 0) + 1
  }
  const keys = Array.from({ length: KEYS }, (_, i) => storeKey(3, '', `k${i}`))
  for (const place of world.places) if (random.chance(0.8)) await world.start(place)

  /** Clients remember what they last saw of a key; some are forgetful. */
  const seen = new Map<string, CausalContext>()
  const operate = () => {
    const place = random.pick(world.alive())
    if (!place) return
    const { node } = place
    const key = random.pick(keys)
    const client = `${place.id}${random.below(2)}${key}`
    if (random.chance(0.4)) {
      count('gets')
      void node.get(key, { r: 1 + random.below(3), strictQuorum: false }).then(
        ({ container }) => seen.set(client, container.context),
        () => count('failed gets'),
      )
      return
    }
    const deleted = random.chance(0.15)
    const context = random.chance(0.1) ? EMPTY_CONTEXT : (seen.get(client) ?? EMPTY_CONTEXT)
    const written = { value: deleted ? undefined : new Uint8Array([random.below(256)]), expiresAt: 0 }
    const options = { w: 1 + random.below(3), strictQuorum: random.chance(0.2), durability: 'strict' as const }
    const { container, outcome } = node.write(key, written, context, options)
    const [sibling] = container.siblings
    if (!sibling) return
    const put = { key, dot: sibling.dot, context, deleted, acknowledged: false }
    oracle.began(put)
    seen.set(client, container.context)
    count('puts')
    void outcome.then((result) => {
      if (result.acks.length === 0 || result.refused) return count('refused puts')
      // One disk of this world may go back in time: what only that one held may be lost.
      put.acknowledged = result.acks.some((node) => node !== unreliable.id)
    })
  }

  const fault = async () => {
    const place = random.pick(world.places)
    const kind = random.pick([
      'cut',
      'cut',
      'one-way',
      'heal',
      'kill',
      'start',
      'start',
      'freeze',
      'thaw',
      'join',
      'wipe-meta',
      'snapshot',
      'snapshot',
      'rollback',
      'wipe',
    ])
    count(kind)
    if (kind === 'cut') network.cut(place.id, random.pick(world.places).id)
    if (kind === 'one-way') network.block(place.id, random.pick(world.places).id)
    if (kind === 'heal') network.heal()
    if (kind === 'kill' && world.alive().length > 2) world.kill(place)
    if (kind === 'start' && !place.node) await world.start(place)
    if (kind === 'freeze') world.freeze(place)
    if (kind === 'thaw') world.thaw(place)
    if (kind === 'join' && world.places.length < 9) await world.start(world.addPlace())
    if (kind === 'wipe-meta' && !place.node) place.disk.meta.clear()
    if (kind === 'snapshot') backup = unreliable.disk.snapshot()
    if (kind === 'rollback' && !unreliable.node) unreliable.disk.restore(backup)
    if (kind === 'wipe' && !unreliable.node) unreliable.disk.wipe()
  }

  for (let i = 0; i < operations; i++) {
    operate()
    if (random.chance(0.02)) await fault()
    await time.advance(random.chance(0.05) ? random.between(100, 3000) : random.between(0, 20))
  }

  // Phase two: no more faults, and everybody comes back.
  network.heal()
  network.knobs.lossRate = 0
  for (const place of world.places) {
    world.thaw(place)
    if (!place.node) await world.start(place)
  }
  const state = () => disagreement(world, keys)
  try {
    await time.until('convergence', () => state() === undefined, 400_000, 1000)
  } catch {
    oracle.violations.push(`no convergence: ${state()}`)
  }
  for (const key of keys) oracle.judge(key, stateOf(world, world.alive()[0] as Place, key))
  for (const error of world.errors)
    oracle.violations.push(`error: ${error instanceof Error ? error.stack : String(error)}`)
  return { seed, violations: oracle.violations, counts }
}

function containerAt(place: Place, key: StoreKey): Container | undefined {
  const row = place.disk.records.get(key)
  return row && decodeContainer(row.container)
}

/** What the homes of a key hold; they agree by now. */
function stateOf(world: World, viewer: Place, key: StoreKey): Container | undefined {
  const [home] = viewer.node?.routing.homes(key) ?? []
  const place = world.places.find(({ id }) => id === home)
  return place && containerAt(place, key)
}

/** Why the ring is not one whole yet; undefined when it is. */
function disagreement(world: World, all: StoreKey[]): string | undefined {
  const places = world.alive()
  const hashes = new Set(places.map(({ node }) => String(node.membership.hash())))
  if (hashes.size > 1) return 'member lists differ'
  for (const { id, node } of places) {
    if (node.replica.hints.pending > 0)
      return `${id} has ${node.replica.hints.pending} hints, for ${node.replica.hints
        .homes()
        .map(
          (home) =>
            `${home} (${node.membership.get(home)?.state}, ${node.routing.isReachable(home) ? 'reachable' : 'unreachable'})`,
        )
        .join(', ')}`
    if (node.duties.filling().length > 0) return `${id} is filling ${node.duties.filling().length} partitions`
    if (node.transfers.strays().length > 0) return `${id} has strays`
  }
  for (const key of all) {
    const homes = places[0]?.node.routing.homes(key) ?? []
    const digests = homes.map((home) => {
      const place = world.places.find(({ id }) => id === home) as Place
      const container = containerAt(place, key)
      if (!container) return 'nothing'
      const { high, low } = digestOf(key, container)
      return `${high}/${low}/${isLive(container)}`
    })
    if (new Set(digests).size > 1) return `the homes of ${JSON.stringify(key)} differ: ${digests.join(', ')}`
  }
  return undefined
}
