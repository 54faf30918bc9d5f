/** What must hold of a ring at rest, whatever happened before: one ring, whole, converged, bounded and quiet. */
import type { Digest } from '../../src/core/environment.js'
import type { Partition, StoreKey } from '../../src/core/ids.js'
import { sameDigest } from '../../src/core/replica/merkle.js'
import { type Container, isLive, isLiveSibling, withStableContextDropped } from '../../src/core/versions/container.js'
import { contextSize } from '../../src/core/versions/context.js'
import { MalformedError, decodeContainer, digestOf } from '../../src/core/versions/encoding.js'
import type { Row } from './disk.js'
import type { OpenPlace, Place, World } from './world.js'

/** Why the ring is not one whole yet (I3, I12); undefined when it is. */
export function disagreement(world: World, keys: StoreKey[]): string | undefined {
  const places = ringOf(world)
  const hashes = new Set(places.map(({ node }) => String(node.membership.hash())))
  if (hashes.size > 1) return 'I12: member lists differ'
  for (const { id, node } of places) {
    const { hints } = node.replica
    if (hints.pending > 0) return `I3: ${id} has ${hints.pending} hints for ${hints.homes().join(', ')}`
    if (node.duties.filling().length > 0) return `I3: ${id} is filling ${node.duties.filling().length} partitions`
    if (node.transfers.strays().length > 0) return `I3: ${id} has strays`
    if (node.membership.placed().length !== places.length) return `I12: ${id} places other members than are open`
    if (node.peers.reachable().length < places.length - 1) return `I12: ${id} does not reach everybody`
  }
  const all = new Map(places.map((place) => [place.id, place]))
  for (const key of keys) {
    const homes = places[0]?.node.routing.homes(key) ?? []
    const holders = homes.map((home) => all.get(home) as Place)
    const states = holders.map((place) => digestOn(place, key))
    if (new Set(states).size > 1) return `I3: the homes of ${JSON.stringify(key)} differ: ${states.join(', ')}`
    for (const place of places)
      if (!homes.includes(place.id) && place.disk.records.has(key))
        return `I3: ${place.id} still has ${JSON.stringify(key)}`
  }
  const trees = new Map<Partition, Digest>()
  for (const { id, node } of places)
    for (const partition of node.replica.forest.held()) {
      const root = node.replica.forest.root(partition)
      if (!sameDigest(root, trees.get(partition) ?? root)) return `I3: ${id} has another tree of partition ${partition}`
      trees.set(partition, root)
    }
  // What a record says of itself is looked at last: it takes longest.
  for (const { id, disk } of places)
    for (const [key, row] of disk.records) {
      const fault = faultOf(key, row)
      if (fault) return `I3: ${id} has ${JSON.stringify(key)} ${fault}`
    }
  return undefined
}

/** Open places that are in the ring: those with other room parameters are a room of their own. */
export function ringOf(world: World): OpenPlace[] {
  return world.alive().filter(({ options, node }) => !options.config && !node.membership.isLeaving(node.options.node))
}

/** I8: nothing grows that has no reason to be there at rest. */
export function leftovers(world: World): string[] {
  const found: string[] = []
  for (const { id, node, disk } of ringOf(world)) {
    if (!node.coordinator.synced) found.push(`I8: ${id} still has writes under way`)
    if (disk.hints.size > 0) found.push(`I8: ${id} keeps ${disk.hints.size} hint rows`)
    const meta = [...disk.meta.values()].reduce((sum, value) => sum + value.length, 0)
    if (meta > 64 * 1024) found.push(`I8: ${id} keeps ${meta} bytes of bookkeeping`)
    for (const [key, { container, live }] of disk.records) {
      if (!live) found.push(`I8: ${id} keeps the tombstone of ${JSON.stringify(key)}`)
      const size = needlessContext(decodeContainer(container))
      if (size > LARGE_CONTEXT) found.push(`I8: ${id} keeps ${size} entries in the context of ${JSON.stringify(key)}`)
    }
  }
  return found
}

/** A context is never cut off below this size: forgetting its entries is work. */
const SMALL_CONTEXT = 12
/** It takes a whole scrub to find one that could be shorter; no context gets that long meanwhile. */
const LARGE_CONTEXT = 100

/** The size of a context that has entries which only tell of replaced versions; 0 where it has none. */
function needlessContext(container: Container): number {
  const size = contextSize(container.context)
  return size > contextSize(withStableContextDropped(container).context) ? size : 0
}

/**
 * What the ring will still turn into tombstones or forget, within that time (I2, I8): expired values, tombstones, and long contexts that only tell
 * of replaced versions; undefined when there is nothing. It takes a whole scrub to find all.
 */
export function unsettled(world: World, withinMs: number): string | undefined {
  for (const place of ringOf(world))
    for (const [key, { container: bytes, live }] of place.disk.records) {
      if (!live) return `I8: ${place.id} keeps the tombstone of ${JSON.stringify(key)}`
      const container = decodeContainer(bytes)
      const soon = world.wallTime(place) + withinMs
      if (container.siblings.some((one) => one.value && !isLiveSibling(one, soon)))
        return `I2: ${place.id} still has an expired value of ${JSON.stringify(key)}`
      const size = needlessContext(container)
      if (size > SMALL_CONTEXT) return `I8: ${place.id} keeps ${size} entries in the context of ${JSON.stringify(key)}`
    }
  return undefined
}

/** Messages that a ring at rest may send (I11). */
const QUIET = new Set(['Hello', 'Ping', 'Pong', 'Gossip', 'GossipReply', 'CompareRoots', 'Roots'])

/** I11: lets some time pass, in which nothing may move but heartbeats, gossip and comparisons of roots, and these no more often than they should. */
export async function unrest(world: World, forMs: number): Promise<string[]> {
  const before = new Map(world.trace.sent)
  const commits = commitsOf(world)
  const leavers = leaversKnown(world)
  await world.time.advance(forMs)
  const found: string[] = []
  const sent = (type: string) => (world.trace.sent.get(type) ?? 0) - (before.get(type) ?? 0)
  for (const type of world.trace.sent.keys())
    if (sent(type) > 0 && !QUIET.has(type)) found.push(`I11: at rest, ${sent(type)} messages of type ${type}`)
  for (const [type, most] of Object.entries(mostAtRest(world, forMs)))
    if (sent(type) > most) found.push(`I11: at rest, ${sent(type)} messages of type ${type} and not at most ${most}`)
  // Who forgets a member that has left writes that down.
  const written = commitsOf(world) - commits
  if (written > leavers - leaversKnown(world)) found.push(`I11: at rest, ${written} commits`)
  return found
}

/** How many messages of a type all tabs together have reason to send in that time; there may be one of each that was about to come. */
function mostAtRest(world: World, forMs: number): Record<string, number> {
  const open = world.alive()
  const others = open.length - 1
  const total = (rounds: (node: OpenPlace['node']) => number) =>
    Math.ceil(open.reduce((sum, { node }) => sum + rounds(node) + 1, 0))
  const heartbeats = total(
    ({ options: { tuning } }) => (others * (forMs + tuning.heartbeatIntervalMs)) / tuning.heartbeatIntervalMs,
  )
  const gossip = total(({ options: { tuning } }) => forMs / (0.8 * tuning.gossipIntervalMs))
  const comparisons = total(({ options: { tuning } }) => forMs / (0.9 * tuning.syncIntervalMs))
  return {
    Ping: heartbeats,
    Pong: heartbeats,
    Gossip: gossip,
    GossipReply: gossip,
    CompareRoots: comparisons,
    Roots: comparisons,
  }
}

function leaversKnown(world: World): number {
  return ringOf(world).reduce(
    (sum, { node }) => sum + node.membership.all().length - node.membership.placed().length,
    0,
  )
}

function commitsOf(world: World): number {
  return ringOf(world).reduce((sum, { storage }) => sum + (storage?.commits ?? 0), 0)
}

/** The largest context of all keys on all disks (I8). */
export function largestContext(world: World): number {
  let most = 0
  for (const { disk } of world.places)
    for (const { container } of disk.records.values())
      most = Math.max(most, contextSize(decodeContainer(container).context))
  return most
}

export function containerAt(place: Place, key: StoreKey): Container | undefined {
  const row = place.disk.records.get(key)
  return row && decodeContainer(row.container)
}

/** What the homes of a key hold; they agree by now. */
export function settledState(world: World, key: StoreKey): Container | undefined {
  const [viewer] = ringOf(world)
  const [home] = viewer?.node.routing.homes(key) ?? []
  return home === undefined ? undefined : containerAt(world.placeOf(home), key)
}

function digestOn(place: Place, key: StoreKey): string {
  const row = place.disk.records.get(key)
  return row ? `${row.digest.high}/${row.digest.low}/${row.live}` : 'nothing'
}

function faultOf(key: StoreKey, { container, digest, live }: Row): string | undefined {
  try {
    const stored = decodeContainer(container)
    const { high, low } = digestOf(key, stored)
    return high === digest.high && low === digest.low && isLive(stored) === live ? undefined : 'with a wrong digest'
  } catch (error) {
    if (error instanceof MalformedError) return 'damaged'
    throw error
  }
}
