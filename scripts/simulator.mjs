/** Builds what runs the production core in Node: the simulator and the paper's reports. */
import { build } from 'vite'
import { root } from './paths.mjs'

/**
 * @param {string} outDir
 * @param {import('vite').PluginOption[]} [plugins] change the sources: the mutations do that
 */
export function buildSimulator(outDir, plugins) {
  return buildForNode(outDir, { main: 'test/sim/main.ts', worker: 'test/sim/worker.ts' }, plugins)
}

/**
 * @param {string} outDir
 * @param {Record<string, string>} input
 * @param {import('vite').PluginOption[]} [plugins]
 */
export async function buildForNode(outDir, input, plugins = []) {
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
        input,
        external: /^[^./\0]/,
        output: { entryFileNames: '[name].js', chunkFileNames: 'chunks/[name].js' },
      },
    },
  })
}
