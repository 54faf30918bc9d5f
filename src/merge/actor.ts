/**
 * A name for one writer of {@link counter} and {@link orSet} values. Make one when a store is opened and keep it until it
 * is closed. Not per change: each actor that ever changed a value stays in it. Not per device: an actor must never start
 * again from an older state of the value, as a database restored from a backup would.
 */
export function newActor(): string {
  return crypto.randomUUID().slice(0, 13)
}

/** Tabs that all had none would be one actor, whose changes undo each other. @throws TypeError */
export function checkActor(actor: unknown): asserts actor is string {
  if (typeof actor !== 'string' || actor === '')
    throw new TypeError(`an actor is what newActor() gives, and not ${String(actor)}`)
}
