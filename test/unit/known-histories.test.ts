/** Histories that are known to have broken other systems, in the words in which they were told. */
import { describe, expect, test } from 'vitest'
import { type NodeId, storeKey } from '../../src/core/ids.js'
import { Minter } from '../../src/core/minter.js'
import {
  type Container,
  EMPTY_CONTAINER,
  mergeContainers,
  writtenContainer,
} from '../../src/core/versions/container.js'
import { type CausalContext, EMPTY_CONTEXT } from '../../src/core/versions/context.js'
import { decodeContainer, encodeContainer } from '../../src/core/versions/encoding.js'
import { SeededRandom } from '../sim/random.js'

const KEY = storeKey(3, '', 'k')

const names = (container: Container) => container.siblings.map(({ dot }) => `${dot.actor}:${dot.counter}`).sort()
const mergeAll = (containers: Container[]) => containers.reduce(mergeContainers, EMPTY_CONTAINER)

describe('known histories', () => {
  const value = (text: string) => new TextEncoder().encode(text)
  function writer(name: string) {
    const minter = new Minter(name.padEnd(10, '_') as NodeId, new SeededRandom(name.length))
    return (context: CausalContext, text: string) =>
      writtenContainer(context, { dot: minter.mint(KEY), value: value(text), checksum: 0, expiresAt: 0 })
  }

  test('a hundred interleaved writes of two clients that always miss each other’s last one end with two siblings', () => {
    const [x, y] = [writer('x'), writer('y')]
    let state = EMPTY_CONTAINER
    let seenByX = EMPTY_CONTEXT
    let seenByY = EMPTY_CONTEXT
    for (let i = 0; i < 50; i++) {
      // As in riak_test sibling_explosion: a client reads what its own put returned, which misses the other's put after it.
      const byX = x(seenByX, `x${i}`)
      state = mergeContainers(state, byX)
      seenByX = state.context
      const byY = y(seenByY, `y${i}`)
      state = mergeContainers(state, byY)
      seenByY = state.context
    }
    expect(state.siblings).toHaveLength(2)
    expect(state.siblings.map((sibling) => new TextDecoder().decode(sibling.value))).toEqual(['x49', 'y49'])
  })

  test.each([2, 5, 16])('%d blind writers leave as many siblings, and one put that saw them leaves one', (k) => {
    const blind = Array.from({ length: k }, (_, i) => writer(`w${i}`)(EMPTY_CONTEXT, `${i}`))
    const state = mergeAll(blind)
    expect(state.siblings).toHaveLength(k)
    expect(mergeContainers(state, writer('merger')(state.context, 'merged')).siblings).toHaveLength(1)
  })

  test('a put delivered twice, by whatever ways, is one version', () => {
    const put = writer('w')(EMPTY_CONTEXT, 'once')
    const retried = decodeContainer(encodeContainer(put))
    expect(mergeContainers(mergeContainers(put, retried), put).siblings).toHaveLength(1)
  })

  test('a key that was deleted and forgotten everywhere can be written again by the same tab, and old tombstones do not hide it', () => {
    const write = writer('w')
    const first = write(EMPTY_CONTEXT, 'first')
    const tombstone = { ...first, siblings: first.siblings.map((sibling) => ({ ...sibling, value: undefined })) }
    const again = write(EMPTY_CONTEXT, 'again')
    expect(names(mergeContainers(tombstone, again))).toContain(names(again)[0])
  })
})
