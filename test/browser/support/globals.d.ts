import type { Tabring } from './page/main.js'

declare global {
  interface Window {
    /** In pages of browser tests: every public entry. */
    tabring: Tabring
  }
}
