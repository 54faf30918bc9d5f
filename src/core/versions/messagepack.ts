/**
 * MessagePack, in and out. What comes in is from peers, from a disk, from applications: a list says how many items it has before the first of
 * them, and a decoder makes room for as many: thirty bytes can ask for gigabytes. So the counts are checked first against
 * the bytes there are. Relied on by every decoding of received bytes.
 */
import { Decoder, Encoder } from '@msgpack/msgpack'

/** Larger ones are not kept for the next time. */
const MAX_KEPT_BYTES = 256 * 1024
// Both are used again: making them costs more than most messages do.
let encoder = new Encoder()
const plain = new Decoder()

/** In bytes of their own. */
export function encodeMessagePack(value: unknown): Uint8Array {
  const bytes = encoder.encode(value)
  if (bytes.length > MAX_KEPT_BYTES) encoder = new Encoder()
  return bytes
}

/**
 * @param decoder of extension types, where there may be some
 * @throws when the bytes are not one whole value; for the caller to turn into an error of its own.
 */
export function decodeMessagePack(bytes: Uint8Array, decoder: { decode(bytes: Uint8Array): unknown } = plain): unknown {
  checkCounts(bytes)
  return decoder.decode(bytes)
}

/** Walks over all items without looking into them: those announced must fit into the bytes that are left, one byte each at least. */
function checkCounts(bytes: Uint8Array): void {
  let at = 0
  for (let announced = 1; announced > 0; announced--) {
    const head = bytes[at++] ?? 0
    if (head >= 0x80 && head < 0x90) announced += 2 * (head & 15)
    else if (head >= 0x90 && head < 0xa0) announced += head & 15
    else if (head >= 0xa0 && head < 0xc0) at += head & 31
    else if (head >= 0xc0 && head < 0xe0) {
      const { size, counts } = LONG_FORMS[head - 0xc0] ?? NOTHING
      let count = 0
      for (const end = at + size; at < end; at++) count = count * 256 + (bytes[at] ?? 0)
      if (counts === 'items') announced += count
      else if (counts === 'pairs') announced += 2 * count
      else at += counts === 'bytes' ? count : counts === 'extension' ? count + 1 : 0
    }
    if (announced - 1 > bytes.length - at) throw new RangeError('more items are announced than there are bytes')
  }
}

interface LongForm {
  /** Bytes behind the head: of a number, or of a count. */
  size: number
  /** What is counted. */
  counts?: 'bytes' | 'extension' | 'items' | 'pairs'
}

const NOTHING: LongForm = { size: 0 }

/** The forms from 0xc0 to 0xdf, as the specification lists them. */
const LONG_FORMS: readonly LongForm[] = [
  ...[NOTHING, NOTHING, NOTHING, NOTHING],
  ...[1, 2, 4].map((size): LongForm => ({ size, counts: 'bytes' })),
  ...[1, 2, 4].map((size): LongForm => ({ size, counts: 'extension' })),
  ...[4, 8].map((size): LongForm => ({ size })),
  ...[1, 2, 4, 8, 1, 2, 4, 8].map((size): LongForm => ({ size })),
  ...[2, 3, 5, 9, 17].map((size): LongForm => ({ size })),
  ...[1, 2, 4].map((size): LongForm => ({ size, counts: 'bytes' })),
  ...[2, 4].map((size): LongForm => ({ size, counts: 'items' })),
  ...[2, 4].map((size): LongForm => ({ size, counts: 'pairs' })),
]
