/**
 * A file server for built pages, for `npm start` and for the browser tests alike: the files of one folder, with a content
 * security policy as strict as the library promises to work under.
 */
import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import { createServer } from 'node:http'
import { extname, join, sep } from 'node:path'
import { pipeline } from 'node:stream/promises'

const types = new Map(
  Object.entries({
    '.html': 'text/html; charset=utf-8',
    '.js': 'text/javascript; charset=utf-8',
    '.css': 'text/css; charset=utf-8',
    '.json': 'application/json; charset=utf-8',
    '.map': 'application/json; charset=utf-8',
    '.webmanifest': 'application/manifest+json; charset=utf-8',
    '.txt': 'text/plain; charset=utf-8',
    '.svg': 'image/svg+xml',
    '.png': 'image/png',
    '.ico': 'image/x-icon',
    '.woff2': 'font/woff2',
    '.wasm': 'application/wasm',
  }),
)

const headers = {
  'content-security-policy': [
    "default-src 'self'",
    "script-src 'self'",
    "style-src 'self'",
    "connect-src 'self' ws: wss:",
    "img-src 'self' data:",
    "object-src 'none'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join('; '),
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'cache-control': 'no-cache',
}

/**
 * A server, not listening yet, for GET and HEAD of the files below `folder`; a path that ends in `/` means its index.html.
 * @param {string} folder
 */
export function serveFolder(folder) {
  return createServer((request, response) => {
    respond(folder, request, response).catch((error) => {
      // A visitor who went away in the middle of a file is no fault of ours.
      if (error.code !== 'ERR_STREAM_PREMATURE_CLOSE') console.error(error)
      response.destroy()
    })
  })
}

/**
 * @param {string} folder
 * @param {import('node:http').IncomingMessage} request
 * @param {import('node:http').ServerResponse} response
 */
async function respond(folder, request, response) {
  if (request.method !== 'GET' && request.method !== 'HEAD') return end(response, 405)
  const file = fileOf(folder, request.url ?? '/')
  const info = file === undefined ? undefined : await stat(file).catch(() => undefined)
  if (file === undefined || !info?.isFile()) return end(response, 404)
  response.writeHead(200, {
    ...headers,
    'content-type': types.get(extname(file)) ?? 'application/octet-stream',
    'content-length': info.size,
  })
  if (request.method === 'HEAD') response.end()
  else await pipeline(createReadStream(file), response)
}

/**
 * Undefined for what is no path, or leads out of the folder.
 * @param {string} folder
 * @param {string} url
 */
function fileOf(folder, url) {
  try {
    const path = decodeURIComponent(new URL(url, 'http://localhost').pathname)
    const file = join(folder, path.endsWith('/') ? `${path}index.html` : path)
    return file.startsWith(join(folder, sep)) && !path.includes('\0') ? file : undefined
  } catch {
    return undefined
  }
}

/**
 * @param {import('node:http').ServerResponse} response
 * @param {404 | 405} status
 */
function end(response, status) {
  response.writeHead(status, { ...headers, 'content-type': 'text/plain; charset=utf-8' })
  response.end(status === 404 ? 'Not found\n' : 'Only GET and HEAD\n')
}
