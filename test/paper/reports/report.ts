/** One experiment of the paper, as it came out here. */
import type { Series } from './plot.js'

export interface Report {
  /** File name of its plot, without an ending. */
  name: string
  title: string
  /** What the paper measured. */
  paper: string
  /** Our numbers: a table as Markdown, or sentences. */
  ours: string
  /** What may be compared with the paper’s numbers, and what may not. */
  comparable: string
  plot: { xLabel: string; yLabel: string; logX?: boolean; logY?: boolean; bars?: boolean; series: Series[] }
}

/** A Markdown table. */
export function table(head: string[], rows: (string | number)[][]): string {
  const line = (cells: (string | number)[]) => `| ${cells.join(' | ')} |`
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n')
}
