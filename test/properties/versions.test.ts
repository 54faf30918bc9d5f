/**
 * Versions where much goes wrong: clients that remember old reads, messages that are lost, late or repeated, replicas that forget. The
 * oracle keeps, for each replica, the plain set of versions it has heard of; a replica must show the maximal ones of that set after
 * every step. Contexts are held to a model of plain sets, bytes and tokens to what they must refuse.
 */
import { encode } from '@msgpack/msgpack'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type ActorId, type NodeId, storeKey } from '../../src/core/ids.js'
import { Minter } from '../../src/core/minter.js'
import {
  type Container,
  EMPTY_CONTAINER,
  dominates,
  isLive,
  mergeContainers,
  withStableContextDropped,
  writtenContainer,
} from '../../src/core/versions/container.js'
import {
  type CausalContext,
  type Dot,
  EMPTY_CONTEXT,
  compact,
  contextSize,
  covers,
  descends,
  joinContexts,
  restrict,
  withDot,
} from '../../src/core/versions/context.js'
import {
  MalformedError,
  checksumOf,
  decodeContainer,
  decodeContext,
  digestOf,
  encodeContainer,
  encodeContext,
} from '../../src/core/versions/encoding.js'
import { decodeToken, encodeToken } from '../../src/core/versions/token.js'
import { SeededRandom } from '../sim/random.js'

const KEY = storeKey(3, '', 'k')
const REPLICAS = 3
const CLIENTS = 3

const nameOf = ({ actor, counter }: Dot) => `${actor}:${counter}`
const names = (container: Container) => container.siblings.map(({ dot }) => nameOf(dot)).sort()
const bytesOf = (container: Container) => [...encodeContainer(container)]
const minterOf = (client: number, random: SeededRandom) => new Minter(`client${client}___` as NodeId, random)
const siblingOf = (dot: Dot, value?: Uint8Array, expiresAt = 0) => ({ dot, value, checksum: 0, expiresAt })

// --- histories

const client = fc.nat(CLIENTS - 1)
const replica = fc.nat(REPLICAS - 1)
const kind = <K extends string>(name: K) => fc.constant(name)

const step = fc.oneof(
  /** The client knows what it read and wrote so far; `blind`: it says that it knows nothing. */
  { weight: 5, arbitrary: fc.record({ kind: kind('put'), client, blind: fc.boolean(), deletes: fc.boolean() }) },
  { weight: 3, arbitrary: fc.record({ kind: kind('read'), client, replica }) },
  /** Any put so far arrives at a replica: late, again, or for the first time. Those that never do are lost. */
  { weight: 6, arbitrary: fc.record({ kind: kind('deliver'), put: fc.nat(), replica }) },
  { weight: 3, arbitrary: fc.record({ kind: kind('merge'), from: replica, to: replica }) },
  { weight: 1, arbitrary: fc.record({ kind: kind('forget'), replica }) },
  { weight: 1, arbitrary: fc.record({ kind: kind('restart'), client }) },
)
type Step = typeof step extends fc.Arbitrary<infer S> ? S : never
const history = fc.array(step, { maxLength: 60 })

/** A place that holds a container, and the oracle's set of all versions that it has heard of. */
interface Place {
  container: Container
  heardOf: ReadonlySet<string>
}
interface Client {
  minter: Minter
  context: CausalContext
  heardOf: ReadonlySet<string>
}

class History {
  readonly replicas: Place[]
  readonly clients: Client[]
  readonly puts: Place[] = []
  /** For each version, those that its writer had heard of. */
  readonly pasts = new Map<string, ReadonlySet<string>>()
  private readonly random = new SeededRandom(7)

  constructor() {
    this.replicas = Array.from({ length: REPLICAS }, () => ({ container: EMPTY_CONTAINER, heardOf: new Set() }))
    this.clients = Array.from({ length: CLIENTS }, (_, i) => ({
      minter: minterOf(i, this.random),
      context: EMPTY_CONTEXT,
      heardOf: new Set(),
    }))
  }

  play(steps: readonly Step[], afterEach: () => void = () => {}): this {
    for (const one of steps) {
      this.step(one)
      afterEach()
    }
    return this
  }

  step(one: Step): void {
    switch (one.kind) {
      case 'put':
        return this.put(this.clients[one.client] as Client, one.blind, one.deletes)
      case 'read': {
        const reader = this.clients[one.client] as Client
        const { container, heardOf } = this.replicas[one.replica] as Place
        reader.context = joinContexts(reader.context, container.context)
        reader.heardOf = union(reader.heardOf, heardOf)
        return
      }
      case 'deliver': {
        const put = this.puts[one.put % this.puts.length]
        if (put) this.absorb(one.replica, put)
        return
      }
      case 'merge':
        return this.absorb(one.to, this.replicas[one.from] as Place)
      case 'forget':
        this.replicas[one.replica] = { container: EMPTY_CONTAINER, heardOf: new Set() }
        return
      case 'restart':
        this.clients[one.client] = {
          minter: minterOf(one.client, this.random),
          context: EMPTY_CONTEXT,
          heardOf: new Set(),
        }
    }
  }

  private put(writer: Client, blind: boolean, deletes: boolean): void {
    const dot = writer.minter.mint(KEY)
    const name = nameOf(dot)
    expect(this.pasts.has(name), `${name} was minted before`).toBe(false)
    const past = blind ? new Set<string>() : writer.heardOf
    this.pasts.set(name, past)
    const value = deletes ? undefined : new TextEncoder().encode(name)
    const container = writtenContainer(blind ? EMPTY_CONTEXT : writer.context, siblingOf(dot, value))
    this.puts.push({ container, heardOf: union(past, new Set([name])) })
    writer.context = joinContexts(writer.context, container.context)
    writer.heardOf = union(writer.heardOf, new Set([name]))
  }

  private absorb(to: number, from: Place): void {
    const { container, heardOf } = this.replicas[to] as Place
    this.replicas[to] = {
      container: mergeContainers(container, from.container),
      heardOf: union(heardOf, from.heardOf),
    }
  }

  /** Everything that the replicas still hold together. */
  together(): Place {
    return this.replicas.reduce((a, b) => ({
      container: mergeContainers(a.container, b.container),
      heardOf: union(a.heardOf, b.heardOf),
    }))
  }

  /** Of these versions, the ones that none of the others descends from. */
  maximal(heardOf: ReadonlySet<string>): string[] {
    const seen = new Set([...heardOf].flatMap((name) => [...(this.pasts.get(name) ?? [])]))
    return [...heardOf].filter((name) => !seen.has(name)).sort()
  }

  /** Containers of every kind that arise: of replicas, of single puts, of all together. */
  containers(): Container[] {
    return [...this.replicas, ...this.puts, this.together()].map((place) => place.container)
  }
}

function union(a: ReadonlySet<string>, b: ReadonlySet<string>): ReadonlySet<string> {
  return new Set([...a, ...b])
}

/** Some container out of a real history. */
const container = fc.tuple(history, fc.nat()).map(([steps, n]) => {
  const all = new History().play(steps).containers()
  return all[n % all.length] as Container
})

describe('a replica', () => {
  test('shows, after every step, exactly the maximal versions of those it has heard of', () => {
    fc.assert(
      fc.property(history, (steps) => {
        const world = new History()
        world.play(steps, () => {
          for (const { container: held, heardOf } of world.replicas) expect(names(held)).toEqual(world.maximal(heardOf))
        })
      }),
      { numRuns: 300 },
    )
  })

  test('covers exactly the versions it has heard of', () => {
    fc.assert(
      fc.property(history, (steps) => {
        const world = new History().play(steps)
        for (const { container: held, heardOf } of world.replicas) {
          for (const { container: put } of world.puts) {
            for (const { dot } of put.siblings) expect(covers(held.context, dot)).toBe(heardOf.has(nameOf(dot)))
          }
        }
      }),
    )
  })

  test('never holds a version twice, and its siblings lie in the order of their dots', () => {
    fc.assert(
      fc.property(container, ({ siblings }) => {
        const all = siblings.map(({ dot }) => dot)
        expect(new Set(all.map(nameOf)).size).toBe(all.length)
        expect(all).toEqual(
          all.slice().sort((a, b) => (a.actor === b.actor ? a.counter - b.counter : a.actor < b.actor ? -1 : 1)),
        )
      }),
    )
  })

  test('that was merged with all others shows the maximal versions of everything still held: no lost, no false sibling', () => {
    fc.assert(
      fc.property(history, fc.shuffledSubarray([0, 1, 2], { minLength: REPLICAS }), (steps, order) => {
        const world = new History().play(steps)
        const { heardOf, container: together } = world.together()
        expect(names(together)).toEqual(world.maximal(heardOf))
        const inOrder = order.map((i) => (world.replicas[i] as Place).container).reduce(mergeContainers)
        expect(bytesOf(inOrder)).toEqual(bytesOf(together))
      }),
    )
  })
})

describe('merging', () => {
  test('obeys its laws down to the bytes, over containers that arise from one history', () => {
    fc.assert(
      fc.property(history, fc.nat(), fc.nat(), fc.nat(), (steps, i, j, k) => {
        const all = new History().play(steps).containers()
        const pick = (n: number) => all[n % all.length] as Container
        const [a, b, c] = [pick(i), pick(j), pick(k)]
        expect(bytesOf(mergeContainers(a, b))).toEqual(bytesOf(mergeContainers(b, a)))
        expect(bytesOf(mergeContainers(a, mergeContainers(b, c)))).toEqual(
          bytesOf(mergeContainers(mergeContainers(a, b), c)),
        )
        expect(bytesOf(mergeContainers(a, a))).toEqual(bytesOf(a))
        expect(bytesOf(mergeContainers(mergeContainers(a, b), b))).toEqual(bytesOf(mergeContainers(a, b)))
      }),
    )
  })

  test('gives what dominates both sides, and only one that dominates stays as it is', () => {
    fc.assert(
      fc.property(history, fc.nat(), fc.nat(), (steps, i, j) => {
        const all = new History().play(steps).containers()
        const [a, b] = [all[i % all.length], all[j % all.length]] as [Container, Container]
        const merged = mergeContainers(a, b)
        expect(dominates(merged, a) && dominates(merged, b)).toBe(true)
        expect(dominates(a, b)).toBe(bytesOf(merged).join() === bytesOf(a).join())
        if (dominates(a, b) && dominates(b, a)) expect(bytesOf(a)).toEqual(bytesOf(b))
      }),
    )
  })
})

describe('a put that says it has seen only what its own tab wrote', () => {
  const put = fc.record({ client, saw: fc.array(fc.nat(), { maxLength: 4 }), ownOnly: fc.boolean() })

  test('replaces exactly that: once every put has arrived, no version is lost and none is false', () => {
    fc.assert(
      fc.property(fc.array(put, { maxLength: 20 }), (puts) => {
        const random = new SeededRandom(3)
        const minters = Array.from({ length: CLIENTS }, (_, i) => minterOf(i, random))
        const written: Container[] = []
        const replaced = new Set<string>()
        for (const { client: number, saw, ownOnly } of puts) {
          const dot = (minters[number] as Minter).mint(KEY)
          const isOwn = (actor: string) => !ownOnly || actor === dot.actor
          const met = saw.flatMap((n) => written[n % Math.max(1, written.length)] ?? [])
          const context = restrict(
            met.reduce((sum, one) => joinContexts(sum, one.context), EMPTY_CONTEXT),
            isOwn,
          )
          for (const { siblings } of written)
            for (const one of siblings) if (covers(context, one.dot)) replaced.add(nameOf(one.dot))
          written.push(writtenContainer(context, siblingOf(dot)))
        }
        const all = written.flatMap(names)
        expect(names(written.reduce(mergeContainers, EMPTY_CONTAINER))).toEqual(
          all.filter((name) => !replaced.has(name)).sort(),
        )
      }),
      { numRuns: 500 },
    )
  })
})

describe('deleting', () => {
  const [one, two] = [0, 1].map((i) => minterOf(i, new SeededRandom(i))) as [Minter, Minter]
  const value = Uint8Array.of(1)

  test('a version that the deleter saw is gone, whichever arrives first', () => {
    const put = writtenContainer(EMPTY_CONTEXT, siblingOf(one.mint(KEY), value))
    const tombstone = writtenContainer(put.context, siblingOf(two.mint(KEY)))
    for (const merged of [mergeContainers(put, tombstone), mergeContainers(tombstone, put)]) {
      expect(names(merged)).toEqual(names(tombstone))
      expect(isLive(merged)).toBe(false)
    }
  })

  test('a version that the deleter did not see lives on beside the tombstone', () => {
    const put = writtenContainer(EMPTY_CONTEXT, siblingOf(one.mint(KEY), value))
    const tombstone = writtenContainer(EMPTY_CONTEXT, siblingOf(two.mint(KEY)))
    const merged = mergeContainers(put, tombstone)
    expect(merged.siblings).toHaveLength(2)
    expect(isLive(merged)).toBe(true)
  })

  test('a put over a tombstone lives, and the tombstone cannot come back', () => {
    const tombstone = writtenContainer(EMPTY_CONTEXT, siblingOf(one.mint(KEY)))
    const put = writtenContainer(tombstone.context, siblingOf(two.mint(KEY), value))
    expect(names(mergeContainers(tombstone, put))).toEqual(names(put))
    expect(isLive(mergeContainers(put, tombstone))).toBe(true)
  })

  test('a value counts as deleted from the moment at which it expires', () => {
    const put = writtenContainer(EMPTY_CONTEXT, siblingOf(one.mint(KEY), value, 1000))
    expect([999, 1000, 1001].map((wallTime) => isLive(put, wallTime))).toEqual([true, false, false])
  })
})

describe('dropping stable context entries', () => {
  test('changes no later history when all replicas held the same, whoever of them dropped', () => {
    const laterStep = step.filter((one) => one.kind !== 'forget' && one.kind !== 'deliver')
    fc.assert(
      fc.property(
        history,
        fc.array(laterStep, { maxLength: 30 }),
        fc.array(fc.boolean(), { minLength: REPLICAS, maxLength: REPLICAS }),
        (steps, later, drops) => {
          const plain = new History().play(steps)
          const dropped = new History().play(steps)
          for (const world of [plain, dropped]) {
            const same = world.together()
            world.replicas.fill(same)
            // Nothing older is on its way any more: that is what stable means.
            world.puts.length = 0
          }
          drops.forEach((drop, i) => {
            const { container: held, heardOf } = dropped.replicas[i] as Place
            if (drop) dropped.replicas[i] = { container: withStableContextDropped(held), heardOf }
          })
          for (const one of later) {
            plain.step(one)
            dropped.step(one)
            // Deliver every new put somewhere, or nothing would happen.
            if (one.kind === 'put')
              for (const world of [plain, dropped])
                world.step({ kind: 'deliver', put: world.puts.length - 1, replica: one.client })
            expect(dropped.replicas.map((place) => names(place.container))).toEqual(
              plain.replicas.map((place) => names(place.container)),
            )
          }
        },
      ),
    )
  })

  test('leaves no more entries than there are writers of the siblings', () => {
    fc.assert(
      fc.property(container, (held) => {
        const writers = new Set(held.siblings.map(({ dot }) => dot.actor))
        const { context } = withStableContextDropped(held)
        expect(new Set([...context.vector.keys(), ...context.cloud.keys()])).toEqual(writers)
      }),
    )
  })
})

// --- contexts as sets

const ACTORS = ['node-a____.aaaaaaaa', 'node-b____.bbbbbbbb', 'node-c____.cccccccc'] as ActorId[]
const dot: fc.Arbitrary<Dot> = fc.record({
  actor: fc.constantFrom(...ACTORS),
  counter: fc.integer({ min: 1, max: 8 }),
})
const dots = fc.array(dot, { maxLength: 20 })
const EVERY_DOT = ACTORS.flatMap((actor) => Array.from({ length: 9 }, (_, i): Dot => ({ actor, counter: i + 1 })))

const contextOf = (members: readonly Dot[]) => members.reduce(withDot, EMPTY_CONTEXT)
const membersOf = (context: CausalContext) => EVERY_DOT.filter((one) => covers(context, one)).map(nameOf)
const sorted = (members: Iterable<string>) => [...new Set(members)].sort()

describe('a context', () => {
  test('covers the dots that it was built from and no other', () => {
    fc.assert(
      fc.property(dots, (members) => {
        expect(membersOf(contextOf(members)).sort()).toEqual(sorted(members.map(nameOf)))
      }),
    )
  })

  test('has one form for one set of dots, whatever the order and way of building', () => {
    fc.assert(
      fc.property(dots, fc.nat(), (members, cut) => {
        const built = contextOf(members)
        const backwards = contextOf(members.slice().reverse())
        const joined = joinContexts(contextOf(members.slice(cut)), contextOf(members.slice(0, cut)))
        const cloud = new Map<ActorId, Set<number>>()
        for (const { actor, counter } of members) cloud.set(actor, (cloud.get(actor) ?? new Set()).add(counter))
        const compacted = compact(new Map(), cloud)
        for (const other of [backwards, joined, compacted]) {
          expect(other).toEqual(built)
          expect(encodeContext(other)).toEqual(encodeContext(built))
        }
      }),
    )
  })

  test('keeps nothing in its cloud that the vector reaches or could reach', () => {
    fc.assert(
      fc.property(dots, dots, (a, b) => {
        const { vector, cloud } = joinContexts(contextOf(a), contextOf(b))
        for (const counter of vector.values()) expect(counter).toBeGreaterThan(0)
        for (const [actor, counters] of cloud) {
          expect(counters.size).toBeGreaterThan(0)
          for (const counter of counters) expect(counter).toBeGreaterThan((vector.get(actor) ?? 0) + 1)
        }
      }),
    )
  })

  test('joins as sets unite, and changes neither side by it', () => {
    fc.assert(
      fc.property(dots, dots, (a, b) => {
        const [left, right] = [contextOf(a), contextOf(b)]
        expect(membersOf(joinContexts(left, right)).sort()).toEqual(sorted([...a, ...b].map(nameOf)))
        expect(left).toEqual(contextOf(a))
        expect(right).toEqual(contextOf(b))
      }),
    )
  })

  test('descends from its subsets and from nothing else', () => {
    fc.assert(
      fc.property(dots, dots, (a, b) => {
        const inA = new Set(a.map(nameOf))
        expect(descends(contextOf(a), contextOf(b))).toBe(b.every((one) => inA.has(nameOf(one))))
        expect(descends(contextOf([...a, ...b]), contextOf(b))).toBe(true)
      }),
    )
  })

  test('restricted to some actors covers their dots only', () => {
    fc.assert(
      fc.property(dots, fc.subarray(ACTORS), (members, kept) => {
        const restricted = restrict(contextOf(members), (actor) => kept.includes(actor))
        expect(membersOf(restricted).sort()).toEqual(
          sorted(members.filter(({ actor }) => kept.includes(actor)).map(nameOf)),
        )
      }),
    )
  })

  test('of writers that saw each other takes one entry a writer', () => {
    const members = ACTORS.flatMap((actor) => Array.from({ length: 100 }, (_, i): Dot => ({ actor, counter: i + 1 })))
    expect(contextSize(contextOf(members))).toBe(ACTORS.length)
  })
})

// --- bytes

/** What decoding promises of everything that it lets in. */
function expectWellFormed(decoded: Container): void {
  const seen = decoded.siblings.map(({ dot: one }) => nameOf(one))
  expect(new Set(seen).size).toBe(seen.length)
  for (const { dot: one } of decoded.siblings) {
    expect(typeof one.actor).toBe('string')
    expect(one.counter).toBeGreaterThan(0)
    expect(covers(decoded.context, one)).toBe(true)
  }
  expect(decodeContainer(encodeContainer(decoded))).toEqual(decoded)
}

/** Lets in what is well-formed, and refuses the rest as malformed. */
function expectDecodedOrRefused(bytes: Uint8Array): void {
  let decoded: Container
  try {
    decoded = decodeContainer(bytes)
  } catch (error) {
    expect(error).toBeInstanceOf(MalformedError)
    return
  }
  expectWellFormed(decoded)
}

const mutation = fc.record({
  at: fc.nat(),
  kind: fc.constantFrom('change', 'cut', 'insert', 'remove'),
  byte: fc.integer({ min: 0, max: 255 }),
})
type Mutation = typeof mutation extends fc.Arbitrary<infer M> ? M : never

function mutate(bytes: Uint8Array, mutations: readonly Mutation[]): Uint8Array {
  const list = [...bytes]
  for (const { at, kind: how, byte } of mutations) {
    const place = at % Math.max(1, list.length)
    if (how === 'change') list[place] = byte
    else if (how === 'cut') list.length = place
    else list.splice(place, how === 'remove' ? 1 : 0, ...(how === 'insert' ? [byte] : []))
  }
  return Uint8Array.from(list)
}

/** With the checksum that belongs to them: a peer may send anything. */
function sealed(body: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(body.length + 4)
  bytes.set(body)
  new DataView(bytes.buffer).setUint32(body.length, checksumOf(body))
  return bytes
}

describe('bytes', () => {
  test('of a container come back as the same container', () => {
    fc.assert(
      fc.property(container, (held) => {
        expect(decodeContainer(encodeContainer(held))).toEqual(held)
        expectWellFormed(held)
      }),
    )
  })

  test('that were changed, cut or stretched are well-formed or refused as malformed', () => {
    fc.assert(
      fc.property(container, fc.array(mutation, { minLength: 1, maxLength: 4 }), (held, mutations) => {
        const bytes = encodeContainer(held)
        expectDecodedOrRefused(mutate(bytes, mutations))
        expectDecodedOrRefused(sealed(mutate(bytes.subarray(0, -4), mutations)))
      }),
      { numRuns: 500 },
    )
  })

  test('without any sense are refused as malformed', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), expectDecodedOrRefused), { numRuns: 500 })
  })

  test('with any MessagePack in any place are well-formed or refused as malformed', () => {
    const index = fc.oneof(fc.integer({ min: -1, max: 3 }), fc.constantFrom<unknown>('length', '0', 0.5, null))
    const counter = fc.oneof(fc.integer({ min: 0, max: 3 }), fc.constantFrom<unknown>(-1, 1.5, '1', null))
    const actor = fc.oneof(fc.constantFrom<unknown>(...ACTORS), fc.constantFrom<unknown>('short', 7, null))
    const sibling = fc.tuple(index, counter, fc.constant(0), fc.constant(0), fc.constantFrom<unknown>(null, 1))
    const context = fc.tuple(
      fc.array(actor, { maxLength: 3 }),
      fc.array(counter, { maxLength: 3 }),
      fc.array(fc.oneof(index, counter), { maxLength: 4 }),
    )
    const wire = fc.tuple(context, fc.array(sibling, { maxLength: 3 }))
    fc.assert(
      fc.property(fc.oneof(wire, fc.anything()), (anything) => {
        let bytes: Uint8Array
        try {
          bytes = sealed(encode(anything))
        } catch {
          return
        }
        expectDecodedOrRefused(bytes)
      }),
      { numRuns: 2000 },
    )
  })

  const wireOf = (context: unknown, siblings: unknown[]) => sealed(encode([context, siblings]))
  const plain = [ACTORS.slice(0, 2), [2, 0], []]

  const twice = [
    [0, 1, 0, 0, null],
    [0, 1, 0, 0, null],
  ]

  test.each([
    ['a version twice', 'a version twice', wireOf(plain, twice)],
    ['a version that no put has minted', 'not a dot', wireOf(plain, [[0, 0, 0, 0, null]])],
    ['an actor twice', 'actors twice', wireOf([[ACTORS[0], ACTORS[0]], [3, 1], []], [])],
    ['actors out of order', 'out of order', wireOf([[ACTORS[1], ACTORS[0]], [3, 1], []], [])],
    ['an actor by a name instead of a place', 'not a dot', wireOf([[ACTORS[0]], [1], ['length', 1]], [])],
    ['a sibling whose actor is a name', 'not a dot', wireOf(plain, [['length', 0, 0, 0, null]])],
    ['a sibling outside its context', 'outside its context', wireOf(plain, [[0, 3, 0, 0, null]])],
    ['an expiry time that is none', 'not an expiry time', wireOf(plain, [[0, 1, Number.NaN, 0, null]])],
  ])('with %s are refused', (_, why, bytes) => {
    expect(() => decodeContainer(bytes)).toThrow(MalformedError)
    expect(() => decodeContainer(bytes)).toThrow(why)
  })

  test('of a context come back, or are refused as malformed', () => {
    fc.assert(
      fc.property(dots, fc.array(mutation, { maxLength: 3 }), (members, mutations) => {
        const bytes = encodeContext(contextOf(members))
        expect(decodeContext(bytes)).toEqual(contextOf(members))
        try {
          const decoded = decodeContext(mutate(bytes, mutations))
          expect(decodeContext(encodeContext(decoded))).toEqual(decoded)
        } catch (error) {
          expect(error).toBeInstanceOf(MalformedError)
        }
      }),
    )
  })
})

describe('a digest', () => {
  test('is equal for equal versions and contexts, and different for different ones', () => {
    fc.assert(
      fc.property(history, fc.nat(), fc.nat(), (steps, i, j) => {
        const all = new History().play(steps).containers()
        const [a, b] = [all[i % all.length], all[j % all.length]] as [Container, Container]
        const clock = (held: Container) => JSON.stringify([[...encodeContext(held.context)], names(held)])
        const equal = JSON.stringify(digestOf(KEY, a)) === JSON.stringify(digestOf(KEY, b))
        expect(equal).toBe(clock(a) === clock(b))
      }),
    )
  })

  test('differs from key to key, so that equal versions of two keys do not cancel out', () => {
    fc.assert(
      fc.property(container, (held) => {
        expect(digestOf(KEY, held)).not.toEqual(digestOf(storeKey(3, '', 'l'), held))
      }),
    )
  })
})

describe('a token', () => {
  test('comes back as the context, in its own room and for its own key only', () => {
    fc.assert(
      fc.property(dots, fc.string({ minLength: 1 }), fc.string({ minLength: 1 }), (members, room, name) => {
        const [context, key] = [contextOf(members), storeKey(3, '', name)]
        const token = encodeToken(room, key, context)
        expect(decodeToken(room, key, token)).toEqual(context)
        expect(() => decodeToken(`${room}x`, key, token)).toThrow(MalformedError)
        expect(() => decodeToken(room, storeKey(3, 'bucket', name), token)).toThrow(MalformedError)
      }),
    )
  })

  test('that was changed in any way is refused', () => {
    fc.assert(
      fc.property(dots, fc.array(mutation, { minLength: 1, maxLength: 3 }), (members, mutations) => {
        const token = encodeToken('room', KEY, contextOf(members))
        const changed = mutate(token, mutations)
        fc.pre([...changed].join() !== [...token].join())
        expect(() => decodeToken('room', KEY, changed)).toThrow(MalformedError)
      }),
    )
  })

  test('made of random bytes is refused', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
        expect(() => decodeToken('room', KEY, bytes)).toThrow(MalformedError)
      }),
    )
  })
})
