/**
 * A name for one writer of {@link counter} and {@link orSet} values. Make one when a store is opened and keep it until it
 * is closed. Not per change: each actor that ever changed a value stays in it. Not per device: an actor must never start
 * again from an older state of the value, as a database restored from a backup would.
 */
export function newActor(): string {
  return crypto.randomUUID().slice(0, 13)
}
