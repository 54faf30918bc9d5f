/** Where the platform is no browser, or only looks like one: server-side rendering, unit tests of applications. */
import { afterEach, expect, test, vi } from 'vitest'
import { openStore } from '../../src/index.js'

afterEach(() => void vi.unstubAllGlobals())

// It was a ReferenceError of `isSecureContext`: fake-indexeddb in Node, also with a document of happy-dom, has none.
test('where only an IndexedDB has been put in place, a StorageError says what else is missing', async () => {
  vi.stubGlobal('indexedDB', {})
  vi.stubGlobal('navigator', {})
  await expect(openStore({ room: 'no browser', signaling: null })).rejects.toMatchObject({
    name: 'StorageError',
    code: 'storage',
    reason: 'unavailable',
    message: expect.stringContaining('Web Locks are missing'),
  })
})

test('without an IndexedDB, a StorageError says so', async () => {
  await expect(openStore({ room: 'no browser', signaling: null })).rejects.toMatchObject({
    name: 'StorageError',
    reason: 'unavailable',
    message: expect.stringContaining('IndexedDB is missing'),
  })
})
