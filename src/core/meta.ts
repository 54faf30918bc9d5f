/** Small values of the node itself as its disk keeps them. A damaged one counts as missing: the ring knows all of it as well. */

import { decodeMessagePack } from './versions/messagepack.js'
import type { Field } from './wire.js'

/** What was stored, if it is still what `field` takes. */
export function restored<T>(stored: Uint8Array | undefined, field: Field<T>): T | undefined {
  if (!stored) return undefined
  try {
    return field(decodeMessagePack(stored))
  } catch {
    return undefined
  }
}
