/**
 * What one store handle has read and written: the causality that applications need not carry around. A put without a context descends from it, and
 * no get falls behind it (read your writes, monotonic reads). Contexts are kept for very many keys, versions themselves for as
 * many as fit.
 */
import type { StoreKey } from '../core/ids.js'
import { type Agreed, leftOf } from '../core/replica/forgettings.js'
import { type Container, EMPTY_CONTAINER, compareDots, isLive, mergeContainers } from '../core/versions/container.js'
import { type CausalContext, type Dot, EMPTY_CONTEXT, joinContexts } from '../core/versions/context.js'

const MAX_CONTEXTS = 100_000
const MAX_BYTES = 16 * 1024 * 1024

export class Session {
  /** What was read and written, and how many writes that was. */
  private readonly contexts = new Map<StoreKey, { context: CausalContext; writes: number }>()
  private readonly undecided = new Map<StoreKey, Set<Promise<unknown>>>()
  private readonly versions = new Map<StoreKey, { container: Container; bytes: number }>()
  private bytes = 0

  knows(key: StoreKey): boolean {
    return this.contexts.has(key)
  }

  contextOf(key: StoreKey): CausalContext {
    return this.contexts.get(key)?.context ?? EMPTY_CONTEXT
  }

  /** What the application was shown, or wrote: the next write descends from it. */
  knew(key: StoreKey, context: CausalContext): void {
    this.note(key, context, this.writesOf(key))
  }

  /** A write has begun: the next one descends from it, whether this one has been confirmed yet or not. */
  began(key: StoreKey, context: CausalContext, decision: Promise<unknown>): void {
    this.note(key, context, this.writesOf(key) + 1)
    const undecided = this.undecided.get(key) ?? new Set()
    this.undecided.set(key, undecided.add(decision))
    const decided = () => {
      undecided.delete(decision)
      if (undecided.size === 0) this.undecided.delete(key)
    }
    decision.then(decided, decided)
  }

  /** Changes whenever a write of the key begins. */
  writesOf(key: StoreKey): number {
    return this.contexts.get(key)?.writes ?? 0
  }

  /** Resolves once the writes of the key that have begun are decided, in whatever way. */
  async allDecided(key: StoreKey): Promise<void> {
    await Promise.allSettled(this.undecided.get(key) ?? [])
  }

  /**
   * Versions that were read, or whose write somebody has: no later read falls behind them. Whether the application comes to see them is another
   * matter, and no write replaces them before `knew` says so.
   * @returns these together with all found before.
   */
  found(key: StoreKey, container: Container): Container {
    const former = this.versions.get(key)
    const merged = mergeContainers(former?.container ?? EMPTY_CONTAINER, container)
    this.drop(key)
    const bytes = merged.siblings.reduce((sum, sibling) => sum + 200 + (sibling.value?.length ?? 0), 0)
    this.versions.set(key, { container: merged, bytes })
    this.bytes += bytes
    for (const [oldest] of this.versions) {
      if ((this.bytes <= MAX_BYTES && this.versions.size <= MAX_CONTEXTS) || oldest === key) break
      this.drop(oldest)
    }
    return merged
  }

  /** All versions of the key that have been found, unless they have been let go of. */
  foundOf(key: StoreKey): Container | undefined {
    return this.versions.get(key)?.container
  }

  /** A version that was shown while its put was under way, and that nobody took, is shown no more. */
  refused(key: StoreKey, dot: Dot): void {
    const former = this.versions.get(key)?.container
    const siblings = former?.siblings.filter((sibling) => compareDots(sibling.dot, dot) !== 0) ?? []
    if (!former || siblings.length === former.siblings.length) return
    this.drop(key)
    this.found(key, { ...former, siblings })
  }

  /** Keys that a get would show, whoever answers. */
  liveKeys(): StoreKey[] {
    return [...this.versions].flatMap(([key, { container }]) => (isLive(container) ? [key] : []))
  }

  /** All versions that are still in memory. */
  entries(): { key: StoreKey; container: Container }[] {
    return [...this.versions].map(([key, { container }]) => ({ key, container }))
  }

  /**
   * Everybody is about to forget what versions of these keys have replaced. Those that are left stay, with what is known of others that they have
   * replaced; all others would be news if they were shown once more. A deletion that was seen stays too:
   * it shows nothing, and where somebody does not agree, a home may still have what was deleted. What the next put descends from stays:
   * a context cannot bring anything back, and without it the put would stand beside what was read.
   */
  forgetVersions(agreed: readonly Agreed[]): void {
    for (const one of agreed) {
      const former = this.versions.get(one.key)
      if (former && isLive(former.container) && !leftOf(former.container, one)) this.drop(one.key)
    }
  }

  private note(key: StoreKey, context: CausalContext, writes: number): void {
    const joined = joinContexts(this.contextOf(key), context)
    this.contexts.delete(key)
    this.contexts.set(key, { context: joined, writes })
    if (this.contexts.size <= MAX_CONTEXTS) return
    for (const [oldest] of this.contexts) {
      this.contexts.delete(oldest)
      return this.drop(oldest)
    }
  }

  private drop(key: StoreKey): void {
    const former = this.versions.get(key)
    if (!former) return
    this.bytes -= former.bytes
    this.versions.delete(key)
  }
}
