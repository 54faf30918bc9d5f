/**
 * `npm run size`: what an application downloads for `import … from 'tabring'`, with everything but idb and simple-peer,
 * minified, and how far that is from the target.
 */
import { join, relative, sep } from 'node:path'
import { gzipSync } from 'node:zlib'
import { build } from 'vite'
import { root } from './paths.mjs'

const TARGET_BYTES = 25 * 1024

const all = await bundle('src/index.ts')
const core = await bundle('src/core/node.ts')

/** @type {Map<string, number>} */
const parts = new Map()
for (const [file, { renderedLength }] of all.modules)
  parts.set(partOf(file), (parts.get(partOf(file)) ?? 0) + renderedLength)
console.log('characters before minification, by part:')
for (const [part, length] of [...parts].sort(([, a], [, b]) => b - a))
  console.log(`${String(length).padStart(9)}  ${part}`)

console.log(`the protocol core alone (src/core): minified ${core.minified} bytes, gzip ${core.gzipped} bytes`)
console.log(
  `minified ${all.minified} bytes, gzip ${all.gzipped} bytes, target ${TARGET_BYTES} bytes (without idb and simple-peer)`,
)
const excess = all.gzipped - TARGET_BYTES
console.log(excess > 0 ? `The target is missed by ${excess} bytes.` : 'The target is met.')

/**
 * What an application's build makes of it: in library mode Vite would leave the white space in.
 * @param {string} entry
 */
async function bundle(entry) {
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
      rolldownOptions: {
        input: join(root, entry),
        external: [/^idb(\/|$)/, /^simple-peer(\/|$)/],
        preserveEntrySignatures: 'strict',
      },
    },
  })
  const results = Array.isArray(output) ? output : [output]
  const chunks = results
    .flatMap((result) => ('output' in result ? result.output : []))
    .filter((file) => file.type === 'chunk')
  return {
    modules: chunks.flatMap((chunk) => Object.entries(chunk.modules)),
    minified: chunks.reduce((sum, { code }) => sum + Buffer.byteLength(code), 0),
    gzipped: chunks.reduce((sum, { code }) => sum + gzipSync(code, { level: 9 }).length, 0),
  }
}

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
