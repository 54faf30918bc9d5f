/** The README's plugin for Vite's own server, as it is printed: pages and signaling on one port. */
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { type UserConfig, createServer } from 'vite'
import { expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { attachSignaling } from '../../signaling/index.js'

const root = fileURLToPath(new URL('support', import.meta.url))

test("the README's plugin for Vite takes signaling along", async () => {
  const readme = readFileSync(new URL('../../README.md', import.meta.url), 'utf8')
  const printed = /export default (defineConfig\(\{[\s\S]*?\}\))\n```/.exec(readme)?.[1] ?? ''
  const given = (config: UserConfig) => config
  const { plugins } = new Function('attachSignaling', 'defineConfig', `return ${printed}`)(attachSignaling, given)
  const vite = await createServer({ root, configFile: false, logLevel: 'silent', plugins, server: { port: 0 } })
  try {
    await vite.listen()
    const url = vite.resolvedUrls?.local[0] ?? ''
    const socket = new WebSocket(`${url.replace('http', 'ws')}signal`)
    await new Promise((resolve, reject) => socket.on('open', resolve).on('error', reject))
    socket.send(JSON.stringify({ type: 'join', room: 'room', id: 'ada' }))
    const answer = await new Promise((resolve) => socket.on('message', (data) => resolve(JSON.parse(String(data)))))
    expect(answer).toEqual({ type: 'peers', ids: [] })
    socket.close()
  } finally {
    await vite.close()
  }
})
