/** A store on a node of a simulated ring: what applications call, without a browser. */
import { type OpenOptions, readOptions } from '../../../src/store/options.js'
import { Store } from '../../../src/store/store.js'
import { type Ring, type Tab, nodeOf } from '../../paper/ring.js'

/** With the errors that it is told. */
export function storeAt(
  tab: Tab,
  options: Partial<OpenOptions> = {},
  wallTime = () => 1_700_000_000_000,
): { store: Store; errors: unknown[] } {
  const errors: unknown[] = []
  const store = new Store(nodeOf(tab), readOptions({ room: 'room', signaling: null, ...options }), {
    connect() {},
    disconnect() {},
    isConnected: () => true,
    presence: () => new Map(),
    wallTime,
    ending() {},
    async close() {},
    async forget() {},
  })
  store.addEventListener('error', ({ detail }) => errors.push(detail))
  return { store, errors }
}

const TURN_MS = 50
const MAX_TURNS = 4000

/** Lets virtual time pass, and the process have its turns between: a store waits for both. */
export async function passing(ring: Ring, ms: number): Promise<void> {
  for (let passed = 0; passed < ms; passed += TURN_MS) {
    await ring.pass(TURN_MS)
    await new Promise((resolve) => setImmediate(resolve))
  }
}

export async function answerOf<T>(ring: Ring, work: Promise<T>): Promise<T> {
  let settled = false
  const settle = () => {
    settled = true
  }
  work.then(settle, settle)
  for (let turn = 0; !settled && turn < MAX_TURNS; turn++) await passing(ring, TURN_MS)
  if (!settled) throw new Error('no answer')
  return work
}
