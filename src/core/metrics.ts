/** Counters and latency histograms of one node, as plain data. */

/** Upper bounds of the buckets in milliseconds: each 1.5 times the former, from 0.1 ms to about a minute. */
const BOUNDS = Array.from({ length: 34 }, (_, i) => 0.1 * 1.5 ** i)

export interface HistogramSummary {
  count: number
  meanMs: number
  p50Ms: number
  p99Ms: number
  p999Ms: number
  maxMs: number
}

class Histogram {
  private readonly buckets = new Array<number>(BOUNDS.length + 1).fill(0)
  private count = 0
  private sum = 0
  private max = 0

  record(ms: number): void {
    const index = BOUNDS.findIndex((bound) => ms <= bound)
    const bucket = index < 0 ? BOUNDS.length : index
    this.buckets[bucket] = (this.buckets[bucket] ?? 0) + 1
    this.count++
    this.sum += ms
    this.max = Math.max(this.max, ms)
  }

  summary(): HistogramSummary {
    return {
      count: this.count,
      meanMs: this.count === 0 ? 0 : this.sum / this.count,
      p50Ms: this.quantile(0.5),
      p99Ms: this.quantile(0.99),
      p999Ms: this.quantile(0.999),
      maxMs: this.max,
    }
  }

  /** The upper bound of the bucket in which the quantile lies. */
  private quantile(q: number): number {
    let seen = 0
    for (let i = 0; i < this.buckets.length; i++) {
      seen += this.buckets[i] ?? 0
      if (seen >= q * this.count && seen > 0) return Math.min(BOUNDS[i] ?? this.max, this.max)
    }
    return 0
  }
}

export interface MetricsSnapshot {
  counters: Record<string, number>
  latency: Record<string, HistogramSummary>
}

export class Metrics {
  private readonly counters = new Map<string, number>()
  private readonly histograms = new Map<string, Histogram>()

  count(name: string, by = 1): void {
    this.counters.set(name, (this.counters.get(name) ?? 0) + by)
  }

  latency(name: string, ms: number): void {
    const histogram = this.histograms.get(name) ?? new Histogram()
    this.histograms.set(name, histogram)
    histogram.record(ms)
  }

  snapshot(): MetricsSnapshot {
    return {
      counters: Object.fromEntries(this.counters),
      latency: Object.fromEntries([...this.histograms].map(([name, histogram]) => [name, histogram.summary()])),
    }
  }
}
