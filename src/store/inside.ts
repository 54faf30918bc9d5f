import type { Node } from '../core/node.js'
import type { Conflicts } from './conflicts.js'
import type { Lifetime } from './lifetime.js'
import type { Session } from './session.js'
import type { Turns } from './turns.js'

/** What all buckets of one store share. */
export interface StoreInside {
  node: Node
  room: string
  session: Session
  lifetime: Lifetime
  turns: Turns
  wallTime: () => number
  conflicts: Conflicts
  onError: (error: unknown) => void
}
