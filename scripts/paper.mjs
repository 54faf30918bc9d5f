/** `npm run paper`: builds test/paper/reports with the production core into out/paper/build and runs it. */
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { root } from './paths.mjs'
import { buildForNode } from './simulator.mjs'

const outDir = join(root, 'out/paper/build')
const folder = 'test/paper/reports'
await buildForNode(outDir, { main: `${folder}/main.ts`, worker: `${folder}/worker.ts` })
await import(pathToFileURL(join(outDir, 'main.js')).href)
