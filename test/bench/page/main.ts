/** What the benchmark finds in a tab: tabring, the floor, and loops that time both in the same way. */
import { openDB } from 'idb'
import * as tabring from '../../../src/index.js'
import { Floor } from './floor.js'

export interface Timings {
  p50: number
  p99: number
}

const value = () => crypto.getRandomValues(new Uint8Array(1024))

/** Times `count` operations one after the other, in milliseconds. */
async function oneByOne(count: number, operation: (i: number) => Promise<unknown>): Promise<Timings> {
  const times: number[] = []
  for (let i = 0; i < count; i++) {
    const start = performance.now()
    await operation(i)
    times.push(performance.now() - start)
  }
  times.sort((a, b) => a - b)
  return { p50: times[Math.floor(count / 2)] as number, p99: times[Math.floor(count * 0.99)] as number }
}

/** Operations a second with `width` of them on the way at any time. */
async function pipelined(count: number, width: number, operation: (i: number) => Promise<unknown>): Promise<number> {
  let next = 0
  const start = performance.now()
  const lane = async () => {
    while (next < count) await operation(next++)
  }
  await Promise.all(Array.from({ length: width }, lane))
  return (1000 * count) / (performance.now() - start)
}

/** The least that opening any database costs: the connection, and the first read. */
async function openAndReadOne(name: string): Promise<number> {
  const start = performance.now()
  const db = await openDB(name)
  await db.get('records', 0)
  const time = performance.now() - start
  db.close()
  return time
}

/** Tasks of this page that took over 50 ms, as the browser counts them, and the longest in ms: 0 where there was none. */
export interface LongTasks {
  count: number
  longest: number
}

let durations: number[] = []
const observer = new PerformanceObserver((list) => durations.push(...list.getEntries().map(({ duration }) => duration)))
observer.observe({ type: 'longtask' })

/** Those since the last call. A task is known once it has ended, so not the one that calls this. */
async function takeLongTasks(): Promise<LongTasks> {
  await new Promise((resolve) => setTimeout(resolve))
  durations.push(...observer.takeRecords().map(({ duration }) => duration))
  const taken = durations
  durations = []
  return { count: taken.length, longest: Math.max(0, ...taken) }
}

const bench = { Floor, oneByOne, openAndReadOne, pipelined, takeLongTasks, tabring, value }
export type Bench = typeof bench
Object.assign(window, { bench })
