/**
 * Sometimes-assertions: which dangerous states a run really visited. A scenario names those without which it proves nothing, and fails when it
 * never got there.
 */
import { StorageFailure } from '../../src/core/environment.js'
import type { Node } from '../../src/core/node.js'
import { isLive } from '../../src/core/versions/container.js'
import type { Place } from './world.js'

export type Sight =
  | 'a hint was delivered'
  | 'a hint was delivered by a restarted holder'
  | 'a hint was re-routed'
  | 'a read was repaired'
  | 'a read repair met a tombstone'
  | 'a partition was transferred'
  | 'Merkle sync moved data'
  | 'a node was replaced while it was away'
  | 'a tombstone was forgotten'
  | 'a member fell asleep'
  | 'a member left'
  | 'a closed tab was adopted'
  | 'an open tab lost its disk'
  | 'a copy answered where no home did'
  | 'a peer went down'
  | 'a disk refused'
  | 'a frame was malformed'

export class Sights {
  readonly seen = new Map<string, number>()

  /** @param what a `Sight`, or a state that only one scenario knows. */
  saw(what: string, times = 1): void {
    if (times > 0) this.seen.set(what, (this.seen.get(what) ?? 0) + times)
  }

  watch(place: Place, node: Node): void {
    const saw = (sight: Sight, times = 1) => this.saw(sight, times)
    const restarted = place.disk.hints.size > 0
    node.events.on('handoff', ({ keys }) => {
      saw('a hint was delivered', keys)
      if (restarted) saw('a hint was delivered by a restarted holder', keys)
    })
    const retargetHint = node.replica.retargetHint.bind(node.replica)
    node.replica.retargetHint = (key, homes, kept) => {
      if (homes.length > 0) saw('a hint was re-routed')
      return retargetHint(key, homes, kept)
    }
    node.events.on('repair', ({ key }) => {
      saw('a read was repaired')
      void node.replica.read([key]).then(
        ([container]) => container?.siblings.length && !isLive(container) && saw('a read repair met a tombstone'),
        () => {},
      )
    })
    node.events.on('transfer', ({ partitions }) => saw('a partition was transferred', partitions))
    node.events.on('reborn', () => saw('an open tab lost its disk'))
    const get = node.coordinator.get.bind(node.coordinator)
    node.coordinator.get = async (key, options) => {
      const outcome = await get(key, options)
      if (outcome.cached) saw('a copy answered where no home did')
      return outcome
    }
    node.events.on('adoption', ({ left }) => {
      if (left === 0) saw('a closed tab was adopted')
    })
    node.events.on('sync', ({ pulled, pushed }) => saw('Merkle sync moved data', pulled + pushed))
    node.events.on('forgetting', (agreed) => saw('a tombstone was forgotten', agreed.length))
    node.events.on('member', ({ state }) => {
      if (state === 'asleep') saw('a member fell asleep')
      if (state === 'left') saw('a member left')
    })
    node.membership.events.on('replaced', () => saw('a node was replaced while it was away'))
    node.peers.events.on('down', () => saw('a peer went down'))
    node.peers.events.on('malformed', () => saw('a frame was malformed'))
    // Other failures tell of what is damaged, deleted or closed.
    node.events.on('error', (error) => {
      if (error instanceof StorageFailure && ['quota', 'unknown'].includes(error.kind)) saw('a disk refused')
    })
  }
}
