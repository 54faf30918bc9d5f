/** Builds the simulator; with `plugins`, from changed sources (the mutations do that). */
import { build } from 'vite'
import { root } from './paths.mjs'

/**
 * @param {string} outDir
 * @param {import('vite').PluginOption[]} [plugins]
 */
export async function buildSimulator(outDir, plugins = []) {
  await build({
    root,
    configFile: false,
    logLevel: 'warn',
    publicDir: false,
    plugins,
    build: {
      outDir,
      emptyOutDir: true,
      target: 'node20',
      minify: false,
      sourcemap: true,
      ssr: true,
      rolldownOptions: {
        input: { main: 'test/sim/main.ts', worker: 'test/sim/worker.ts' },
        external: /^[^./\0]/,
        output: { entryFileNames: '[name].js', chunkFileNames: 'chunks/[name].js' },
      },
    },
  })
}
