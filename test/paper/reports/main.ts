/** `npm run paper`: the paper’s experiments, each beside the paper’s numbers; text and plots go to out/paper. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { admission } from './admission.js'
import { buffering } from './buffering.js'
import { coordination } from './coordination.js'
import { imbalance } from './imbalance.js'
import { loadBalance } from './load-balance.js'
import { drawPlot } from './plot.js'
import type { Report } from './report.js'
import { staleness } from './staleness.js'
import { versions } from './versions.js'

const experiments: (() => Report | Promise<Report>)[] = [
  loadBalance,
  buffering,
  imbalance,
  versions,
  coordination,
  admission,
  staleness,
]

const outDir = 'out/paper'
mkdirSync(outDir, { recursive: true })
const parts = ['# The paper’s experiments, here\n']
for (const experiment of experiments) {
  const report = await experiment()
  writeFileSync(`${outDir}/${report.name}.svg`, drawPlot(report))
  const text = [
    `## ${report.title}`,
    `**The paper:** ${report.paper}`,
    `**Here:**\n\n${report.ours}`,
    `**Comparable:** ${report.comparable}`,
    `![${report.title}](${report.name}.svg)\n`,
  ].join('\n\n')
  console.log(text)
  parts.push(text)
}
writeFileSync(`${outDir}/report.md`, parts.join('\n\n'))
console.log(`written to ${outDir}/report.md, with a plot for each`)
