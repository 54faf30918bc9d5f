/**
 * The records used last, in memory, as they are on the disk: a read-modify-write of a hot key, and a get, then need no request to the
 * database. Only completed transactions change it, so it is never ahead of the disk. Scrubbing reads past it, and a recount empties it: the disk is
 * what counts where somebody else has changed it.
 */
import type { RecordRow } from './database.js'

const MAX_BYTES = 8 * 1024 * 1024
/** What an entry costs beside its container. */
const OVERHEAD_BYTES = 200

export class RowCache {
  private readonly rows = new Map<string, RecordRow>()
  private bytes = 0

  get(key: string): RecordRow | undefined {
    const row = this.rows.get(key)
    if (row) {
      this.rows.delete(key)
      this.rows.set(key, row)
    }
    return row
  }

  clear(): void {
    this.rows.clear()
    this.bytes = 0
  }

  /** @param row undefined when the record was removed. */
  set(key: string, row: RecordRow | undefined): void {
    const former = this.rows.get(key)
    if (former) {
      this.rows.delete(key)
      this.bytes -= former.c.length + OVERHEAD_BYTES
    }
    if (!row) return
    this.rows.set(key, row)
    this.bytes += row.c.length + OVERHEAD_BYTES
    for (const [oldest] of this.rows) {
      if (this.bytes <= MAX_BYTES || oldest === key) return
      this.set(oldest, undefined)
    }
  }
}
