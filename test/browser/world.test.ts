/** The harness itself: what it promises to other browser tests. */
import { expect, test } from 'vitest'
import { useWorld } from './support/world.js'

const world = useWorld()

test('an error in a tab is noise, whichever way it comes', async () => {
  const tab = await world.tab()
  await tab.evaluate(() => {
    console.error('written')
    void Promise.reject(new Error('rejected'))
    setTimeout(() => {
      throw new Error('thrown')
    })
  })
  await expect.poll(() => tab.log.join('\n')).toMatch(/written.*(thrown.*rejected|rejected.*thrown)/s)
  expect(() => world.expectQuiet()).toThrow(/written/)
  expect(() => world.expectQuiet()).not.toThrow()
})

test('the page runs under its content security policy', async () => {
  const tab = await world.tab()
  world.expectNoise(/script-src/)
  // Later, since what the test itself evaluates is exempt.
  const outcome = await tab.evaluate(
    () =>
      new Promise<string>((resolve) => {
        setTimeout(() => {
          try {
            resolve(String(new Function('return 1')()))
          } catch (error) {
            resolve(String(error))
          }
        })
      }),
  )
  expect(outcome).toContain('EvalError')
})

test('a tab keeps its disk through reload, close, crash and reopening, and shares it only within its profile', async () => {
  const tab = await world.tab()
  await tab.put('key', 'kept')
  await tab.reload()
  expect((await tab.get('key')).value).toBe('kept')
  await tab.reopen()
  expect((await tab.get('key')).value).toBe('kept')
  await tab.crash()
  await expect(tab.get('key')).rejects.toThrow('has no open store')
  await tab.open()
  expect((await tab.get('key')).value).toBe('kept')
  const [same, other] = [await world.tab({ profile: tab, room: 'another' }), await world.tab({ room: 'another' })]
  expect((await same.status()).device).toBe((await tab.status()).device)
  expect((await other.status()).device).not.toBe((await tab.status()).device)
})

test('signaling can be killed and started again on the same port', async () => {
  const { url } = world.signaling
  const [a, b] = await world.ring(2)
  await world.killSignaling()
  expect(world.signaling.running).toBe(false)
  await a?.put('key', 'without signaling')
  expect((await b?.get('key'))?.value).toBe('without signaling')
  await world.signaling.start()
  expect(world.signaling.url).toBe(url)
})
