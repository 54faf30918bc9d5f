/** What browser tests find in a tab: every public entry, as an application would import it, and the tests of the disk. */
import * as index from '../../../../src/index.js'
import * as merge from '../../../../src/merge/index.js'
import * as testing from '../../../../src/testing/index.js'
import * as disk from './disk.js'
import * as storage from './storage.js'

export type Tabring = typeof index & typeof testing & typeof storage & typeof disk & { merge: typeof merge }

Object.assign(window, { tabring: { ...index, ...testing, ...storage, ...disk, merge } })
