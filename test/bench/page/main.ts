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

const bench = { Floor, oneByOne, openAndReadOne, pipelined, tabring, value }
export type Bench = typeof bench
Object.assign(window, { bench })
