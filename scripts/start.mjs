/**
 * `npm start`: builds what is out of date and serves the page and the signaling server on one port of this machine.
 *   PORT=9000 npm start                    that port or none
 *   node scripts/start.mjs --no-build      dist/ as it is
 */
import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { buildStamp, dist, root } from './paths.mjs'
import { serveFolder } from './static.mjs'

const DEFAULT_PORT = 8080
const PORTS_TRIED = 20
/** Only this machine, by either of the addresses that `localhost` may mean. */
const HOST = 'localhost'
const SIGNALING_PATH = '/signal'

const built = process.argv.includes('--no-build') || (await isFresh())
if (!built) {
  console.log('building …')
  const { build } = await import('./build.mjs')
  await build()
}

const server = serveFolder(join(dist, 'page'))
const port = await listen()
/** @type {typeof import('../signaling/index.js')} */
const { attachSignaling } = await import(pathToFileURL(join(dist, 'signaling/index.js')).href)
const signaling = attachSignaling(server, { path: SIGNALING_PATH })
// Nobody else takes upgrades here; without an answer such a client would hang.
server.on('upgrade', (request, socket) => {
  if (request.url?.split('?', 1)[0] !== SIGNALING_PATH)
    socket.end('HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\n')
})
console.log(`tabring: http://localhost:${port}/   (open it in several tabs; Ctrl+C ends it)`)

for (const signal of ['SIGINT', 'SIGTERM']) {
  process.once(signal, async () => {
    await signaling.close()
    server.close(() => process.exit(0))
    server.closeAllConnections()
  })
}

/** Whether nothing that goes into the build is newer than the build. */
async function isFresh() {
  const stamp = await stat(buildStamp).catch(() => undefined)
  if (!stamp) return false
  const files = ['index.html', 'package-lock.json', 'tsconfig.json', 'tsconfig.build.json', 'scripts/build.mjs']
  for (const folder of ['src', 'signaling']) {
    for (const name of await readdir(join(root, folder), { recursive: true })) files.push(join(folder, name))
  }
  const times = await Promise.all(files.map(async (file) => (await stat(join(root, file))).mtimeMs))
  return times.every((time) => time <= stamp.mtimeMs)
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
