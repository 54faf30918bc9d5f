/** What browser tests find in a tab: every public entry, as an application would import it, and the tests of the disk. */
import * as index from '../../../../src/index.js'
import * as merge from '../../../../src/merge/index.js'
import * as testing from '../../../../src/testing/index.js'
import * as storage from './storage.js'

export type Tabring = typeof index & typeof testing & typeof storage & { merge: typeof merge }

Object.assign(window, { tabring: { ...index, ...testing, ...storage, merge } })
