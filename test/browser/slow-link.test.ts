/** Large values over a slow uplink: they take their time, are sent once, and nobody is taken for dead meanwhile. */
import { expect, test } from 'vitest'
import { useWorld } from './support/world.js'

const world = useWorld()

/** What the slow page counts, and what a test sets in it. */
interface Uplink {
  bytesPerSecond: number
  bytesSent: number
}

/**
 * In the page, before all else: its data channels send no faster than `uplink.bytesPerSecond`, and say so by `bufferedAmount` as they do on
 * a slow network. (With Chromium's emulated throughput of as many bytes, no megabyte came through in a minute.)
 */
function paceDataChannels(): void {
  const uplink: Uplink = { bytesPerSecond: Number.POSITIVE_INFINITY, bytesSent: 0 }
  Object.assign(window, { uplink })
  const { prototype } = RTCDataChannel
  const { send } = prototype
  const amount = Object.getOwnPropertyDescriptor(prototype, 'bufferedAmount')
  const waiting = new WeakMap<RTCDataChannel, Uint8Array<ArrayBuffer>[]>()
  const bytesOf = (list: Uint8Array[] = []) => list.reduce((sum, { length }) => sum + length, 0)
  Object.defineProperty(prototype, 'bufferedAmount', {
    get(this: RTCDataChannel) {
      return bytesOf(waiting.get(this)) + (amount?.get?.call(this) as number)
    },
  })
  prototype.send = function (this: RTCDataChannel, packet: Uint8Array<ArrayBuffer>) {
    const list = waiting.get(this) ?? []
    waiting.set(this, list)
    list.push(packet.slice())
    uplink.bytesSent += packet.length
    if (list.length > 1) return
    let before = performance.now()
    let credit = 0
    const drain = () => {
      const now = performance.now()
      credit += ((now - before) / 1000) * uplink.bytesPerSecond
      before = now
      const full = bytesOf(list)
      while (list[0] && credit >= list[0].length) {
        credit -= list[0].length
        send.call(this, list.shift() as Uint8Array<ArrayBuffer>)
      }
      const threshold = this.bufferedAmountLowThreshold
      if (full > threshold && bytesOf(list) <= threshold) this.dispatchEvent(new Event('bufferedamountlow'))
      if (list.length > 0) setTimeout(drain, 10)
    }
    if (uplink.bytesPerSecond === Number.POSITIVE_INFINITY) send.call(this, list.shift() as Uint8Array<ArrayBuffer>)
    else setTimeout(drain, 10)
  } as typeof send
}

// The frame had a time-out of five seconds, whatever its size: it was dropped on arrival and sent again, for ever.
test('a megabyte reaches the other tab over half a megabit, once, and nobody is taken for dead meanwhile', async () => {
  const context = await (await world.browser('chromium')).newContext()
  await context.addInitScript(paceDataChannels)
  const a = await world.tab({ name: 'a', context })
  const b = await world.tab({ name: 'b' })
  await Promise.all([a.ready(1), b.ready(1)])
  // Whatever follows a join is over.
  await new Promise((resolve) => setTimeout(resolve, 3000))
  await b.evaluate((store) => {
    const seen = { fewest: store.status.peers }
    Object.assign(window, { seen })
    store.addEventListener('status', ({ detail }) => {
      seen.fewest = Math.min(seen.fewest, detail.peers)
    })
  })
  const sent = await a.evaluate(async (store) => {
    const { uplink } = window as unknown as { uplink: Uplink }
    const before = uplink.bytesSent
    uplink.bytesPerSecond = 64 * 1024
    await store.put('large', new Uint8Array(1_000_000))
    await store.flush({ signal: AbortSignal.timeout(50_000) })
    return uplink.bytesSent - before
  })
  expect(sent).toBeLessThan(1_200_000)
  expect(await b.evaluate(async (store) => (await store.get<Uint8Array>('large')).value?.length)).toBe(1_000_000)
  expect(await b.evaluate(() => (window as unknown as { seen: { fewest: number } }).seen.fewest)).toBe(1)
})
