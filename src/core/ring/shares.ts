/**
 * How many homes each node should have: its fair share, by capacity, within what distinct devices allow (§4.2: a node's load follows its
 * capacity; §4.3: the homes of a key are distinct physical nodes). A real-valued target; the placement rounds it up to a limit.
 */
import type { DeviceId } from '../ids.js'
import { minusLog } from './scores.js'

/** What the shares depend on. */
interface Claim {
  device: DeviceId
  capacity: number
}

/**
 * The target of every member, in homes, in the order given; they sum to n × Q. No node gets more than Q (it can be home of a partition
 * once). With n devices or more no device gets more than Q either; with fewer, every device gets at least Q, as each
 * partition has a home on each device. What is above a bound is spread over the others in proportion to their capacities.
 */
export function fairShares(members: readonly Claim[], Q: number, n: number): number[] {
  const devices = new Map<DeviceId, number[]>()
  members.forEach((member, index) => {
    const tabs = devices.get(member.device)
    if (tabs) tabs.push(index)
    else devices.set(member.device, [index])
  })
  const groups = [...devices.values()].map((tabs) => tabs.map((index) => members[index]?.capacity ?? 0))
  const enough = groups.length >= n
  const totals = fill(
    groups.map(sum),
    n * Q,
    enough ? 0 : Q,
    groups.map((tabs) => (enough ? Q : tabs.length * Q)),
  )
  const shares = new Array<number>(members.length).fill(0)
  let at = 0
  for (const tabs of devices.values()) {
    const inside = fill(
      groups[at] ?? [],
      totals[at] ?? 0,
      0,
      tabs.map(() => Q),
    )
    tabs.forEach((index, i) => {
      shares[index] = inside[i] ?? 0
    })
    at++
  }
  return shares
}

/** A node that ought to be home of nearly everything is given this chance, so that its rate stays finite. */
const ALMOST_ALWAYS = 0.98

/**
 * The rate of every member's exponential costs, such that the cheapest distinct devices come out about as the shares ask. Rates as the
 * capacities would starve tabs that share a device, and big ones, because a partition takes each only once; the limits would then
 * correct a lot, and every correction moves when members change.
 *
 * Of exponential costs below a common threshold 1 - e^(-rate) get in, so rate = -ln(1 - share / Q); for a whole device likewise, and its
 * cheapest tab has the sum of its tabs' rates. Taking the device's view alone makes the rates jump when a tab of it comes or
 * goes, ignoring it needs more corrections; the geometric mean of both was measured to move least.
 */
export function ratesFor(members: readonly Claim[], shares: readonly number[], Q: number, n: number): number[] {
  const ofDevice = new Map<DeviceId, number>()
  members.forEach(({ device }, i) => {
    ofDevice.set(device, (ofDevice.get(device) ?? 0) + (shares[i] ?? 0))
  })
  const rate = (share: number): number => minusLog(1 - Math.min(ALMOST_ALWAYS, share / Q))
  return members.map(({ device }, i) => {
    const alone = shares[i] ?? 0
    const shared = ofDevice.size >= n ? (ofDevice.get(device) ?? alone) : alone
    return Math.sqrt(rate(alone) * ((rate(shared) * alone) / shared))
  })
}

/** Water-filling: parts in proportion to `weights`, each between `low` and its bound in `high`, that sum to `total`. */
function fill(weights: readonly number[], total: number, low: number, high: readonly number[]): number[] {
  const level = (water: number): number[] =>
    weights.map((weight, i) => Math.min(high[i] ?? 0, Math.max(low, water * weight)))
  let dry = 0
  let flooded = (total + 1) / Math.min(...weights)
  // Sixty halvings are exact to the last bits, and the same on every engine.
  for (let step = 0; step < 60; step++) {
    const middle = (dry + flooded) / 2
    if (sum(level(middle)) < total) dry = middle
    else flooded = middle
  }
  return level(flooded)
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0)
}
