/** Values and times as people type and read them. */

const MAX_SHOWN = 2000

/** What was typed: JSON where it is JSON, else the text itself. */
export function parseValue(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}

/** A value as text: JSON, with a word in front of what JSON does not know. */
export function showValue(value: unknown): string {
  const text = show(value)
  return text.length > MAX_SHOWN ? `${text.slice(0, MAX_SHOWN)} … (${text.length} characters)` : text
}

function show(value: unknown): string {
  if (typeof value === 'bigint') return `${value}n`
  if (typeof value === 'number') return Object.is(value, -0) ? '-0' : String(value)
  if (typeof value !== 'object' || value === null) return JSON.stringify(value) ?? 'undefined'
  if (value instanceof Date) return `Date ${value.toISOString()}`
  if (value instanceof Uint8Array) return `Bytes ${[...value.subarray(0, 64)].map(hex).join(' ')}`
  if (value instanceof Set) return `Set [${[...value].map(show).join(', ')}]`
  if (value instanceof Map) return `Map {${[...value].map(([k, v]) => `${show(k)} → ${show(v)}`).join(', ')}}`
  if (Array.isArray(value)) return `[${value.map(show).join(', ')}]`
  return `{${Object.entries(value)
    .map(([name, item]) => `${JSON.stringify(name)}: ${show(item)}`)
    .join(', ')}}`
}

function hex(byte: number): string {
  return byte.toString(16).padStart(2, '0')
}

/** '12 s ago'; null is never. */
export function showAge(at: number | null, now: number): string {
  if (at === null) return 'never'
  const seconds = Math.max(0, Math.round((now - at) / 1000))
  if (seconds < 2) return 'now'
  if (seconds < 120) return `${seconds} s ago`
  if (seconds < 7200) return `${Math.round(seconds / 60)} min ago`
  return seconds < 172_800 ? `${Math.round(seconds / 3600)} h ago` : `${Math.round(seconds / 86_400)} days ago`
}

export function showBytes(bytes: number): string {
  if (bytes < 1000) return `${bytes} B`
  return bytes < 1_000_000 ? `${(bytes / 1000).toFixed(1)} kB` : `${(bytes / 1_000_000).toFixed(1)} MB`
}

export function plural(count: number, one: string, many = `${one}s`): string {
  return `${count} ${count === 1 ? one : many}`
}
