/**
 * Rows as they are read from the database, where bit rot, or somebody else with a connection, may have left anything. One of another shape counts as a
 * damaged one, never as absent: it keeps its key, and its bytes are none that could be decoded.
 */
import type { HintRow } from '../../core/environment.js'
import { EMPTY_CONTAINER } from '../../core/versions/container.js'
import { digestOf } from '../../core/versions/encoding.js'
import type { RecordRow } from './database.js'
import { storeKeyOf } from './layout.js'

const DAMAGED = new Uint8Array(0)
/** Whole containers lie in the rows, and all of them at once may be much. */
const ROWS_AT_ONCE = 128

/** @param row undefined where there is none. */
export function recordRow(row: unknown, recordKey: string): RecordRow | undefined {
  if (row === undefined || isRecordRow(row)) return row
  // With a digest of its own: a leaf without one would count as empty.
  const { high, low } = digestOf(storeKeyOf(recordKey), EMPTY_CONTAINER)
  return { c: DAMAGED, h: high, l: low }
}

function isRecordRow(row: unknown): row is RecordRow {
  const { c, h, l, k } = Object(row)
  const isKey = k === undefined || typeof k === 'string'
  return c instanceof Uint8Array && typeof h === 'number' && typeof l === 'number' && isKey
}

/** @param row undefined where there is none. */
export function hintRow(row: unknown): HintRow | undefined {
  return row === undefined || isHintRow(row) ? row : { homes: [], own: false, container: DAMAGED }
}

export function isHintRow(row: unknown): row is HintRow {
  const { homes, own, container } = Object(row)
  const isHomes = Array.isArray(homes) && homes.every((home) => typeof home === 'string')
  return isHomes && typeof own === 'boolean' && container instanceof Uint8Array
}

/** @param value undefined where there is none. */
export function containerBytes(value: unknown): Uint8Array | undefined {
  return value === undefined || value instanceof Uint8Array ? value : DAMAGED
}

interface Rows {
  getAllKeys(range: IDBKeyRange | undefined, count: number): Promise<IDBValidKey[]>
  getAll(range: IDBKeyRange | undefined, count: number): Promise<unknown[]>
}

/** Gives every row of a store to `visit`, by page, within the transaction. As the rows, a key may be anything. */
export async function eachRow(store: Rows, visit: (key: IDBValidKey, row: unknown) => void): Promise<void> {
  for (let after: IDBValidKey | undefined, more = true; more; ) {
    const range = after === undefined ? undefined : IDBKeyRange.lowerBound(after, true)
    const [keys, rows] = await Promise.all([store.getAllKeys(range, ROWS_AT_ONCE), store.getAll(range, ROWS_AT_ONCE)])
    for (const [i, key] of keys.entries()) visit(key, rows[i])
    after = keys.at(-1)
    more = keys.length === ROWS_AT_ONCE
  }
}
