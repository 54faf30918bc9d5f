/** `scan`: every live key in order, over the whole ring, as an async iterable that knows afterwards whether it saw everything. */
import type { KeyRange } from '../core/environment.js'
import type { Scan as RingScan, ScanEntry, ScanRange } from '../core/requests/scan.js'
import type { Entry } from './entry.js'
import { OptionError } from './errors.js'
import { checkKeyPart, readCall } from './options.js'
import type { AnyValue } from './values.js'

export interface ScanOptions {
  /** Only keys that begin with this. */
  prefix?: string | undefined
  /** From this key on, inclusive. */
  start?: string | undefined
  /** Up to this key, exclusive. */
  end?: string | undefined
  /** So many entries at most. Default: all. */
  limit?: number | undefined
  /** From the last key to the first. */
  reverse?: boolean | undefined
  /** Ends the loop with its reason. */
  signal?: AbortSignal | undefined
}

const TEXT_OPTIONS = ['prefix', 'start', 'end'] as const
const OPTIONS = [...TEXT_OPTIONS, 'limit', 'reverse', 'signal']

/** @throws OptionError */
export function readScanOptions(options: ScanOptions | undefined, bucketPrefix: string): KeyRange {
  const given = readCall(options, OPTIONS)
  for (const name of TEXT_OPTIONS) if (given[name] !== undefined) checkKeyPart(name, given[name])
  const { prefix = '', start, end, limit = Number.POSITIVE_INFINITY, reverse = false } = given
  if (limit !== Number.POSITIVE_INFINITY && !(Number.isInteger(limit) && limit >= 0))
    throw new OptionError('limit', 'give a whole number.')
  if (typeof reverse !== 'boolean') throw new OptionError('reverse', 'give true or false.')
  const from = start !== undefined && start > prefix ? bucketPrefix + start : bucketPrefix + prefix
  const afterPrefix = successorOfPrefix(bucketPrefix + prefix)
  const to = end !== undefined && bucketPrefix + end < afterPrefix ? bucketPrefix + end : afterPrefix
  return { from, to, reverse, limit }
}

/**
 * The first text, in UTF-16 order, that is greater than all texts with this prefix. A bucket's prefix ends in \0, so there is one.
 * It is well-formed: half a surrogate pair would not survive the way to other nodes.
 */
function successorOfPrefix(prefix: string): string {
  const characters = [...prefix]
  while (characters.at(-1) === '\uffff') characters.pop()
  const last = characters.pop()?.codePointAt(0) ?? 0
  // In this order the characters of two units stand between U+D7FF and U+E000.
  const next = last === 0xd7ff ? 0x10000 : last === 0x10ffff ? 0xe000 : last + 1
  return characters.join('') + String.fromCodePoint(next)
}

export class Scan<V = AnyValue> implements AsyncIterable<Entry<V>> {
  /** True once the scan has ended and every partition was answered for by a home that has all of it. */
  complete = false
  /** As `complete`, whether or not every value could be read. @internal */
  covered = false

  /** @internal */
  constructor(
    private readonly plan: KeyRange,
    private readonly begin: (range: ScanRange) => RingScan,
    /** undefined where a value cannot be read: then the scan is not complete. */
    private readonly toEntry: (found: ScanEntry) => Entry<V> | undefined,
    /** Rejects when the store closes or the scan is aborted. */
    private readonly whileOpen: <T>(work: Promise<T>) => Promise<T>,
  ) {}

  async *[Symbol.asyncIterator](): AsyncGenerator<Entry<V>, void, undefined> {
    const { limit, ...range } = this.plan
    this.complete = this.covered = false
    const scan = this.begin(range)
    if (range.from >= range.to || limit === 0) {
      await this.whileOpen(Promise.resolve())
      this.complete = this.covered = true
      return
    }
    const entries = scan.entries()
    let yielded = 0
    let allReadable = true
    while (yielded < limit) {
      const next = await this.whileOpen(entries.next())
      if (next.done) break
      const entry = this.toEntry(next.value)
      allReadable &&= entry !== undefined
      if (!entry || entry.siblings.length === 0) continue
      yielded++
      this.covered = scan.complete && yielded === limit
      this.complete = this.covered && allReadable
      yield entry
    }
    this.covered = scan.complete
    this.complete = this.covered && allReadable
  }
}
