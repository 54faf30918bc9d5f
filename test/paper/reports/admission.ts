/** §6.5: foreground operations while a home fetches everything anew, with the background budget and without. */
import { Background } from '../../../src/core/background.js'
import { Ring, type Tab, nodeOf } from '../../sim/ring.js'
import { type Report, table } from './report.js'
import { ms, quantile } from './statistics.js'

const KEYS = 1500
const PROBES = 600
const VALUE = 'x'.repeat(2000)

interface Outcome {
  idle: number[]
  flooded: number[]
  /** Keys at the empty home after the probes. */
  progress: number
}

async function measure(budget: boolean): Promise<Outcome> {
  const { turn } = Background.prototype
  if (!budget) Background.prototype.turn = () => Promise.resolve()
  try {
    const ring = new Ring({
      seed: 65,
      tuning: { partitions: 64, hintedHandoff: false },
      knobs: { diskMinMs: 0.5, diskMaxMs: 4 },
    })
    await ring.open(4)
    const [empty, probed] = ring.tabs as [Tab, Tab]
    const keys = Array.from({ length: KEYS }, (_, i) => `k${i}`)
    for (const key of keys) await ring.client(probed).put(key, VALUE, { w: 3 })
    await ring.pass(5000)
    // At the very tab that will be flooded: its disk is what foreground and background share.
    const probe = (i: number) => ring.client(empty).get(keys[(i * 37) % KEYS] as string)
    const idle = await ring.latencies(PROBES, probe)
    ring.crash(empty)
    ring.world.changeDisk(empty, 'loses its records', () => {
      empty.disk.records.clear()
      empty.disk.groups.clear()
    })
    await ring.reopen(empty)
    await ring.until(
      'the flood to begin',
      () => empty.disk.records.size > 0 && nodeOf(empty).peers.reachable().length === 3,
    )
    const flooded = await ring.latencies(PROBES, probe)
    return { idle, flooded, progress: empty.disk.records.size }
  } finally {
    Background.prototype.turn = turn
  }
}

export async function admission(): Promise<Report> {
  const [on, off] = [await measure(true), await measure(false)]
  const row = (name: string, sorted: number[], progress: number | string) => [
    name,
    ms(quantile(sorted, 0.5)),
    ms(quantile(sorted, 0.99)),
    progress,
  ]
  const parts = [0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99]
  const curve = (sorted: number[]) => parts.map((part): [number, number] => [part * 100, quantile(sorted, part)])
  return {
    name: 'section-6.5-admission',
    title: '§6.5: foreground latency under background work',
    paper:
      'background tasks get slices of time from a controller that keeps the 99th percentile of database reads, over the last 60 seconds, under a threshold such as 50 ms; no measured comparison is given.',
    ours: table(
      ['gets', 'p50', 'p99', 'keys fetched meanwhile'],
      [
        row('nothing else going on', on.idle, '–'),
        row('a home fetches everything, with the budget', on.flooded, on.progress),
        row('the same without it', off.flooded, off.progress),
      ],
    ),
    comparable: `Nothing can be claimed from it but that work goes on and users are answered: one filling per row, and single fillings differ from each other by more than the budget changes. 4 simulated tabs, ${KEYS} keys of 2 kB, disks that take one operation at a time for 0.5 to 4 ms, whatever its size: a page of many records costs no more than one record, so there is little for a budget to hold back. tabring has no threshold in milliseconds; turns of background work come the further apart the slower foreground operations become, and at least every 100 ms.`,
    plot: {
      xLabel: 'percentile of gets',
      yLabel: 'ms',
      series: [
        { name: 'idle', points: curve(on.idle), reference: true },
        { name: 'with the budget', points: curve(on.flooded) },
        { name: 'without it', points: curve(off.flooded) },
      ],
    },
  }
}
