/**
 * The rounds of `gossip.ts`, measured on a ring: the production core spreads changes of member records over a simulated network, by its rounds alone. A round is
 * one second on average; no node keeps step with another, and an exchange takes what two frames take.
 */
import { Gossip } from '../../../src/core/membership/gossip.js'
import { Ring, type Tab, nodeOf } from '../ring.js'
import { typeOf } from '../trace.js'

const ROUND_MS = 1000
const STEP_MS = 10
const NEVER_MS = 1e9

/** Tabs that all know each other, and among which nothing else goes on: of a hundred, heartbeats alone would be ten thousand frames a second. */
export async function openQuietRing(tabs: number, seed: number): Promise<Ring> {
  const tuning = {
    // Every change of the members is a new placement at every tab.
    partitions: 1,
    gossipIntervalMs: ROUND_MS,
    heartbeatIntervalMs: 10_000,
    syncIntervalMs: NEVER_MS,
    scrubIntervalMs: NEVER_MS,
  }
  const ring = new Ring({ seed, tuning })
  const places = Array.from({ length: tabs }, () => ring.world.addPlace())
  // Each learns of each by the handshake; that a hundred tabs also tell each other about it all would take longer than what is measured here.
  const { exchange } = Gossip.prototype
  Gossip.prototype.exchange = async () => true
  try {
    for (const place of places) ring.world.begin(place)
    await ring.until('all to be open', () => ring.world.alive().length === tabs)
    await ring.until('everybody to meet', () => ring.isWhole(), 600_000)
  } finally {
    Gossip.prototype.exchange = exchange
  }
  await ring.pass(3000)
  return ring
}

/**
 * For each change of a record, at some tab, the rounds until all tabs know it. Of all exchanges, so many are lost as a whole. In production a node also tells a
 * change to two others at once (`told`).
 */
export async function measuredRounds(ring: Ring, lossRate: number, changes: number, told = false): Promise<number[]> {
  const { time, network, errors } = ring.world
  network.knobs.lose = (_from, _to, frame) => typeOf(frame) === 'Gossip' && ring.random.chance(lossRate)
  for (const tab of ring.tabs) {
    const { gossip } = nodeOf(tab)
    if (told) Reflect.deleteProperty(gossip, 'spread')
    else gossip.spread = () => {}
  }
  const rounds: number[] = []
  for (let change = 0; change < changes; change++) {
    const name = `name ${time.now}`
    const origin = ring.random.pick(ring.tabs)
    nodeOf(origin).membership.declare({ name })
    const start = time.now
    const unaware = new Set<Tab>(ring.tabs)
    const isEverywhere = () => {
      for (const tab of unaware) if (nodeOf(tab).membership.get(origin.id)?.name === name) unaware.delete(tab)
      return unaware.size === 0
    }
    await time.until('all to know', isEverywhere, 60 * ROUND_MS, STEP_MS)
    rounds.push((time.now - start) / ROUND_MS)
    // The next change comes at no particular moment of a round.
    await ring.pass(ring.random.between(0, ROUND_MS))
  }
  if (errors.length > 0) throw errors[0]
  return rounds
}
