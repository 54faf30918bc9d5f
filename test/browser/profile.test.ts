/**
 * What a browser profile keeps while its tabs and its browser come and go: nothing that was acknowledged is lost when they
 * are killed, and every tab finds its own node again.
 */
import { expect, test } from 'vitest'
import { canKill, useProfiles } from './support/profile.js'
import type { Tab } from './support/tab.js'
import { useWorld } from './support/world.js'

const world = useWorld()
const newProfile = useProfiles(world)

const ROUNDS = 20

test.skipIf(!canKill)(
  'twenty times, the whole browser is killed after an acknowledged put, and nothing acknowledged is lost',
  async () => {
    const profile = await newProfile()
    /** The last acknowledged value of each key. */
    const acknowledged = new Map<string, number>()
    const nodes = new Set<string>()
    let next = 0
    for (let round = 1; round <= ROUNDS; round++) {
      if (round > 1) await profile.open()
      const tab = await profile.tab(`round ${round}`, { signaling: null })
      nodes.add((await tab.status()).node)
      expect(await wrongOf(tab, [...acknowledged]), `after kill ${round - 1}`).toEqual([])
      const report = await tab.evaluate((store) => store.verify())
      expect(report, `after kill ${round - 1}`).toMatchObject({ corrupt: [], wrongTrees: 0, ok: true })

      const before = acknowledged.size
      let begun: () => void = () => {}
      const first = new Promise<void>((resolve) => {
        begun = resolve
      })
      await tab.page.exposeFunction('acknowledge', (key: string, number: number) => {
        acknowledged.set(key, number)
        next = number + 1
        begun()
      })
      const writing = putForever(tab, next).catch(String)
      expect(await Promise.race([first, writing])).toBeUndefined()
      await new Promise((resolve) => setTimeout(resolve, 200 + 400 * Math.random()))
      await profile.kill()
      expect(await writing).toMatch(/closed/)
      expect(acknowledged.size).toBeGreaterThan(before)
    }
    await profile.open()
    const tab = await profile.tab('at last', { signaling: null })
    expect(await wrongOf(tab, [...acknowledged])).toEqual([])
    nodes.add((await tab.status()).node)
    expect(nodes.size).toBe(1)
  },
  240_000,
)

/** Puts numbers one after another and tells the test of each acknowledgement. Every fourth is a new value of one of five old keys. */
function putForever(tab: Tab, start: number): Promise<never> {
  return tab.evaluate(async (store, from) => {
    for (let number = from; ; number++) {
      const key = number % 4 === 0 ? `busy${number % 5}` : `key${number}`
      await store.put(key, { number, filler: String(number).repeat(50) })
      window.acknowledge(key, number)
    }
  }, start)
}

/** Keys whose value is older than the acknowledged one, or damaged, or one of several. A newer one is fine: it was on its way. */
function wrongOf(tab: Tab, acknowledged: [string, number][]): Promise<string[]> {
  return tab.evaluate(async (store, pairs) => {
    const entries = await store.getMany<{ number: number; filler: string }>(pairs.map(([key]) => key))
    return entries.flatMap(({ key, value, conflict }, i) => {
      const least = pairs[i]?.[1] ?? 0
      const right =
        value &&
        !conflict &&
        value.filler === String(value.number).repeat(50) &&
        (key.startsWith('busy') ? value.number >= least : value.number === least)
      return right ? [] : [`${key}: acknowledged ${least}, read ${JSON.stringify(value)}`]
    })
  }, acknowledged)
}

declare global {
  interface Window {
    acknowledge(key: string, number: number): void
  }
}
