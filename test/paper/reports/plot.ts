/** Draws a report’s plot as SVG, with ECharts, which needs no browser for that. */
import { BarChart, LineChart } from 'echarts/charts'
import { GridComponent, LegendComponent, TitleComponent } from 'echarts/components'
import { init, use } from 'echarts/core'
import { SVGRenderer } from 'echarts/renderers'
import type { Report } from './report.js'

use([LineChart, BarChart, GridComponent, LegendComponent, TitleComponent, SVGRenderer])

export interface Series {
  name: string
  points: [x: number | string, y: number][]
  /** Drawn dashed: the paper’s, or a bound. */
  reference?: boolean
}

const WIDTH = 760
const HEIGHT = 420

export function drawPlot({ title, plot }: Report): string {
  const chart = init(null, null, { renderer: 'svg', ssr: true, width: WIDTH, height: HEIGHT })
  const { xLabel, yLabel, logX = false, logY = false, bars = false, series } = plot
  chart.setOption({
    animation: false,
    backgroundColor: '#fff',
    title: { text: title, left: 'center', textStyle: { fontSize: 15 } },
    legend: { bottom: 0 },
    grid: { top: 50, bottom: 80, left: 70, right: 30 },
    xAxis: { type: bars ? 'category' : logX ? 'log' : 'value', name: xLabel, nameLocation: 'middle', nameGap: 28 },
    yAxis: { type: logY ? 'log' : 'value', name: yLabel, nameLocation: 'middle', nameGap: 48 },
    series: series.map(({ name, points, reference }) => ({
      type: bars ? 'bar' : 'line',
      name,
      data: points,
      symbolSize: 6,
      ...(reference && { lineStyle: { type: 'dashed' }, itemStyle: { opacity: 0.5 } }),
    })),
  })
  const svg = chart.renderToSVGString()
  chart.dispose()
  return svg
}
