/**
 * The matching of partitions and nodes: every partition wants its n cheapest nodes, no node takes more than its limit. Solved as a stable
 * matching by deferred acceptance (Gale & Shapley 1962): nodes claim partitions in the order of their scores, a partition keeps
 * the best claims that its devices allow. The costs are the same for both sides, so there is exactly one stable outcome:
 * it does not depend on the order of the steps, and a new or a missing node changes it only along short chains.
 */
import type { DeviceId } from '../ids.js'
import type { Scores } from './scores.js'

/**
 * The most homes a node may have for its fair share: 5 % more, and no more than 0.35 of the share's square root, rounded up. Chance alone
 * scatters loads by about half of the square root; a limit closer to the share balances better, but makes more nodes pass on what they
 * got, which moves when members change.
 */
export function limitFor(share: number): number {
  return Math.ceil(share + Math.min(0.05 * share, 0.35 * Math.sqrt(share)) - 1e-9)
}

/**
 * For each partition index the positions (in `members`) of its `copies` homes, unordered, on as many distinct devices as possible. No
 * node has more than `limitFor` its fair share, or one more where tabs on few devices leave no other way.
 */
export function claimHomes(
  members: readonly { device: DeviceId }[],
  scores: readonly Scores[],
  shares: readonly number[],
  Q: number,
  copies: number,
): number[][] {
  if (copies === members.length) return Array.from({ length: Q }, () => members.map((_, i) => i))
  const devices = [...new Set(members.map((member) => member.device))]
  const claims = new Claims(
    members.map((member) => devices.indexOf(member.device)),
    scores,
    shares.map((share) => Math.min(Q, limitFor(share))),
    copies,
    Math.max(0, copies - devices.length),
  )
  claims.settle(Q)
  claims.complete(Q)
  return claims.homes
}

class Claims {
  readonly homes: number[][] = []
  private readonly load: number[]
  private readonly next: number[]

  constructor(
    private readonly device: readonly number[],
    private readonly scores: readonly Scores[],
    private readonly limits: readonly number[],
    private readonly copies: number,
    /** How many homes of a partition may share a device with another: 0 with enough devices. */
    private readonly doubles: number,
  ) {
    this.load = limits.map(() => 0)
    this.next = limits.map(() => 0)
  }

  /** Deferred acceptance. What a partition refuses once it would refuse again, so nobody claims the same twice. */
  settle(Q: number): void {
    for (let index = 0; index < Q; index++) this.homes.push([])
    const waiting = this.limits.map((_, node) => node)
    for (let node = waiting.pop(); node !== undefined; node = waiting.pop()) {
      const order = this.scores[node]?.order
      while ((this.load[node] as number) < (this.limits[node] as number) && (this.next[node] as number) < Q) {
        const refused = this.offer(order?.[this.next[node] as number] ?? 0, node)
        this.next[node] = (this.next[node] as number) + 1
        if (refused !== undefined && refused !== node) waiting.push(refused)
      }
    }
  }

  /**
   * Fills partitions that are short of a home because every node with room is on a device that has a copy already: looks for the shortest
   * chain in which each node takes one partition and gives up another.
   */
  complete(Q: number): void {
    for (let index = 0; index < Q; index++) while ((this.homes[index]?.length ?? 0) < this.copies) this.extend(index)
  }

  /** Takes the node in; returns who has to go for it, possibly itself. */
  private offer(index: number, node: number): number | undefined {
    const homes = this.homes[index] as number[]
    homes.push(node)
    this.load[node] = (this.load[node] as number) + 1
    const crowded = this.doublesIn(homes) > this.doubles
    if (!crowded && homes.length <= this.copies) return undefined
    let worst = -1
    for (let i = 0; i < homes.length; i++) {
      if (crowded && !this.sharesDevice(homes, i)) continue
      if (worst < 0 || this.dearer(index, homes[i] as number, homes[worst] as number)) worst = i
    }
    const refused = homes[worst] as number
    homes.splice(worst, 1)
    this.load[refused] = (this.load[refused] as number) - 1
    return refused
  }

  private extend(start: number): void {
    const came = new Map<number, { from: number; node: number }>()
    const queue = [start]
    for (const index of queue) {
      const leaving = index === start ? undefined : came.get(index)?.node
      const candidates = this.candidates(index, leaving)
      const free = candidates.find((node) => (this.load[node] as number) < (this.limits[node] as number))
      if (free !== undefined) {
        this.load[free] = (this.load[free] as number) + 1
        let taker = free
        for (let at = index; ; ) {
          const step = at === start ? undefined : came.get(at)
          const homes = this.homes[at] as number[]
          if (!step) {
            homes.push(taker)
            return
          }
          homes.splice(homes.indexOf(step.node), 1, taker)
          taker = step.node
          at = step.from
        }
      }
      for (const node of candidates) {
        this.homes.forEach((homes, other) => {
          if (other === start || came.has(other) || !homes.includes(node)) return
          came.set(other, { from: index, node })
          queue.push(other)
        })
      }
    }
    // No chain: the limits are tighter than the devices allow. One node goes above its limit.
    const node = this.candidates(start, undefined).sort(
      (a, b) => this.fullness(a) - this.fullness(b) || a - b,
    )[0] as number
    this.homes[start]?.push(node)
    this.load[node] = (this.load[node] as number) + 1
  }

  /** Who may become a home of the partition when `leaving` is gone, closest first. */
  private candidates(index: number, leaving: number | undefined): number[] {
    const homes = (this.homes[index] ?? []).filter((home) => home !== leaving)
    return this.limits
      .map((_, node) => node)
      .filter((node) => node !== leaving && !homes.includes(node) && this.doublesIn([...homes, node]) <= this.doubles)
      .sort((a, b) => (this.dearer(index, a, b) ? 1 : -1))
  }

  private fullness(node: number): number {
    return (this.load[node] as number) / (this.limits[node] as number)
  }

  private dearer(index: number, a: number, b: number): boolean {
    const difference = (this.scores[a]?.cost[index] ?? 0) - (this.scores[b]?.cost[index] ?? 0)
    return difference > 0 || (difference === 0 && a > b)
  }

  private sharesDevice(homes: readonly number[], at: number): boolean {
    return homes.some((home, i) => i !== at && this.device[home] === this.device[homes[at] as number])
  }

  private doublesIn(homes: readonly number[]): number {
    let doubles = 0
    for (let i = 1; i < homes.length; i++) {
      for (let j = 0; j < i; j++) {
        if (this.device[homes[j] as number] !== this.device[homes[i] as number]) continue
        doubles++
        break
      }
    }
    return doubles
  }
}
