/**
 * `npm start`: builds what is out of date and serves the page and the signaling server on one port of this machine.
 *   PORT=9000 npm start                    that port or none
 *   node scripts/start.mjs --no-build      dist/ as it is
 */
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { buildIfStale } from './fresh.mjs'
import { dist } from './paths.mjs'
import { serveFolder } from './static.mjs'

const DEFAULT_PORT = 8080
const PORTS_TRIED = 20
/** Only this machine. */
const HOST = 'localhost'
const SIGNALING_PATH = '/signal'

if (!process.argv.includes('--no-build')) await buildIfStale()

const server = serveFolder(join(dist, 'page'))
const port = await listen()
/** @type {typeof import('../signaling/index.js')} */
const { attachSignaling } = await import(pathToFileURL(join(dist, 'signaling/index.js')).href)
const signaling = attachSignaling(server, { path: SIGNALING_PATH })
console.log(`tabring: http://localhost:${port}/   (open it in several tabs; Ctrl+C ends it)`)

for (const signal of ['SIGINT', 'SIGTERM']) {
  process.once(signal, async () => {
    await signaling.close()
    server.close(() => process.exit(0))
    server.closeAllConnections()
  })
}

/** The port that it listens on: PORT, or the first free one from the default on. */
async function listen() {
  const wanted = process.env.PORT
  if (wanted && !/^\d{1,5}$/.test(wanted)) throw new Error(`PORT is ${wanted}, which is no port number`)
  if (wanted) return tryPort(Number(wanted))
  for (let port = DEFAULT_PORT; ; port++) {
    try {
      return await tryPort(port)
    } catch (error) {
      const taken = /** @type {NodeJS.ErrnoException} */ (error).code === 'EADDRINUSE'
      if (!taken || port >= DEFAULT_PORT + PORTS_TRIED) throw error
    }
  }
}

/**
 * @param {number} port
 * @returns {Promise<number>}
 */
function tryPort(port) {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, HOST, () => {
      server.off('error', reject)
      const address = server.address()
      resolve(address && typeof address === 'object' ? address.port : port)
    })
  })
}
