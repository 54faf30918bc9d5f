#!/usr/bin/env node
/** The command `tabring-signaling`: the signaling server alone, on a port of its own. `--help` says what it takes. */
import { createServer } from 'node:http'
import { parseArgs } from 'node:util'
import { type SignalingLimits, type SignalingOptions, attachSignaling, defaultLimits } from './index.js'

const limitOptions: Record<string, [name: keyof SignalingLimits, about: string]> = {
  'message-bytes': ['messageBytes', 'largest message'],
  'messages-per-second': ['messagesPerSecond', 'messages per second and connection'],
  'message-burst': ['messageBurst', 'messages at once'],
  'peers-per-room': ['peersPerRoom', 'peers in one room'],
  rooms: ['rooms', 'rooms'],
  'connections-per-address': ['connectionsPerAddress', 'connections from one address'],
  'idle-ms': ['idleMs', 'silence after which a connection is closed, in ms'],
  'heartbeat-ms': ['heartbeatMs', 'time between two pings, in ms'],
  'backlog-bytes': ['backlogBytes', 'bytes that may wait for a slow client'],
}

const help = `Usage: tabring-signaling [options]

Introduces the tabs of a room to each other. No data passes it, and it stores nothing.

  --port <number>          port to listen on (default 8787; 0 picks a free one)
  --host <address>         address to listen on (default: all)
  --path <path>            path of the WebSocket (default /signal)
  --allow-origin <origin>  origin of pages that may connect, like https://example.org; may be repeated (default: all)
  --trust-proxy            take client addresses from X-Forwarded-For, behind a proxy that sets it
  --help                   this text

Limits:
${Object.entries(limitOptions)
  .map(([option, [name, about]]) => `  ${`--${option} <n>`.padEnd(30)} ${about} (default ${defaultLimits[name]})`)
  .join('\n')}
`

function fail(message: string): never {
  process.stderr.write(`tabring-signaling: ${message}\nTry --help.\n`)
  process.exit(2)
}

function wholeNumber(option: string, text: string): number {
  if (!/^\d+$/.test(text)) fail(`--${option} must be a whole number, and it is '${text}'`)
  return Number(text)
}

function readArguments(): { port: number; host: string | undefined; options: SignalingOptions } {
  const known = {
    port: { type: 'string', default: '8787' },
    host: { type: 'string' },
    path: { type: 'string', default: '/signal' },
    'allow-origin': { type: 'string', multiple: true },
    'trust-proxy': { type: 'boolean' },
    help: { type: 'boolean', short: 'h' },
    ...Object.fromEntries(Object.keys(limitOptions).map((option) => [option, { type: 'string' as const }])),
  } as const
  let values: Record<string, unknown>
  try {
    values = parseArgs({ options: known, strict: true }).values
  } catch (error) {
    fail((error as Error).message)
  }
  if (values.help) {
    process.stdout.write(help)
    process.exit(0)
  }
  const port = wholeNumber('port', String(values.port))
  if (port > 65_535) fail(`--port must be at most 65535, and it is ${port}`)
  const path = String(values.path)
  if (!path.startsWith('/')) fail(`--path must begin with '/', and it is '${path}'`)
  const limits: Partial<SignalingLimits> = {}
  for (const [option, [name]] of Object.entries(limitOptions)) {
    if (values[option] !== undefined) limits[name] = wholeNumber(option, String(values[option]))
  }
  return {
    port,
    host: values.host as string | undefined,
    options: {
      ...limits,
      path,
      allowedOrigins: values['allow-origin'] as string[] | undefined,
      trustProxy: values['trust-proxy'] === true,
    },
  }
}

const { port, host, options } = readArguments()
const server = createServer((_request, response) => {
  response.writeHead(200, { 'content-type': 'text/plain; charset=utf-8' })
  response.end(`tabring signaling: connect a WebSocket to ${options.path}\n`)
})

let signaling: ReturnType<typeof attachSignaling>
try {
  signaling = attachSignaling(server, options)
} catch (error) {
  fail((error as Error).message)
}
server.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EADDRINUSE') fail(`port ${port} is in use; choose another with --port`)
  if (error.code === 'EACCES') fail(`port ${port} may not be opened by this user; choose one above 1023 with --port`)
  fail(error.message)
})
server.listen(port, host, () => {
  const address = server.address()
  const listening = typeof address === 'object' && address ? address.port : port
  const shown = host?.includes(':') ? `[${host}]` : (host ?? 'localhost')
  process.stdout.write(`tabring-signaling: ws://${shown}:${listening}${options.path}\n`)
})

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => {
    void signaling.close().then(() => {
      server.close()
      server.closeAllConnections()
    })
  })
}
