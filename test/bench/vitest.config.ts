/** `npm run bench`: one file, one browser, nothing else beside it. */
import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['test/bench/*.bench.ts'],
    testTimeout: 600_000,
    hookTimeout: 120_000,
    disableConsoleIntercept: true,
  },
})
