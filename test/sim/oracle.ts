/** Knows the true causal history of all puts, and judges what is left at the end against it. */
import type { StoreKey } from '../../src/core/ids.js'
import type { Container } from '../../src/core/versions/container.js'
import { type CausalContext, type Dot, covers } from '../../src/core/versions/context.js'

export interface Put {
  key: StoreKey
  dot: Dot
  /** What the writer had seen, without the put itself. */
  context: CausalContext
  deleted: boolean
  acknowledged: boolean
}

export class Oracle {
  private readonly puts = new Map<StoreKey, Put[]>()
  private readonly dots = new Set<string>()
  readonly violations: string[] = []

  began(put: Put): void {
    const name = nameOf(put)
    // I4: a dot is never issued twice.
    if (this.dots.has(name)) this.violations.push(`dot issued twice: ${name}`)
    this.dots.add(name)
    const known = this.puts.get(put.key) ?? []
    known.push(put)
    this.puts.set(put.key, known)
  }

  keys(): StoreKey[] {
    return [...this.puts.keys()]
  }

  /** I1, I2, I5 for one key, from the state that all homes agree on; undefined when none holds anything. */
  judge(key: StoreKey, state: Container | undefined): void {
    const puts = this.puts.get(key) ?? []
    const left = new Set((state?.siblings ?? []).map((sibling) => dotName(sibling.dot)))
    // A put that took effect: it is there, or somebody who saw it wrote what is there.
    const effective = closure(puts, (put) => left.has(dotName(put.dot)))
    // A deletion that everybody agreed to forget leaves nothing behind, but what it deleted is not lost.
    const explained = closure(puts, (put) => left.has(dotName(put.dot)) || put.deleted)
    for (const put of puts) {
      const superseded = puts.some((later) => later !== put && effective.has(later) && covers(later.context, put.dot))
      if (left.has(dotName(put.dot)) && superseded)
        this.violations.push(`false sibling or resurrection: ${nameOf(put)}`)
      if (put.acknowledged && !explained.has(put)) this.violations.push(`acknowledged put lost: ${nameOf(put)}`)
    }
    for (const name of left)
      if (!puts.some((put) => dotName(put.dot) === name)) this.violations.push(`unknown version ${name} of ${key}`)
  }
}

/** These puts, and all that somebody among them had seen. */
function closure(puts: Put[], start: (put: Put) => boolean): Set<Put> {
  const found = new Set(puts.filter(start))
  for (let grew = true; grew; ) {
    grew = false
    for (const put of puts) {
      if (found.has(put) || ![...found].some((later) => covers(later.context, put.dot))) continue
      found.add(put)
      grew = true
    }
  }
  return found
}

function dotName({ actor, counter }: Dot): string {
  return `${actor}:${counter}`
}

function nameOf(put: Put): string {
  return `${dotName(put.dot)} of ${JSON.stringify(put.key)}`
}
