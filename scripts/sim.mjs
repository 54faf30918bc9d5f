/** `npm run sim`: builds the simulator, production core included, into out/sim and runs it; test/sim/main.ts says with which arguments. */
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { root } from './paths.mjs'
import { buildSimulator } from './simulator.mjs'

const outDir = join(root, 'out/sim/build')
await buildSimulator(outDir)
await import(pathToFileURL(join(outDir, 'main.js')).href)
