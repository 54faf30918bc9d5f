/** Fig. 5: what a put costs over a day when every copy is flushed, when the coordinator’s is, and when none is; and what a power cut takes. */

import { EMPTY_CONTEXT } from '../../../src/core/versions/context.js'
import { SimulatedStorage } from '../../sim/disk.js'
import { Ring, named, nodeOf, replicaAt } from '../../sim/ring.js'
import { type Report, experiment, table } from './report.js'
import { ascending, logNormal, mean, ms, quantile, untilNext } from './statistics.js'

const MODES = ['all', 'strict', 'relaxed'] as const
type Mode = (typeof MODES)[number]
const TABS = 7
/** Hours of a day, in each of which so many puts begin. */
const TICKS = 24
const PUTS_PER_TICK = 2000
/** Puts per second at the quietest and the busiest hour. */
const [QUIET, BUSY] = [20, 100]
const CRASHES = 60
/** A flush waits for the platter or the cell; handing to the operating system is a copy in memory. */
const FLUSH = { median: 8, sigma: 1 }
const COPY = { median: 0.3, sigma: 0.5 }
/** The paper’s ‘factor of 5 during peak traffic’. */
const FACTOR = 5

interface Outcome {
  mode: Mode
  /** Latencies by the hour in which the put began. */
  ticks: number[][]
  lost: number
}

async function openRing(seed: number): Promise<Ring> {
  let flushing = false
  const { commit } = SimulatedStorage.prototype
  const ring: Ring = new Ring({
    seed,
    knobs: {
      diskTime: () => {
        const { median, sigma } = flushing ? FLUSH : COPY
        return logNormal(ring.random, median, sigma)
      },
    },
  })
  // The disk's time is drawn when an operation is handed to it: by then it is known whether it flushes.
  SimulatedStorage.prototype.commit = function (batch, durability) {
    flushing = durability === 'strict'
    const result = commit.call(this, batch, durability)
    flushing = false
    return result
  }
  await ring.open(TABS)
  return ring
}

async function measure(mode: Mode): Promise<Outcome> {
  const { commit } = SimulatedStorage.prototype
  try {
    const ticks = await day(await openRing(5), mode)
    SimulatedStorage.prototype.commit = commit
    return { mode, ticks, lost: await lostIn(await openRing(6), mode) }
  } finally {
    SimulatedStorage.prototype.commit = commit
  }
}

/** Puts of new keys at random tabs, as a Poisson process with the rate of the hour: one that is slow keeps none from starting. */
async function day(ring: Ring, durability: Mode): Promise<number[][]> {
  const { time } = ring.world
  const ticks: number[][] = Array.from({ length: TICKS }, () => [])
  const puts = TICKS * PUTS_PER_TICK
  let started = 0
  let ended = 0
  const next = () => {
    if (started === puts) return
    const tick = Math.floor(started / PUTS_PER_TICK)
    const start = time.now
    const written = { value: new Uint8Array(100), expiresAt: 0 }
    const options = { w: 2, strictQuorum: false, durability }
    const { outcome } = nodeOf(ring.random.pick(ring.tabs)).coordinator.write(
      named(`k${started++}`),
      written,
      EMPTY_CONTEXT,
      options,
    )
    void outcome.then(() => {
      ticks[tick]?.push(time.now - start)
      ended++
    })
    time.at(untilNext(ring.random, 1000 / rateOf(tick)), next)
  }
  next()
  await ring.until('all puts', () => ended === puts, 1e8)
  return ticks
}

/** Puts per second in that hour: quiet at midnight, busy at noon. */
function rateOf(tick: number): number {
  return QUIET + ((BUSY - QUIET) * (1 - Math.cos((2 * Math.PI * tick) / TICKS))) / 2
}

/** Of so many puts with all three homes cut from power right after their acknowledgement, how many are nowhere. */
async function lostIn(ring: Ring, durability: Mode): Promise<number> {
  let lost = 0
  for (let i = 0; i < CRASHES; i++) {
    const key = `crash ${i}`
    const homes = ring.homes(key)
    await ring.client(homes[0]).put(key, 'value', { w: 2, durability })
    for (const home of homes) ring.world.cutPower(home)
    if (ring.tabs.every((tab) => replicaAt(tab, key).length === 0)) lost++
    await ring.reopen(...homes)
    await ring.until('one ring', () => ring.isWhole())
  }
  return lost
}

/** The busiest quarter of the day. */
const PEAK = Array.from({ length: TICKS / 4 }, (_, i) => (3 * TICKS) / 8 + i)

export const buffering = experiment({
  parts: [...MODES],
  measure,
  report(outcomes: Outcome[]): Report {
    const tail = (values: readonly number[]) => quantile(ascending(values), 0.999)
    const modes = outcomes.map(({ mode, ticks, lost }) => ({
      mode,
      lost,
      all: ascending(ticks.flat()),
      day: tail(ticks.flat()),
      peak: tail(PEAK.flatMap((tick) => ticks[tick] ?? [])),
      hours: ticks.map((values, tick): [number, number] => [tick, tail(values)]),
    }))
    const [all, strict, relaxed] = modes as [(typeof modes)[0], (typeof modes)[0], (typeof modes)[0]]
    const ratio = (of: 'day' | 'peak', mode = relaxed) => all[of] / mode[of]
    const falls = all.day > strict.day && strict.day > relaxed.day
    const order = ascending(modes.map(({ day }) => day))
      .reverse()
      .map((day) => modes.find((mode) => mode.day === day)?.mode)
    const lossy = modes.filter(({ lost }) => lost > 0).map(({ mode }) => mode)
    const puts = TICKS * PUTS_PER_TICK
    return {
      name: 'figure-5-buffering',
      title: 'Fig. 5: durability against latency of puts',
      paper:
        'a buffer of 1,000 objects in memory, with one of the N replicas writing durably, lowers the 99.9th percentile by a factor of ' +
        `${FACTOR} at peak and smooths it; a crash may lose what was only buffered.`,
      ours: [
        table(
          [
            'durability',
            'puts',
            'mean',
            'p99',
            'p99.9',
            'p99.9 in the busiest 6 h',
            'highest p99.9 of an hour',
            'lost when all homes lose power',
          ],
          modes.map(({ mode, all, day, peak, hours, lost }) => [
            mode,
            all.length,
            ms(mean(all)),
            ms(quantile(all, 0.99)),
            ms(day),
            ms(peak),
            ms(Math.max(...hours.map(([, value]) => value))),
            `${lost} of ${CRASHES}`,
          ]),
        ),
        `By p99.9 of the day: ${order.join(' > ')}. 'all' takes ${ratio('day').toFixed(1)} times as long as 'relaxed' over the day and ` +
          `${ratio('peak').toFixed(1)} times in the busiest quarter, and ${ratio('day', strict).toFixed(2)} and ${ratio('peak', strict).toFixed(2)} times as ` +
          `long as 'strict'; the paper’s factor is ${FACTOR}. ` +
          (lossy.length > 0
            ? `What was acknowledged got lost in ${lossy.join(' and ')} only.`
            : 'Nothing acknowledged got lost.'),
      ].join('\n\n'),
      comparable:
        `${falls ? 'The order of the three: the fewer copies are flushed before the answer, the shorter the tail' : 'Not the order of the three, which is not that of how much is flushed'}; ` +
        `and which of them can lose. Not the factor, which is what the disk model makes it (a flush log-normal around ${FLUSH.median} ms, a copy around ` +
        `${COPY.median} ms, one at a time) together with the load (${QUIET} puts a second at midnight, ${BUSY} at noon, at ${TABS} tabs). tabring has no buffer of ` +
        'its own: the operating system is the buffer of IndexedDB’s relaxed transactions, and closing or crashing a tab loses nothing of it, only a power cut ' +
        'does. The paper’s "one of N writes durably" is closest to durability strict, where the coordinator’s own copy is flushed: but its put waits for that ' +
        'flush, as the paper’s need not.',
      plot: {
        xLabel: `hour of ${PUTS_PER_TICK} puts`,
        yLabel: 'p99.9, ms',
        logY: true,
        series: [
          ...modes.map(({ mode, hours }) => ({ name: `durability: ${mode}`, points: hours })),
          {
            name: `'all' divided by the paper’s ${FACTOR}`,
            points: all.hours.map(([hour, value]): [number, number] => [hour, value / FACTOR]),
            reference: true,
          },
        ],
      },
      summary: [
        {
          what: 'p99.9 at peak, every copy flushed / none',
          expected: `a factor of ${FACTOR}`,
          here: `${ratio('peak').toFixed(1)} (${puts} puts each)`,
        },
        {
          what: 'acknowledged and lost in a power cut',
          expected: 'possible only when buffered',
          here: modes.map(({ mode, lost }) => `${mode} ${lost}/${CRASHES}`).join(', '),
        },
      ],
      missed: [
        ...(all.lost > 0 || strict.lost > 0 ? ['a flushed write got lost'] : []),
        ...(relaxed.lost === 0 ? ['no buffered write got lost: the power cuts cut nothing'] : []),
      ],
    }
  },
})
