/**
 * `npm run paper`: the paper’s experiments, each beside the paper’s numbers; text and plots go to out/paper. Its exit code is 1 when something that
 * a report claims does not hold. `npm run paper -- staleness gossip` runs only these.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { inWorkers } from '../../sim/pool.js'
import { type Job, experiments } from './experiments.js'
import { drawPlot } from './plot.js'
import { type Report, table } from './report.js'

const outDir = 'out/paper'
const chosen = process.argv.slice(2)
for (const name of chosen)
  if (!experiments[name])
    throw new Error(`no experiment ${name}: there are ${Object.keys(experiments).sort().join(', ')}`)
const names = chosen.length > 0 ? chosen : Object.keys(experiments)
const start = performance.now()
const results = new Map<Job, unknown>()
const jobs = names.flatMap((name) => (experiments[name]?.parts ?? []).map((part): Job => ({ experiment: name, part })))
await inWorkers<Job, unknown>(join(import.meta.dirname, 'worker.js'), jobs, (result, job) => {
  results.set(job, result)
  console.error(
    `${results.size} of ${jobs.length} parts, ${seconds()} s: ${job.experiment} ${JSON.stringify(job.part)}`,
  )
})

mkdirSync(outDir, { recursive: true })
const parts = ['# The paper’s experiments, here\n']
const reports = names.map((name) => {
  const own = jobs.filter(({ experiment }) => experiment === name)
  return experiments[name]?.report(own.map((job) => results.get(job))) as Report
})
for (const report of reports) {
  writeFileSync(`${outDir}/${report.name}.svg`, drawPlot(report))
  parts.push(
    [
      `## ${report.title}`,
      `**The paper:** ${report.paper}`,
      `**Here:**\n\n${report.ours}`,
      `**Comparable:** ${report.comparable}`,
      `![${report.title}](${report.name}.svg)\n`,
    ].join('\n\n'),
  )
}
const rows = reports.flatMap(({ title, summary }) =>
  summary.map(({ what, expected, here }) => [`${title.split(':')[0]}: ${what}`, expected, here]),
)
const missed = reports.flatMap(({ title, missed = [] }) => missed.map((what) => `${title}: ${what}`))
parts.push(
  [
    '## Summary',
    table(['measured', 'paper’s number, or whose', 'here'], rows),
    missed.length === 0
      ? 'All that the reports claim holds.'
      : `Does not hold:\n\n${missed.map((what) => `- ${what}`).join('\n')}`,
  ].join('\n\n'),
)
console.log(parts.join('\n\n'))
writeFileSync(`${outDir}/report.md`, `${parts.join('\n\n')}\n`)
console.log(`\nwritten to ${outDir}/report.md, with a plot for each; ${seconds()} s`)
if (missed.length > 0) process.exitCode = 1

function seconds(): string {
  return ((performance.now() - start) / 1000).toFixed(0)
}
