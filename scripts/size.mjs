/**
 * `npm run size`: what an application downloads for `import … from 'tabring'`, with everything but idb and simple-peer,
 * minified, and how far that is from the target.
 */
import { join, relative, sep } from 'node:path'
import { gzipSync } from 'node:zlib'
import { build } from 'vite'
import { root } from './paths.mjs'

const TARGET_BYTES = 25 * 1024

const output = await build({
  root,
  configFile: false,
  logLevel: 'warn',
  publicDir: false,
  build: {
    write: false,
    target: 'es2022',
    minify: true,
    modulePreload: false,
    // As an application's build: in library mode Vite leaves the white space in.
    rolldownOptions: {
      input: join(root, 'src/index.ts'),
      external: [/^idb(\/|$)/, /^simple-peer(\/|$)/],
      preserveEntrySignatures: 'strict',
    },
  },
})

const results = Array.isArray(output) ? output : [output]
const chunks = results
  .flatMap((result) => ('output' in result ? result.output : []))
  .filter((file) => file.type === 'chunk')

/** @type {Map<string, number>} */
const parts = new Map()
for (const chunk of chunks) {
  for (const [file, { renderedLength }] of Object.entries(chunk.modules)) {
    parts.set(partOf(file), (parts.get(partOf(file)) ?? 0) + renderedLength)
  }
}
console.log('characters before minification, by part:')
for (const [part, length] of [...parts].sort(([, a], [, b]) => b - a))
  console.log(`${String(length).padStart(9)}  ${part}`)

const code = chunks.map((chunk) => chunk.code)
const minified = code.reduce((sum, text) => sum + Buffer.byteLength(text), 0)
const gzipped = code.reduce((sum, text) => sum + gzipSync(text, { level: 9 }).length, 0)
console.log(
  `minified ${minified} bytes, gzip ${gzipped} bytes, target ${TARGET_BYTES} bytes (without idb and simple-peer)`,
)
const excess = gzipped - TARGET_BYTES
console.log(excess > 0 ? `The target is missed by ${excess} bytes.` : 'The target is met.')

/**
 * A package, or a folder of ours down to the mechanism.
 * @param {string} file
 */
function partOf(file) {
  const path = relative(root, file).split(sep).join('/')
  const inPackage = /.*node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(path)
  if (inPackage) return String(inPackage[1])
  const folders = path.split('/').slice(0, -1)
  return folders.slice(0, 3).join('/') || path
}
