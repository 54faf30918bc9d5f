/** What a browser does to a node's disk: no room left, and a newer version of the page that wants the database. Nothing acknowledged is lost. */
import { expect, test } from 'vitest'
import type { Tab } from './support/tab.js'
import { useWorld } from './support/world.js'

const world = useWorld()

const VALUE_BYTES = 40_000

/** Text that no compression makes smaller. */
function fill(tab: Tab, prefix: string, count: number): Promise<{ key: string; length: number }[]> {
  return tab.evaluate(
    async (store, [name, many, bytes]) => {
      const acknowledged: { key: string; length: number }[] = []
      for (let i = 0; i < many; i++) {
        const value = crypto.getRandomValues(new Uint8Array(bytes))
        await store.put(`${name}${i}`, value)
        acknowledged.push({ key: `${name}${i}`, length: bytes })
      }
      return acknowledged
    },
    [prefix, count, VALUE_BYTES] as const,
  )
}

async function unreadable(tab: Tab, keys: { key: string; length: number }[]): Promise<string[]> {
  return tab.evaluate(async (store, asked) => {
    const entries = await store.getMany(asked.map(({ key }) => key))
    return asked
      .filter(({ length }, i) => (entries[i]?.value as Uint8Array | undefined)?.length !== length)
      .map(({ key }) => key)
  }, keys)
}

/** A tab in a profile of its own that may store no more than this. Chromium looks at the limit when a database is opened first. */
async function limitedTab(bytes: number): Promise<{ tab: Tab; lift: () => Promise<void> }> {
  const context = await (await world.browser('chromium')).newContext()
  const page = await context.newPage()
  const cdp = await context.newCDPSession(page)
  const { origin } = new URL(world.url)
  await cdp.send('Storage.overrideQuotaForOrigin', { origin, quotaSize: bytes })
  const tab = await world.tab({ name: 'limited', context })
  return {
    tab,
    lift: async () => {
      await cdp.send('Storage.overrideQuotaForOrigin', { origin })
    },
  }
}

/** Puts values until one does not fit. */
function fillUp(tab: Tab) {
  return tab.evaluate(async (store, bytes) => {
    const acknowledged: { key: string; length: number }[] = []
    for (let i = 0; i < 500; i++) {
      try {
        await store.put(`k${i}`, crypto.getRandomValues(new Uint8Array(bytes)))
        acknowledged.push({ key: `k${i}`, length: bytes })
      } catch (error) {
        const { name, reason, code, cause } = error as Error & { reason: string; code: string; cause: DOMException }
        return { acknowledged, failure: { name, reason, code, cause: cause?.name } }
      }
    }
    return { acknowledged, failure: undefined }
  }, VALUE_BYTES)
}

test('a full disk alone: the put that does not fit rejects, what was acknowledged stays, and all is well with more room', async () => {
  const { tab, lift } = await limitedTab(3_000_000)
  const result = await fillUp(tab)
  expect(result.failure).toMatchObject({
    name: 'StorageError',
    reason: 'quota',
    code: 'storage',
    cause: 'QuotaExceededError',
  })
  expect(result.acknowledged.length).toBeGreaterThan(10)
  expect(await unreadable(tab, result.acknowledged)).toEqual([])
  expect(await tab.evaluate((store) => store.verify())).toMatchObject({ ok: true })
  // openStore wrote to the disk first of all, and failed.
  const { node } = await tab.status()
  await tab.reload()
  expect((await tab.status()).node).toBe(node)
  expect(await unreadable(tab, result.acknowledged)).toEqual([])
  await lift()
  await tab.waitFor('room', (store) =>
    store.put('later', 1).then(
      () => true,
      () => false,
    ),
  )
  await tab.reload()
  expect(await unreadable(tab, result.acknowledged)).toEqual([])
  expect((await tab.get('later')).value).toBe(1)
})

// It rejected whenever the quorum was not met, although a peer had the value, and nobody took it back.
test('a full disk and one peer with room: a put resolves with what the peer confirms', async () => {
  const { tab: limited } = await limitedTab(3_000_000)
  const peer = await world.tab({ name: 'peer' })
  await Promise.all([limited, peer].map((tab) => tab.ready(1)))
  const acknowledged = await fill(limited, 'k', 110)
  expect(await unreadable(peer, acknowledged)).toEqual([])
  const { node } = await limited.status()
  const receipt = await limited.put('last', new Uint8Array(VALUE_BYTES))
  expect(receipt.acks).toEqual([(await peer.status()).node])
  expect(receipt.acks).not.toContain(node)
  expect(receipt.quorum).toMatchObject({ met: false, answers: 1, needed: 2 })
})

test('a full disk in a ring: it refuses by grades and says so, others take its place, and it catches up with more room', async () => {
  const { tab: limited, lift } = await limitedTab(3_000_000)
  const [a, b, c] = (await Promise.all(['a', 'b', 'c'].map((name) => world.tab({ name })))) as [Tab, Tab, Tab]
  await Promise.all([limited, a, b, c].map((tab) => tab.ready(3)))
  await limited.evaluate((store) => {
    const grades: string[] = []
    Object.assign(window, { grades })
    store.addEventListener('status', ({ detail }) => {
      if (grades.at(-1) !== detail.storageRefuses) grades.push(detail.storageRefuses)
    })
  })
  const acknowledged = await fill(a, 'k', 160)
  await limited.waitFor('the refusal of replicas', () =>
    (window as unknown as { grades: string[] }).grades.includes('replicas'),
  )
  const grades = await limited.evaluate(() => (window as unknown as { grades: string[] }).grades)
  expect(grades.indexOf('hints')).toBeGreaterThanOrEqual(0)
  expect(grades.indexOf('hints')).toBeLessThan(grades.indexOf('replicas'))
  expect((await limited.status()).storageQuota).toBeGreaterThan(0)
  // A put of the full tab is acknowledged by others, with what they confirm.
  const receipt = await limited.put('own', new Uint8Array(VALUE_BYTES))
  expect(receipt.quorum.met).toBe(true)
  for (const tab of [limited, a, b, c]) expect(await unreadable(tab, acknowledged)).toEqual([])
  await lift()
  await limited.waitFor(
    'what it missed',
    (store) => store.status.storageRefuses === 'nothing' && store.status.partitionsFilling === 0,
    undefined,
    { timeoutMs: 40_000 },
  )
  for (const tab of [a, b, c])
    await tab.waitFor(
      'everything to be at home',
      (store) => store.status.synced && store.status.hintsPending === 0,
      undefined,
      {
        timeoutMs: 60_000,
      },
    )
  for (const tab of [limited, a, b, c]) expect(await unreadable(tab, acknowledged)).toEqual([])
})

// It could not, as the deletions were refused as well; and each write that was refused told the application again.
test('a tab whose disk is full says so once, and can leave', async () => {
  const { tab: limited } = await limitedTab(3_000_000)
  const [a, b] = (await Promise.all(['a', 'b'].map((name) => world.tab({ name })))) as [Tab, Tab]
  await Promise.all([limited, a, b].map((tab) => tab.ready(2)))
  await limited.evaluate((store) => {
    const told: string[] = []
    Object.assign(window, { told })
    store.addEventListener('error', ({ detail }) => told.push((detail as { reason: string }).reason))
  })
  const acknowledged = await fill(a, 'k', 150)
  await limited.waitFor('the refusal of replicas', (store) => store.status.storageRefuses === 'replicas')
  expect(await unreadable(limited, acknowledged)).toEqual([])
  expect(await limited.evaluate(() => (window as unknown as { told: string[] }).told)).toEqual(['quota'])
  const node = (await limited.status()).node
  await limited.evaluate((store) => store.leave())
  for (const tab of [a, b]) {
    await tab.waitFor(
      'the leaver to be gone',
      (store, left) => store.members.every((one) => one.node !== left || one.state === 'left'),
      node,
    )
    expect(await unreadable(tab, acknowledged)).toEqual([])
  }
})

// A hint for several homes could not be written down as delivered to one of them, and the leave waited for it for ever.
test('a tab that was cut off until its disk was full leaves, and what it had acknowledged is with the others', async () => {
  const { tab: limited } = await limitedTab(3_000_000)
  const [a, b] = (await Promise.all(['a', 'b'].map((name) => world.tab({ name })))) as [Tab, Tab]
  await Promise.all([limited, a, b].map((tab) => tab.ready(2)))
  await limited.evaluate((store) => store.disconnect())
  const { acknowledged } = await fillUp(limited)
  expect(acknowledged.length).toBeGreaterThan(10)
  await limited.evaluate(async (store) => {
    store.connect()
    await store.ready({ peers: 2 })
    await store.leave()
  })
  for (const tab of [a, b]) expect(await unreadable(tab, acknowledged)).toEqual([])
})

test('a newer version of the page takes the database over: the old tab steps aside and says so, and the ring goes on', async () => {
  const [old, other] = (await world.ring(2)) as [Tab, Tab]
  await old.put('k', 'v')
  await old.evaluate((store) => store.flush())
  await old.evaluate((store) => {
    window.lost = new Promise((resolve) =>
      store.addEventListener('error', ({ detail }) => {
        const { name, reason, message } = detail as Error & { reason: string }
        resolve(`${name} ${reason} ${message}`)
      }),
    )
  })
  const { node } = await old.status()
  await old.evaluate(async () => {
    const mine = (await indexedDB.databases()).find(({ name }) => name?.startsWith('tabring/'))
    await new Promise((resolve, reject) => {
      const request = indexedDB.open(mine?.name ?? '', 99)
      request.onsuccess = resolve
      request.onerror = () => reject(request.error)
      request.onblocked = () => reject(new Error('the old tab is in the way'))
    })
  })
  expect(await old.evaluate(() => window.lost)).toMatch(/^StorageError blocked .*newer version/)
  await other.waitFor('the old tab to be away', (store) => store.status.peers === 0)
  const refused = await old.evaluate((store) => store.put('k', 'w').then(String, (error) => error.name))
  expect(refused).toBe('StorageError')
  expect((await other.get('k')).value).toBe('v')
  expect((await other.put('k', 'w')).quorum.answers).toBe(1)
  expect((await other.members()).find((member) => member.node === node)?.state).toBe('unreachable')
})
