/** Draws a report’s plot as SVG, with ECharts, which needs no browser for that. */
import { BarChart, LineChart, ScatterChart } from 'echarts/charts'
import { GridComponent, LegendComponent, TitleComponent } from 'echarts/components'
import { init, use } from 'echarts/core'
import { SVGRenderer } from 'echarts/renderers'
import type { Report } from './report.js'

use([LineChart, BarChart, ScatterChart, GridComponent, LegendComponent, TitleComponent, SVGRenderer])

export interface Series {
  name: string
  points: [x: number | string, y: number][]
  /** The paper’s, a model’s, or a bound: a dashed line, or a mark across the bars. */
  reference?: boolean
}

const WIDTH = 860
const HEIGHT = 480
const GRID = { top: 50, bottom: 110, left: 80, right: 30 }
/** Apart from each other also for those who see few colours: what is ours, and what it is compared with. */
const COLOURS = ['#1f6fb4', '#e07b00', '#2a9d4a', '#7a4fb5']
const REFERENCE_COLOURS = ['#111', '#c2185b', '#777']

export function drawPlot({ title, plot }: Report): string {
  const chart = init(null, null, { renderer: 'svg', ssr: true, width: WIDTH, height: HEIGHT })
  const { xLabel, yLabel, logX = false, logY = false, bars = false, series } = plot
  const categories = new Set(series.flatMap(({ points }) => points.map(([x]) => x))).size
  const markWidth = (0.8 * (WIDTH - GRID.left - GRID.right)) / categories
  const ours = series.filter(({ reference }) => !reference)
  const references = series.filter(({ reference }) => reference)
  chart.setOption({
    animation: false,
    backgroundColor: '#fff',
    title: { text: title, left: 'center', textStyle: { fontSize: 15 } },
    legend: { bottom: 4, itemGap: 14 },
    grid: GRID,
    xAxis: {
      type: bars ? 'category' : logX ? 'log' : 'value',
      name: xLabel,
      nameLocation: 'middle',
      nameGap: bars && categories > 5 ? 44 : 28,
      axisLabel: bars ? { interval: 0, width: markWidth * 1.2, overflow: 'break', fontSize: 11 } : {},
      ...(!bars &&
        bounds(
          series.flatMap(({ points }) => points.map(([x]) => Number(x))),
          logX,
        )),
    },
    yAxis: {
      type: logY ? 'log' : 'value',
      name: yLabel,
      nameLocation: 'middle',
      nameGap: 54,
      ...(logY &&
        bounds(
          series.flatMap(({ points }) => points.map(([, y]) => y)),
          true,
        )),
    },
    series: [
      ...ours.map(({ name, points }, i) => ({
        type: bars ? 'bar' : 'line',
        name,
        data: points,
        symbolSize: 6,
        color: COLOURS[i % COLOURS.length],
      })),
      ...references.map(({ name, points }, i) => {
        const color = REFERENCE_COLOURS[i % REFERENCE_COLOURS.length]
        return bars
          ? { type: 'scatter', name, data: points, symbol: 'rect', symbolSize: [markWidth, 3], color, z: 5 }
          : { type: 'line', name, data: points, symbolSize: 4, color, lineStyle: { type: 'dashed' } }
      }),
    ],
  })
  const svg = chart.renderToSVGString()
  chart.dispose()
  return svg
}

/** Of an axis: all points with little room around. A logarithmic one would begin and end at powers of ten, or at 0. */
function bounds(values: readonly number[], log: boolean): { min?: number; max?: number } {
  if (!log) return {}
  const positive = values.filter((value) => value > 0)
  return { min: round(Math.min(...positive) / 1.25), max: round(Math.max(...positive) * 1.25) }
}

function round(value: number): number {
  return Number(value.toPrecision(2))
}
