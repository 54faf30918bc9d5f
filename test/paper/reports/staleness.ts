/** How stale partial quorums are, by the delays that PBS fitted to production systems, on a ring of the production core. */
import { measuredVisibility } from '../../sim/calibration/ring-visibility.js'
import { EXPECTED } from '../../sim/calibration/staleness.js'
import { type Report, table } from './report.js'

const TRIALS = 40_000

export async function staleness(): Promise<Report> {
  const rows: (string | number)[][] = []
  const measuredPoints: [string, number][] = []
  const modelPoints: [string, number][] = []
  for (const { name, wars, quorum, times, expected } of EXPECTED) {
    const measured = await measuredVisibility(wars, quorum, times, TRIALS, 2012)
    times.forEach((time, t) => {
      const [here, model] = [100 * (measured[t] ?? 0), expected[t] ?? 0]
      rows.push([name, quorum.r, quorum.w, time, here.toFixed(2), model, (here - model).toFixed(2)])
      const label = `${name} R=${quorum.r} ${time} ms`
      measuredPoints.push([label, here])
      modelPoints.push([label, model])
    })
  }
  return {
    name: 'pbs-staleness',
    title: 'Staleness of partial quorums (PBS)',
    paper:
      'not in the Dynamo paper, which gives no numbers for it: Bailis et al. (VLDB 2012) model it by four delays, fitted to LinkedIn and Yammer. The model’s column is of an independent implementation.',
    ours: table(['delays', 'R', 'W', 'ms after the write', 'reads that see it, %', 'model, %', 'difference'], rows),
    comparable: `All of it, within what ${TRIALS} trials leave to chance (at most half a point at two standard deviations). Hedged reads, retries and read repair are off, since the model has none; with them on, reads are less stale.`,
    plot: {
      xLabel: 'delays and time after the acknowledgement',
      yLabel: 'reads that see the write, %',
      bars: true,
      series: [
        { name: 'tabring', points: measuredPoints },
        { name: 'model', points: modelPoints, reference: true },
      ],
    },
  }
}
