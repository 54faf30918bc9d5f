/** Throws when something that this code itself guarantees does not hold: a bug, never a user's mistake. Stays on in production. */
export function invariant(condition: unknown, what: string): asserts condition {
  if (!condition) throw new Error(`tabring: broken invariant: ${what}`)
}
