/** Typed events inside the core: what happens is told to whoever listens, in order, synchronously. */
export class Emitter<Events> {
  private readonly listeners = new Map<keyof Events, Set<(detail: never) => void>>()

  /** @returns a function that stops the listening. */
  on<K extends keyof Events>(type: K, listener: (detail: Events[K]) => void): () => void {
    const all = this.listeners.get(type) ?? new Set()
    this.listeners.set(type, all)
    all.add(listener)
    return () => all.delete(listener)
  }

  emit<K extends keyof Events>(type: K, detail: Events[K]): void {
    const all = this.listeners.get(type)
    if (all) for (const listener of [...all]) (listener as (detail: Events[K]) => void)(detail)
  }
}
