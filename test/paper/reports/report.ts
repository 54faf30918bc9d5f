/** One experiment of the paper: its parts, which are measured side by side on all cores, and how they came out here. */
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
  /** The few numbers that the end of `npm run paper` repeats. */
  summary: Finding[]
  /** What had to hold and does not: `npm run paper` then fails. */
  missed?: string[]
}

export interface Finding {
  what: string
  /** The paper’s number or, where it has none, whose it is. */
  expected: string
  here: string
}

/** Parts and results go to worker threads and come back: plain data. */
export interface Experiment {
  parts: unknown[]
  measure(part: unknown): unknown
  report(results: unknown[]): Report
}

/** `report` gets the results in the order of `parts`. */
export function experiment<Part, Result>(of: {
  parts: Part[]
  measure(part: Part): Result | Promise<Result>
  report(results: Result[]): Report
}): Experiment {
  return of as Experiment
}

/** A Markdown table. */
export function table(head: string[], rows: (string | number)[][]): string {
  const line = (cells: (string | number)[]) => `| ${cells.join(' | ')} |`
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n')
}
