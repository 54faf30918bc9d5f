/** §6.2, Fig. 6: how many nodes are out of balance, against load. A model of requests over the placement that tabring runs on. */
import type { DeviceId, NodeId } from '../../../src/core/ids.js'
import { type PlacementMember, placement } from '../../../src/core/ring/placement.js'
import { SeededRandom } from '../../sim/random.js'
import type { Series } from './plot.js'
import { type Report, experiment, table } from './report.js'

const S = 30
const Q = 1024
const N = 3
const ZIPF = 0.8
/** A node further off the mean than this is out of balance (§6.2). */
const TOLERANCE = 0.15
const PEAK = 2000
const LOADS = [200, 250, 350, 500, 700, 1000, 1400, PEAK]
const KEYS = [1000, 10_000, 100_000]
const NOISE_LOADS = [25, 50, 100, 200, 400]
/** What a normal distribution says of these, in %; requests are whole, so few of them deviate from it. */
const NORMAL = [45, 29, 13, 3.4, 0.3]
/** Rings, each with keys of its own, and windows on each of them. */
const RINGS = 5
const WINDOWS = 6

/** At a tenth of the peak a thousand keys are asked for, at the peak a hundred thousand. */
function activeKeys(requestsPerNode: number): number {
  return Math.round(1000 * (requestsPerNode / 200) ** 2)
}

export const imbalance = experiment({ parts: ['all'], measure: report, report: ([only]) => only as Report })

function report(): Report {
  const points = (keys: (load: number) => number): Series['points'] =>
    LOADS.map((load) => [load, percent(outOfBalance(load, keys(load)))])
  const growing = points(activeKeys)
  const fixed = KEYS.map((keys) => ({ name: `${keys / 1000} k keys at any load`, points: points(() => keys) }))
  const noise: Series['points'] = NOISE_LOADS.map((load) => [load, percent(samplingNoise(load))])
  const at = (load: number) => growing.find(([x]) => x === load)?.[1]
  return {
    name: 'imbalance',
    title: 'Fig. 6: nodes out of balance against load, S = 30, Q = 1024, N = 3',
    paper:
      'Fig. 6: about 20 % of the nodes are more than 15 % off the mean load at low load (an eighth of the peak), about 10 % at high load: ' +
      'at high load many popular keys are asked for, and these spread evenly.',
    ours: [
      table(
        [
          'requests per node and window',
          'active keys',
          'out of balance',
          ...KEYS.map((k) => `with ${k / 1000} k keys`),
        ],
        growing.map(([load, share], i) => [
          load,
          activeKeys(Number(load)),
          `${share} %`,
          ...fixed.map(({ points }) => `${points[i]?.[1]} %`),
        ]),
      ),
      'How many nodes seem out of balance although each is equally likely to be asked, only because a window holds few requests:',
      table(
        ['requests per node and window', 'seem out of balance', 'normal approximation'],
        noise.map(([load, share], i) => [load, `${share} %`, `${NORMAL[i]} %`]),
      ),
    ].join('\n\n'),
    comparable:
      'The direction, and that its cause is the number of keys in use: with as many keys at any load, load changes little. Not the ' +
      'percentages, which are higher here: the paper names neither its keys’ popularity nor the requests in its 30 minutes. Here ' +
      `keys follow Zipf ${ZIPF}, the number of active keys grows with the square of the load, and a request is served by any of its ${N} ` +
      'homes. Even of 100,000 such keys the most popular one gets 2 % of all requests, which alone is a fifth of the mean load at each ' +
      'of its homes. With fewer than about 120 requests per node and window the noise alone is above the paper’s 10 %: no such window says ' +
      'anything about placement.',
    plot: {
      xLabel: 'requests per node and window',
      yLabel: 'nodes out of balance, %',
      logX: true,
      series: [
        { name: 'active keys grow with load', points: growing },
        ...fixed,
        { name: 'noise alone', points: noise, reference: true },
        {
          name: 'paper',
          reference: true,
          points: [
            [PEAK / 8, 20],
            [PEAK, 10],
          ],
        },
      ],
    },
    summary: [
      {
        what: 'nodes out of balance, at an eighth of the peak → at the peak',
        expected: '20 % → 10 %',
        here: `${at(PEAK / 8)} % → ${at(PEAK)} %`,
      },
    ],
    missed: Number(at(PEAK)) < Number(at(PEAK / 8)) ? [] : ['imbalance does not fall with load'],
  }
}

/** The share of nodes whose load is too far off the mean. */
export function outOfBalance(requestsPerNode: number, keys: number): number {
  const chooseKey = zipf(keys)
  let off = 0
  for (let seed = 1; seed <= RINGS; seed++) {
    const random = new SeededRandom(seed * 7919)
    const homes = homesOfPartitions(random)
    const partitionOf = Uint16Array.from({ length: keys }, () => random.below(Q))
    for (let window = 0; window < WINDOWS; window++)
      off += offIn(requestsPerNode, () => random.pick(homes[partitionOf[chooseKey(random)] ?? 0] ?? []))
  }
  return off / (RINGS * WINDOWS * S)
}

/** The same with nodes that are all equally likely to be asked. */
export function samplingNoise(requestsPerNode: number): number {
  const random = new SeededRandom(2007)
  const windows = 1000
  let off = 0
  for (let i = 0; i < windows; i++) off += offIn(requestsPerNode, () => random.below(S))
  return off / (windows * S)
}

/** How many nodes are out of balance after a window of requests, each of which is served by a node of `choose`. */
function offIn(requestsPerNode: number, choose: () => number): number {
  const loads = new Array<number>(S).fill(0)
  for (let i = 0; i < requestsPerNode * S; i++) {
    const node = choose()
    loads[node] = (loads[node] ?? 0) + 1
  }
  return loads.filter((load) => Math.abs(load / requestsPerNode - 1) > TOLERANCE).length
}

function homesOfPartitions(random: SeededRandom): number[][] {
  const members = Array.from({ length: S }, (): PlacementMember => {
    const name = random.id(10)
    return { node: name as NodeId, device: name as DeviceId, capacity: 1 }
  })
  const positions = new Map(members.map(({ node }, i) => [node, i]))
  const ring = placement(members, Q, N)
  return Array.from({ length: Q }, (_, index) => ring.homes(index).map((node) => positions.get(node) ?? 0))
}

/** Draws the rank of a key, 0 being the most popular. */
function zipf(keys: number): (random: SeededRandom) => number {
  const upTo = new Float64Array(keys)
  let sum = 0
  for (let rank = 0; rank < keys; rank++) {
    sum += (rank + 1) ** -ZIPF
    upTo[rank] = sum
  }
  return (random) => {
    const at = random.next() * sum
    let low = 0
    let high = keys - 1
    while (low < high) {
      const middle = (low + high) >> 1
      if ((upTo[middle] ?? 0) > at) high = middle
      else low = middle + 1
    }
    return low
  }
}

function percent(share: number): number {
  return Math.round(share * 1000) / 10
}
