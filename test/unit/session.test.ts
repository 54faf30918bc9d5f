/** What one store handle remembers: its writes descend from all it saw, and its reads never fall behind. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type ActorId, type StoreKey, storeKey } from '../../src/core/ids.js'
import {
  type Container,
  EMPTY_CONTAINER,
  type Sibling,
  mergeContainers,
  writtenContainer,
} from '../../src/core/versions/container.js'
import { type CausalContext, EMPTY_CONTEXT, covers, descends, withDot } from '../../src/core/versions/context.js'
import { digestOf } from '../../src/core/versions/encoding.js'
import { Session } from '../../src/store/session.js'

const K = storeKey(3, 'bucket', 'key')
const L = storeKey(3, 'bucket', 'other')
const [A, B] = ['node_a____.AAAAAAAA', 'node_b____.BBBBBBBB'] as [ActorId, ActorId]
const MIB = 1024 * 1024
const DECIDED = Promise.resolve()

const sibling = (actor: ActorId, counter: number, size = 1): Sibling => ({
  dot: { actor, counter },
  value: new Uint8Array(size),
  checksum: 0,
  expiresAt: 0,
})
const version = (actor: ActorId, counter: number, after: CausalContext = EMPTY_CONTEXT, size = 1): Container =>
  writtenContainer(after, sibling(actor, counter, size))
/** What a read has found, and its application got. */
function shown(session: Session, key: StoreKey, container: Container): Container {
  const found = session.found(key, container)
  session.knew(key, found.context)
  return found
}
const dotsOf = (container: Container) => container.siblings.map(({ dot }) => dot)

describe('writes that begin', () => {
  test('are waited for until they are decided, in whatever way', async () => {
    const session = new Session()
    await session.allDecided(K)
    let refuse: () => void = () => {}
    const refused = new Promise<void>((_, reject) => {
      refuse = () => reject(new Error('nobody took it'))
    })
    session.began(K, EMPTY_CONTEXT, refused)
    session.began(K, EMPTY_CONTEXT, DECIDED)
    let decided = false
    const all = session.allDecided(K).then(() => {
      decided = true
    })
    await session.allDecided(L)
    expect(decided).toBe(false)
    refuse()
    await all
    await session.allDecided(K)
  })

  test('are counted by key; what is only read is not', () => {
    const session = new Session()
    const before = session.writesOf(K)
    session.knew(K, withDot(EMPTY_CONTEXT, { actor: A, counter: 1 }))
    shown(session, K, version(A, 1))
    session.began(L, EMPTY_CONTEXT, DECIDED)
    expect(session.writesOf(K)).toBe(before)
    session.began(K, EMPTY_CONTEXT, DECIDED)
    expect(session.writesOf(K)).not.toBe(before)
  })
})

describe('a session', () => {
  test('knows nothing at first', () => {
    const session = new Session()
    expect(session.knows(K)).toBe(false)
    expect(session.contextOf(K)).toEqual(EMPTY_CONTEXT)
  })

  test('lets a write descend from what it read, of that key only', () => {
    const session = new Session()
    shown(session, K, version(A, 1))
    expect(covers(session.contextOf(K), { actor: A, counter: 1 })).toBe(true)
    expect(session.knows(L)).toBe(false)
  })

  test('never falls behind what was only found, and lets no write descend from it before it is shown', () => {
    const session = new Session()
    const found = session.found(K, version(A, 1))
    expect([session.knows(K), session.contextOf(K)]).toEqual([false, EMPTY_CONTEXT])
    expect(session.found(K, version(B, 1)).siblings).toHaveLength(2)
    session.knew(K, found.context)
    expect(session.contextOf(K)).toEqual(found.context)
  })

  test('shows a refused version no more, and what else it has seen as before', () => {
    const session = new Session()
    shown(session, K, version(A, 1))
    shown(session, K, version(B, 1))
    session.refused(K, { actor: A, counter: 1 })
    session.refused(L, { actor: A, counter: 1 })
    expect(dotsOf(shown(session, K, version(B, 1)))).toEqual([{ actor: B, counter: 1 }])
    expect(covers(session.contextOf(K), { actor: A, counter: 1 })).toBe(true)
    expect(session.knows(L)).toBe(false)
  })

  test('lets a write descend from the one before it that is not confirmed yet', () => {
    const session = new Session()
    session.began(K, withDot(EMPTY_CONTEXT, { actor: A, counter: 1 }), DECIDED)
    session.began(K, withDot(EMPTY_CONTEXT, { actor: B, counter: 1 }), DECIDED)
    expect(covers(session.contextOf(K), { actor: A, counter: 1 })).toBe(true)
    expect(covers(session.contextOf(K), { actor: B, counter: 1 })).toBe(true)
  })

  test('does not show a write that has only begun', () => {
    const session = new Session()
    session.began(K, withDot(EMPTY_CONTEXT, { actor: A, counter: 1 }), DECIDED)
    expect(dotsOf(shown(session, K, version(B, 1)))).toEqual([{ actor: B, counter: 1 }])
  })

  test('shows its own write when a replica answers with what was before', () => {
    const session = new Session()
    const old = version(B, 1)
    shown(session, K, version(A, 1, old.context))
    expect(dotsOf(shown(session, K, old))).toEqual([{ actor: A, counter: 1 }])
  })

  test('shows concurrent versions side by side until one is seen that descends from both', () => {
    const session = new Session()
    shown(session, K, version(A, 1))
    expect(shown(session, K, version(B, 1)).siblings).toHaveLength(2)
    expect(dotsOf(shown(session, K, version(A, 2, session.contextOf(K))))).toEqual([{ actor: A, counter: 2 }])
  })

  test('never falls behind anything it has seen, in whatever order replicas answer', () => {
    const history = [version(A, 1)]
    history.push(version(A, 2, history[0]?.context), version(B, 1, history[0]?.context))
    history.push(version(B, 2, mergeContainers(history[1] as Container, history[2] as Container).context))
    fc.assert(
      fc.property(fc.array(fc.constantFrom(...history), { minLength: 1 }), (answers) => {
        const session = new Session()
        const seen: Container[] = []
        for (const answer of answers) {
          seen.push(answer)
          const all = shown(session, K, answer)
          for (const former of seen) {
            expect(descends(all.context, former.context)).toBe(true)
            expect(mergeContainers(all, former)).toEqual(all)
          }
          expect(session.contextOf(K)).toEqual(all.context)
        }
      }),
    )
  })

  test('shows no version again that it is told to forget, and descends from it all the same', () => {
    const session = new Session()
    shown(session, K, version(A, 1))
    shown(session, L, version(A, 1))
    const context = session.contextOf(K)
    const deleted = [K, storeKey(3, 'bucket', 'never seen')].map((key) => ({ key, left: undefined }))
    session.forgetVersions(deleted)
    expect(session.contextOf(K)).toEqual(context)
    expect(shown(session, K, version(B, 1)).siblings).toHaveLength(1)
    expect(shown(session, L, version(B, 1)).siblings).toHaveLength(2)
  })
})

describe('a session that is told what is left of a key that lives', () => {
  const long = version(B, 1, withDot(EMPTY_CONTEXT, { actor: A, counter: 1 }))
  const agreed = [{ key: K, left: digestOf(K, version(B, 1)) }]

  // It forgot its own last write with what others had written before.
  test('goes on showing that, and nothing that it has replaced', () => {
    const session = new Session()
    shown(session, K, long)
    for (let phase = 0; phase < 2; phase++) session.forgetVersions(agreed)
    expect(dotsOf(shown(session, K, version(A, 1)))).toEqual(dotsOf(long))
  })

  test.each([
    ['one that was replaced', version(A, 1)],
    ['one beside it', mergeContainers(long, version(B, 2))],
    ['none', EMPTY_CONTAINER],
  ])('shows no other version again: %s', (_, other) => {
    const session = new Session()
    shown(session, K, other)
    session.forgetVersions(agreed)
    expect(dotsOf(shown(session, K, version(B, 1)))).toEqual(dotsOf(long))
  })
})

describe('a session of limited memory', () => {
  const keyOf = (i: number): StoreKey => storeKey(3, 'bucket', `large ${i}`)

  test('lets go of the versions seen longest ago, and keeps their contexts', () => {
    const session = new Session()
    for (let i = 0; i < 20; i++) shown(session, keyOf(i), version(A, 1, EMPTY_CONTEXT, MIB))
    expect(shown(session, keyOf(0), version(B, 1)).siblings).toHaveLength(1)
    expect(shown(session, keyOf(19), version(B, 1)).siblings).toHaveLength(2)
    expect(covers(session.contextOf(keyOf(1)), { actor: A, counter: 1 })).toBe(true)
  })

  test('keeps what was looked at again lately', () => {
    const session = new Session()
    for (let i = 0; i < 20; i++) {
      shown(session, keyOf(i), version(A, 1, EMPTY_CONTEXT, MIB))
      shown(session, keyOf(0), version(A, 1, EMPTY_CONTEXT, MIB))
    }
    expect(shown(session, keyOf(0), version(B, 1)).siblings).toHaveLength(2)
  })

  test('lets go of what was found longest ago also where it takes no room', () => {
    const session = new Session()
    for (let i = 0; i < 100_001; i++) session.found(keyOf(i), EMPTY_CONTAINER)
    expect([session.foundOf(keyOf(0)), session.foundOf(keyOf(1))]).toEqual([undefined, EMPTY_CONTAINER])
  })

  test('counts a key once, however often it is seen', () => {
    const session = new Session()
    shown(session, keyOf(0), version(A, 1, EMPTY_CONTEXT, MIB))
    for (let i = 0; i < 50; i++) shown(session, keyOf(1), version(A, 1, EMPTY_CONTEXT, MIB))
    expect(shown(session, keyOf(0), version(B, 1)).siblings).toHaveLength(2)
  })

  test('remembers the contexts of very many keys, and lets go of those unused for longest', () => {
    const session = new Session()
    const context = withDot(EMPTY_CONTEXT, { actor: A, counter: 1 })
    session.began(K, context, DECIDED)
    session.began(L, context, DECIDED)
    for (let i = 0; i < 99_998; i++) session.began(keyOf(i), context, DECIDED)
    expect(session.knows(K)).toBe(true)
    session.began(K, context, DECIDED)
    session.began(storeKey(3, 'bucket', 'one more'), context, DECIDED)
    expect(session.knows(K)).toBe(true)
    expect(session.knows(L)).toBe(false)
  })
})
