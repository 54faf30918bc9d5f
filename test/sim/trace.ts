/** What happened in a run: always as one number, by which two runs are compared (I14), and on request as text about one key or node. */
import { decode } from '@msgpack/msgpack'
import type { NodeId } from '../../src/core/ids.js'
import { shapesByCode } from '../../src/core/messages.js'

export interface TraceOptions {
  /** Only lines that contain this text: a key, a node's id or a message's type. Empty: all. */
  about: string
  print: (line: string) => void
}

/** Characters of a line; a batch may hold hundreds of keys. */
const LINE = 450

export class Trace {
  private state = 0x811c9dc5
  readonly sent = new Map<string, number>()

  constructor(private readonly options: TraceOptions | undefined) {}

  get hash(): string {
    return (this.state >>> 0).toString(16).padStart(8, '0')
  }

  frame(at: number, from: NodeId, to: NodeId, frame: Uint8Array): void {
    this.mix(at * 1000)
    this.mix(frame.length)
    for (let i = 0; i < frame.length; i += 7) this.mix(frame[i] as number)
    const type = typeOf(frame)
    this.sent.set(type, (this.sent.get(type) ?? 0) + 1)
    if (this.options) this.line(at, `${from} -> ${to} ${type} ${describe(frame)}`)
  }

  event(at: number, what: string): void {
    this.mix(at * 1000)
    for (let i = 0; i < what.length; i++) this.mix(what.charCodeAt(i))
    if (this.options) this.line(at, what)
  }

  private line(at: number, text: string): void {
    const found = this.options ? text.indexOf(this.options.about) : -1
    if (found >= 0) this.options?.print(`${at.toFixed(1).padStart(10)} ${excerpt(text, found)}`)
  }

  private mix(value: number): void {
    this.state = Math.imul(this.state ^ (value | 0), 0x01000193)
  }
}

/** The code is the first field of the frame's list: a small number, in one byte after the list's own. */
export function typeOf(frame: Uint8Array): string {
  return shapesByCode.get(frame[1] as number)?.type ?? '?'
}

function describe(frame: Uint8Array): string {
  return JSON.stringify(decode(frame), (_, value) => (value instanceof Uint8Array ? hex(value) : value))
}

/** The beginning of a long text, and what stands around the place that was looked for. */
function excerpt(text: string, at: number): string {
  if (text.length <= LINE) return text
  const start = text.slice(0, LINE)
  return at < LINE - 100 ? `${start}…` : `${start}…${text.slice(Math.max(LINE, at - 50), at + 150)}…`
}

function hex(bytes: Uint8Array): string {
  return Array.from(bytes.subarray(0, 12), (byte) => byte.toString(16).padStart(2, '0')).join('')
}
