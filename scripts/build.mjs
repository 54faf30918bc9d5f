/**
 * Builds everything into dist/: the library (one file per entry of the exports map), its declarations, the signaling
 * server for Node, and the page. `await build()` or `node scripts/build.mjs`.
 */
import { spawn } from 'node:child_process'
import { chmod, rm, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { build as viteBuild } from 'vite'
import { buildStamp, dist, root } from './paths.mjs'

/** The library's entries: the name under dist/ and the source. */
const entries = {
  index: 'src/index.ts',
  merge: 'src/merge/index.ts',
  testing: 'src/testing/index.ts',
}

const signalingEntries = {
  index: 'signaling/index.ts',
  command: 'signaling/command.ts',
}

/** Packages stay imports: the application's bundler deduplicates them. */
const external = /^[^./\0]/

/** @type {import('vite').InlineConfig} */
const common = { root, configFile: false, logLevel: 'warn', publicDir: false }

function buildLibrary() {
  return viteBuild({
    ...common,
    build: {
      outDir: dist,
      emptyOutDir: false,
      target: 'es2022',
      minify: false,
      sourcemap: true,
      lib: { entry: entries, formats: ['es'] },
      rolldownOptions: { external, output: { entryFileNames: '[name].js', chunkFileNames: 'chunks/[name].js' } },
    },
  })
}

async function buildSignaling() {
  const outDir = join(dist, 'signaling')
  await viteBuild({
    ...common,
    build: {
      outDir,
      emptyOutDir: false,
      target: 'node20',
      minify: false,
      sourcemap: true,
      ssr: true,
      rolldownOptions: {
        input: signalingEntries,
        external,
        output: { entryFileNames: '[name].js', chunkFileNames: 'chunks/[name].js' },
      },
    },
  })
  await chmod(join(outDir, 'command.js'), 0o755)
}

function buildPage() {
  return viteBuild({
    ...common,
    build: {
      outDir: join(dist, 'page'),
      emptyOutDir: false,
      target: 'es2022',
      sourcemap: true,
      modulePreload: { polyfill: false },
    },
  })
}

/** Declarations only; `npm run check` is what reports type errors. */
function buildDeclarations() {
  const typescript = createRequire(import.meta.url).resolve('typescript/package.json')
  const tsc = join(dirname(typescript), 'bin/tsc')
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [tsc, '-p', 'tsconfig.build.json'], { cwd: root, stdio: 'inherit' })
    child.on('error', reject)
    child.on('exit', (code) => (code === 0 ? resolve(undefined) : reject(new Error(`tsc ended with ${code}`))))
  })
}

export async function build() {
  await rm(dist, { recursive: true, force: true })
  await Promise.all([buildLibrary(), buildSignaling(), buildPage(), buildDeclarations()])
  await writeFile(buildStamp, '')
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) await build()
