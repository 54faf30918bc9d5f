/** A batch may be evaluated once more: alone, where it did not fit on the disk with others, or after a lost connection. What it is told is of the last time. */
import { expect, test } from 'vitest'
import type { Batch, Clock, HintRow, Storage } from '../../src/core/environment.js'
import { type ActorId, type NodeId, storeKey } from '../../src/core/ids.js'
import { Replica, type StoreOptions } from '../../src/core/replica/replica.js'
import { addressOf } from '../../src/core/ring/partitions.js'
import { type Container, mergeContainers, writtenContainer } from '../../src/core/versions/container.js'
import { EMPTY_CONTEXT } from '../../src/core/versions/context.js'
import { decodeContainer, encodeContainer } from '../../src/core/versions/encoding.js'

const key = storeKey(3, '', 'k')
const away = 'away-away-' as NodeId
const clock: Clock = { now: () => 0, wallTime: () => 0, setTimer: () => () => {} }

const blind = (writer: string) =>
  writtenContainer(EMPTY_CONTEXT, {
    dot: { actor: writer as ActorId, counter: 1 },
    value: new Uint8Array(10),
    checksum: 0,
    expiresAt: 0,
  })
const write = blind('another')
const one = blind('writer-0')
const two = mergeContainers(one, blind('writer-1'))

/** Stores `write` on a disk on which each evaluation meets one of these. @returns what was told, and how many versions are there in the end */
async function storeOn(met: Container[], options: Partial<StoreOptions>) {
  let record: Uint8Array | undefined
  let hint: HintRow | undefined
  const storage = {
    async commit({ records = [], hints = [] }: Batch) {
      for (const container of met.map(encodeContainer)) {
        record = container
        for (const { apply } of records) {
          const write = apply(container)
          if (typeof write === 'object') record = write.container
        }
        hint = options.asRecord ? undefined : { homes: [away], own: true, container }
        for (const { apply } of hints) hint = apply(hint)
      }
      return []
    },
  } as unknown as Storage
  const replica = new Replica(
    storage,
    (name) => addressOf(name, 16),
    clock,
    async () => {},
  )
  const changes: number[] = []
  replica.events.on('changed', ({ container }) => changes.push(container.siblings.length))
  const defaults: StoreOptions = { asRecord: true, hintFor: [away], own: true, durability: 'strict', maxSiblings: 2 }
  const refused = await replica.store([{ key, container: write }], { ...defaults, ...options })
  const sizeOf = (bytes: Uint8Array | undefined) => bytes && decodeContainer(bytes).siblings.length
  return { refused, changes, record: sizeOf(record), hint: sizeOf(hint?.container) }
}

// The first time said that it was refused, which nobody took back: the put was told so and had no hint, and was on the disk.
test('what is refused at first and written in the end is not called refused, and has its hint', async () => {
  expect(await storeOn([two, one], { asRecord: true })).toEqual({ refused: [], changes: [2], record: 2, hint: 1 })
  expect(await storeOn([two, one], { asRecord: false })).toMatchObject({ refused: [], changes: [2], hint: 2 })
})

// The change of the first time was told all the same.
test('what is written at first and refused in the end is no change', async () => {
  expect(await storeOn([one, two], { asRecord: true })).toEqual({
    refused: [key],
    changes: [],
    record: 2,
    hint: undefined,
  })
  expect(await storeOn([one, two], { asRecord: false })).toMatchObject({ refused: [key], changes: [], hint: 2 })
})

test('what a lost connection has written after all is told of, as it is there', async () => {
  const there = mergeContainers(one, write)
  expect(await storeOn([one, there], { asRecord: true })).toMatchObject({ refused: [], changes: [2], record: 2 })
  expect(await storeOn([one, there], { asRecord: false })).toMatchObject({ refused: [], changes: [2], hint: 2 })
  expect(await storeOn([there], { asRecord: true })).toMatchObject({ refused: [], changes: [], record: 2 })
})
