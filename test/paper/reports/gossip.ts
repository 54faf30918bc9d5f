/** §4.8.1: in how many rounds of gossip a change of membership is everywhere, in the production core, beside the reference (docs/simulator.md, Calibration (e)) and the bound. */
import { EXPECTED_ROUNDS, boundOf, roundsWithoutStep, spreadOf } from '../../sim/calibration/gossip.js'
import { measuredRounds, openQuietRing } from '../../sim/calibration/ring-gossip.js'
import { SeededRandom } from '../../sim/random.js'
import { type Report, experiment, table } from './report.js'

/** The 99th percentile of a hundred changes is the second highest; of a hundred tabs, few changes take long enough. */
const CHANGES: Record<number, number> = { 10: 300, 30: 150, 100: 20 }
const SIZES = [10, 30, 100]
const DRAWS = 20_000

interface Outcome {
  tabs: number
  /** By loss. */
  rounds: { lossRate: number; told: boolean; rounds: number[] }[]
}

async function measure(tabs: number): Promise<Outcome> {
  const ring = await openQuietRing(tabs, 1987)
  const rounds: Outcome['rounds'] = []
  for (const [lossRate, told] of [
    [0, false],
    [0.3, false],
    [0, true],
  ] as const)
    rounds.push({ lossRate, told, rounds: await measuredRounds(ring, lossRate, CHANGES[tabs] ?? 0, told) })
  return { tabs, rounds }
}

export const gossip = experiment({
  parts: SIZES,
  measure,
  report(outcomes: Outcome[]): Report {
    const rows = outcomes.flatMap(({ tabs, rounds }) =>
      rounds
        .filter(({ told }) => !told)
        .map(({ lossRate, rounds: measured }) => {
          const random = new SeededRandom(tabs)
          const drawn = Array.from({ length: DRAWS }, () => roundsWithoutStep(tabs, lossRate, random))
          return {
            label: `${tabs} tabs${lossRate > 0 ? ', 30 % lost' : ''}`,
            lossRate,
            tabs,
            changes: measured.length,
            spread: spreadOf(measured),
            highest: Math.max(...measured),
            model: spreadOf(drawn),
            expected: EXPECTED_ROUNDS.find(({ nodes, loss }) => nodes === tabs && loss === lossRate),
          }
        }),
    )
    const told = outcomes.map(({ tabs, rounds }) => ({
      tabs,
      spread: spreadOf(rounds.find((each) => each.told)?.rounds ?? []),
    }))
    const late = rows.filter(({ tabs, highest }) => highest > boundOf(tabs))
    const above = rows.filter(({ spread, expected }) => expected && spread.median > expected.median)
    return {
      name: 'section-4.8.1-gossip',
      title: '§4.8.1: rounds of gossip until a change is everywhere',
      paper:
        'each node exchanges membership with a random peer every second, and all views become one eventually; no numbers are given. The reference (docs/simulator.md, Calibration (e)) is a ' +
        'model with rounds in step; the bound, 2·log2(S) + 4 rounds, is tabring’s own.',
      ours: [
        table(
          [
            'tabs',
            'exchanges lost',
            'changes',
            'median',
            'p99',
            'highest',
            'model without step: median, p99',
            'reference, in step: median, p99',
            'bound',
          ],
          rows.map(({ tabs, lossRate, changes, spread, highest, model, expected }) => [
            tabs,
            `${100 * lossRate} %`,
            changes,
            spread.median.toFixed(1),
            changes < 100 ? '–' : spread.p99.toFixed(1),
            highest.toFixed(1),
            `${model.median.toFixed(1)}, ${model.p99.toFixed(1)}`,
            `${expected?.median}, ${expected?.p99}`,
            boundOf(tabs).toFixed(1),
          ]),
        ),
        `In production a node also tells a change to two others at once: then the median without loss is ` +
          `${told.map(({ tabs, spread }) => `${spread.median.toFixed(1)} with ${tabs} tabs`).join(', ')}.`,
      ].join('\n\n'),
      comparable:
        `The bound, which ${late.length === 0 ? 'no change exceeded' : 'does not hold'}, and that loss costs rounds, not changes. The reference as an upper ` +
        `estimate: ${above.length === 0 ? 'no median is above it' : `the medians of ${above.map(({ label }) => label).join('; ')} are above it`}. It lets a node pass on in a round only what it ` +
        'knew before the round; tabring’s nodes keep no step and pass on what they have just heard. The model without step is that and nothing else.',
      plot: {
        xLabel: 'tabs',
        yLabel: 'rounds',
        bars: true,
        series: [
          { name: 'median', points: rows.map(({ label, spread }) => [label, spread.median]) },
          { name: 'highest', points: rows.map(({ label, highest }) => [label, highest]) },
          {
            name: 'reference, median',
            points: rows.map(({ label, expected }) => [label, expected?.median ?? 0]),
            reference: true,
          },
          {
            name: 'reference, p99',
            points: rows.map(({ label, expected }) => [label, expected?.p99 ?? 0]),
            reference: true,
          },
          { name: 'bound', points: rows.map(({ label, tabs }) => [label, boundOf(tabs)]), reference: true },
        ],
      },
      summary: rows.map(({ label, spread, highest, expected, tabs }) => ({
        what: `median / highest, ${label}`,
        expected: `${expected?.median} / ≤ ${boundOf(tabs).toFixed(1)} (reference, bound)`,
        here: `${spread.median.toFixed(1)} / ${highest.toFixed(1)}`,
      })),
      missed: [
        ...late.map(
          ({ label, highest, tabs }) => `${label}: ${highest} rounds, the bound is ${boundOf(tabs).toFixed(1)}`,
        ),
        ...rows
          .filter(({ spread, expected }) => expected && spread.median > expected.median + 1)
          .map(
            ({ label, spread, expected }) =>
              `${label}: a median of ${spread.median}, the reference has ${expected?.median}`,
          ),
      ],
    }
  },
})
