/** For tests of applications and of tabring itself: faults on a store's links. */
import { linksOf } from '../store/open.js'
import type { Store } from '../store/store.js'
import { type Faults, faultyTransport } from './faulty-transport.js'

export type { Faults } from './faulty-transport.js'

const known = new WeakMap<Store, Faults>()

/** The faults of this store's node: one set per store, however often it is asked for. @throws TypeError for anything but an opened store */
export function faults(store: Store): Faults {
  const links = linksOf.get(store)
  if (!links) throw new TypeError('faults: give a store that openStore has opened.')
  const faulty = known.get(store) ?? links.interpose((inner) => faultyTransport(inner))
  known.set(store, faulty)
  return faulty
}
