/** How the tests are run; how the library and the page are built stands in scripts/build.mjs. */
import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: 'unit',
          include: ['test/{unit,properties,paper,sim}/**/*.test.ts'],
          // Nothing in them waits for real time: what takes long has a slow machine, and only what never ends is wrong.
          testTimeout: 120_000,
        },
      },
      {
        test: {
          name: 'browser',
          include: ['test/browser/**/*.test.ts'],
          globalSetup: 'test/browser/support/build-page.ts',
          testTimeout: 90_000,
          hookTimeout: 60_000,
          // A ring of tabs keeps two cores busy: side by side, files would only measure each other.
          fileParallelism: false,
        },
      },
    ],
  },
})
