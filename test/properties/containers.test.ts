/**
 * Containers against an oracle of causal histories. A history is a sequence of steps at a few replicas: puts that descend from what
 * their writer has seen (all of it, an older state, or nothing), merges in any order, replicas that forget a key, writers that
 * begin a new life. Whatever happened, the merge of all replicas must be the maximal versions, no more and no fewer.
 */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type NodeId, storeKey } from '../../src/core/ids.js'
import { Minter } from '../../src/core/minter.js'
import {
  type Container,
  EMPTY_CONTAINER,
  dominates,
  mergeContainers,
  withStableContextDropped,
  writtenContainer,
} from '../../src/core/versions/container.js'
import {
  type CausalContext,
  EMPTY_CONTEXT,
  covers,
  descends,
  joinContexts,
  restrict,
} from '../../src/core/versions/context.js'
import {
  MalformedError,
  checksumOf,
  decodeContainer,
  digestOf,
  encodeContainer,
} from '../../src/core/versions/encoding.js'
import { decodeToken, encodeToken } from '../../src/core/versions/token.js'
import { SeededRandom } from '../sim/random.js'

const KEY = storeKey(3, '', 'k')
const REPLICAS = 4
const WRITERS = 3

type Step =
  | { kind: 'put'; writer: number; at: number; seeing: 'latest' | 'stale' | 'own' | 'nothing'; deletes: boolean }
  | { kind: 'merge'; from: number; to: number }
  | { kind: 'forget'; at: number }
  | { kind: 'restart'; writer: number }

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constant('put' as const),
      writer: fc.nat(WRITERS - 1),
      at: fc.nat(REPLICAS - 1),
      seeing: fc.constantFrom(
        'latest' as const,
        'latest' as const,
        'stale' as const,
        'own' as const,
        'nothing' as const,
      ),
      deletes: fc.boolean(),
    }),
  },
  {
    weight: 5,
    arbitrary: fc.record({ kind: fc.constant('merge' as const), from: fc.nat(REPLICAS - 1), to: fc.nat(REPLICAS - 1) }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('forget' as const), at: fc.nat(REPLICAS - 1) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('restart' as const), writer: fc.nat(WRITERS - 1) }) },
)
const history = fc.array(step, { maxLength: 40 })

interface Version {
  name: string
  /** Names of all versions that its writer descends from, by the oracle's own book-keeping. */
  past: Set<string>
}

/** Plays a history: what the replicas hold, and the versions as the oracle knows them. */
function play(steps: Step[]) {
  const random = new SeededRandom(1)
  const minters = Array.from({ length: WRITERS }, (_, i) => new Minter(`writer${i}___`.slice(0, 10) as NodeId, random))
  const replicas: Container[] = Array.from({ length: REPLICAS }, () => EMPTY_CONTAINER)
  /** What each replica held before its last change: the reads of slow clients. */
  const older: Container[] = replicas.slice()
  /** The oracle's side of both: which versions each replica has heard of, itself or through what replaced them. */
  const known: Set<string>[] = Array.from({ length: REPLICAS }, () => new Set())
  const knownBefore = known.slice()
  const versions = new Map<string, Version>()
  const everything: Container[] = []
  const dots = new Set<string>()
  for (const one of steps) {
    if (one.kind === 'merge') {
      older[one.to] = replicas[one.to] as Container
      knownBefore[one.to] = known[one.to] as Set<string>
      known[one.to] = new Set([...(known[one.to] as Set<string>), ...(known[one.from] as Set<string>)])
      replicas[one.to] = mergeContainers(replicas[one.to] as Container, replicas[one.from] as Container)
    } else if (one.kind === 'forget') {
      replicas[one.at] = EMPTY_CONTAINER
      known[one.at] = new Set()
    } else if (one.kind === 'restart')
      minters[one.writer] = new Minter(`writer${one.writer}___`.slice(0, 10) as NodeId, random)
    else {
      const held = one.seeing === 'stale' ? older[one.at] : replicas[one.at]
      const prefix = `writer${one.writer}___`.slice(0, 10)
      const own = (name: string) => name.startsWith(prefix)
      const context: CausalContext =
        one.seeing === 'nothing'
          ? EMPTY_CONTEXT
          : one.seeing === 'own'
            ? restrict((held as Container).context, own)
            : (held as Container).context
      const heardOf = (one.seeing === 'stale' ? knownBefore[one.at] : known[one.at]) as Set<string>
      const past = new Set(one.seeing === 'nothing' ? [] : one.seeing === 'own' ? [...heardOf].filter(own) : heardOf)
      const dot = (minters[one.writer] as Minter).mint(KEY)
      const name = `${dot.actor}:${dot.counter}`
      expect(dots.has(name)).toBe(false)
      dots.add(name)
      versions.set(name, { name, past })
      const value = one.deletes ? undefined : new TextEncoder().encode(name)
      const written = writtenContainer(context, { dot, value, checksum: value ? checksumOf(value) : 0, expiresAt: 0 })
      everything.push(written)
      older[one.at] = replicas[one.at] as Container
      knownBefore[one.at] = known[one.at] as Set<string>
      known[one.at] = new Set([...(known[one.at] as Set<string>), ...past, name])
      replicas[one.at] = mergeContainers(replicas[one.at] as Container, written)
    }
  }
  return { replicas, versions, everything }
}

function dotOf(name: string) {
  const at = name.lastIndexOf(':')
  return { actor: name.slice(0, at) as never, counter: Number(name.slice(at + 1)) }
}

const names = (container: Container) => container.siblings.map(({ dot }) => `${dot.actor}:${dot.counter}`).sort()
const mergeAll = (containers: Container[]) => containers.reduce(mergeContainers, EMPTY_CONTAINER)
const digest = (container: Container) => JSON.stringify(digestOf(KEY, container))

/** The versions that no other version has seen. */
function antichain(versions: Map<string, Version>): string[] {
  const seen = new Set([...versions.values()].flatMap((version) => [...version.past]))
  return [...versions.keys()].filter((name) => !seen.has(name)).sort()
}

describe('merging', () => {
  test('is commutative, associative and idempotent', () => {
    fc.assert(
      fc.property(history, fc.nat(), fc.nat(), fc.nat(), (steps, i, j, k) => {
        const { replicas, everything } = play(steps)
        const all = [...replicas, ...everything]
        const [a, b, c] = [i, j, k].map((n) => all[n % all.length] as Container) as [Container, Container, Container]
        expect(digest(mergeContainers(a, b))).toBe(digest(mergeContainers(b, a)))
        expect(digest(mergeContainers(mergeContainers(a, b), c))).toBe(
          digest(mergeContainers(a, mergeContainers(b, c))),
        )
        expect(digest(mergeContainers(a, a))).toBe(digest(a))
      }),
    )
  })

  test('keeps exactly the versions that nobody has seen: none lost, none false', () => {
    fc.assert(
      fc.property(history, (steps) => {
        const { versions, everything } = play(steps)
        expect(names(mergeAll(everything))).toEqual(antichain(versions))
      }),
      { numRuns: 500 },
    )
  })

  test('gives the same in any order of delivery, with repetitions', () => {
    fc.assert(
      fc.property(history, fc.array(fc.nat(), { maxLength: 60 }), (steps, order) => {
        const { everything } = play(steps)
        if (everything.length === 0) return
        const shuffled = [
          ...order.map((n) => everything[n % everything.length] as Container),
          ...everything.slice().reverse(),
        ]
        expect(digest(mergeAll(shuffled))).toBe(digest(mergeAll(everything)))
      }),
    )
  })

  test('changes nothing exactly where one side dominates', () => {
    fc.assert(
      fc.property(history, fc.nat(), fc.nat(), (steps, i, j) => {
        const { replicas, everything } = play(steps)
        const all = [...replicas, ...everything]
        const [a, b] = [all[i % all.length], all[j % all.length]] as [Container, Container]
        expect(dominates(a, b)).toBe(digest(mergeContainers(a, b)) === digest(a))
      }),
    )
  })

  test('survives a replica that forgot, and a writer that restarted: what others hold is not covered by mistake', () => {
    fc.assert(
      fc.property(history, (steps) => {
        const { replicas, versions } = play(steps)
        const merged = mergeAll(replicas)
        // Of what the replicas still know, only what was seen is gone.
        const left = new Set(names(merged))
        for (const version of versions.values()) {
          const held = replicas.some((replica) => names(replica).includes(version.name))
          const seen = replicas.some(
            (replica) => covers(replica.context, dotOf(version.name)) && !names(replica).includes(version.name),
          )
          if (held && !seen) expect(left.has(version.name)).toBe(true)
        }
      }),
    )
  })
})

describe('contexts', () => {
  test('are sets of dots: joins are unions, and descending is being a superset', () => {
    fc.assert(
      fc.property(history, fc.nat(), fc.nat(), (steps, i, j) => {
        const { everything, versions } = play(steps)
        if (everything.length === 0) return
        const [a, b] = [everything[i % everything.length], everything[j % everything.length]] as [Container, Container]
        const dotsIn = (context: CausalContext) =>
          new Set([...versions.keys()].filter((name) => covers(context, dotOf(name))))
        const [inA, inB] = [dotsIn(a.context), dotsIn(b.context)]
        expect(dotsIn(joinContexts(a.context, b.context))).toEqual(new Set([...inA, ...inB]))
        expect(descends(a.context, b.context)).toBe([...inB].every((name) => inA.has(name)))
      }),
    )
  })
})

describe('bytes', () => {
  test('come back as the same container, and damaged ones are refused as malformed or differ', () => {
    fc.assert(
      fc.property(history, fc.nat(), fc.integer({ min: 1, max: 255 }), (steps, at, flip) => {
        const container = mergeAll(play(steps).everything)
        const bytes = encodeContainer(container)
        expect(decodeContainer(bytes)).toEqual(container)
        const damaged = bytes.slice()
        damaged[at % damaged.length] = (damaged[at % damaged.length] as number) ^ flip
        try {
          decodeContainer(damaged)
        } catch (error) {
          expect(error).toBeInstanceOf(MalformedError)
        }
      }),
    )
  })

  test('of a context are bound to room and key, and any damage is noticed', () => {
    fc.assert(
      fc.property(history, fc.nat(), fc.integer({ min: 1, max: 255 }), (steps, at, flip) => {
        const { context } = mergeAll(play(steps).everything)
        const token = encodeToken('room', KEY, context)
        expect(decodeToken('room', KEY, token)).toEqual(context)
        expect(() => decodeToken('other', KEY, token)).toThrow(MalformedError)
        expect(() => decodeToken('room', storeKey(3, '', 'other'), token)).toThrow(MalformedError)
        const damaged = token.slice()
        damaged[at % token.length] = (damaged[at % token.length] as number) ^ flip
        expect(() => decodeToken('room', KEY, damaged)).toThrow(MalformedError)
      }),
    )
  })
})

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

  test('dropping stable context entries keeps the versions, and replicas that all did it agree', () => {
    fc.assert(
      fc.property(history, (steps) => {
        const state = mergeAll(play(steps).everything)
        const smaller = withStableContextDropped(state)
        expect(names(smaller)).toEqual(names(state))
        expect(names(mergeContainers(smaller, state))).toEqual(names(state))
        expect(descends(state.context, smaller.context)).toBe(true)
      }),
    )
  })
})
