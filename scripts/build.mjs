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
import { VitePWA } from 'vite-plugin-pwa'
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

/** What a device shows of the page when it is installed. */
const manifest = {
  id: './',
  name: 'tabring',
  short_name: 'tabring',
  description: 'A replicated key-value store that lives in browser tabs.',
  start_url: './',
  scope: './',
  background_color: '#14161b',
  theme_color: '#14213d',
  icons: [
    { src: 'icon.svg', sizes: 'any', type: 'image/svg+xml' },
    { src: 'icon-192.png', sizes: '192x192', type: 'image/png' },
    { src: 'icon-512.png', sizes: '512x512', type: 'image/png' },
    // The same picture: its ring lies within what every mask leaves.
    { src: 'icon-512.png', sizes: '512x512', type: 'image/png', purpose: 'maskable' },
  ],
}

/**
 * The service worker sw.js, which keeps the whole page on the device. A new version is fetched behind the page that is
 * open and shown at the next load; src/page/service-worker.ts registers it.
 */
function serviceWorker() {
  return VitePWA({
    manifest,
    strategies: 'generateSW',
    injectRegister: false,
    // The patterns below take them already.
    includeManifestIcons: false,
    workbox: {
      globPatterns: ['**/*.{html,js,css,svg,png}'],
      inlineWorkboxRuntime: true,
      // Not when the last old tab has closed: one may stay open for weeks. Old tabs are safe because the page is one chunk, loaded whole.
      skipWaiting: true,
      clientsClaim: true,
      cleanupOutdatedCaches: true,
      // One page for all rooms: the address after the '?' chooses no file.
      ignoreURLParametersMatching: [/./],
      navigateFallback: null,
      sourcemap: false,
    },
  })
}

function buildPage() {
  return viteBuild({
    ...common,
    publicDir: join(root, 'src/page/public'),
    plugins: [serviceWorker()],
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
