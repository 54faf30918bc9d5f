import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readFile, readdir, rm, symlink, writeFile } from 'node:fs/promises'
import { networkInterfaces, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { type Rolldown, build } from 'vite'
import { describe, expect, test } from 'vitest'
import manifest from '../../package.json' with { type: 'json' }

const root = new URL('../../', import.meta.url)
const run = promisify(execFile)

/** What each entry exports, in the order of the alphabet as a module's names are. */
const EXPORTED: Record<string, string> = {
  tabring:
    'Bucket ClosedError ConfigMismatchError ConnectionError ContextError KeyError OptionError QuorumError SecretError SiblingLimitError StorageError Store TabringError ValueError ValueTooLargeError openStore',
  'tabring/merge':
    'counter counterAdd counterValue lww max newActor object orSet orSetAdd orSetHas orSetRemove orSetValues union',
  'tabring/testing': 'faults',
  'tabring/signaling': 'attachSignaling closeCodes defaultLimits',
}

/** Conditions and their files, of every entry that is more than a file of its own. */
const entries = Object.entries(manifest.exports).flatMap(([entry, target]) =>
  typeof target === 'string' ? [] : [{ name: entry.replace('.', 'tabring'), target }],
)

/** In a Node of its own, since vitest would resolve our sources. */
async function inNode(code: string): Promise<string> {
  const { stdout } = await run(process.execPath, ['--input-type=module', '--eval', code], { cwd: fileURLToPath(root) })
  return stdout.trim()
}

describe.each(entries)('the entry $name', ({ name, target }) => {
  test('has its file and its types', () => {
    expect(existsSync(new URL(target.default, root)), target.default).toBe(true)
    expect(existsSync(new URL(target.types, root)), target.types).toBe(true)
  })

  test('puts the types first, where TypeScript looks for them', () => {
    expect(Object.keys(target)[0]).toBe('types')
  })

  test('can be imported in Node, as server-side rendering does', async () => {
    expect(await inNode(`console.log(Object.keys(await import('${name}')).join(' '))`)).toBe(EXPORTED[name])
  })
})

test('tabring/merge gives what the sources give', async () => {
  expect(await inNode(`import { max } from 'tabring/merge'; console.log(max()([1, 3, 2]))`)).toBe('3')
})

test('the built library evaluates no strings, so it works under a strict content security policy', async () => {
  const files = (await readdir(new URL('dist', root), { recursive: true })).filter((file) => file.endsWith('.js'))
  // The entries themselves only re-export: what they do is in chunks.
  expect(files.filter((file) => file.startsWith('chunks'))).not.toEqual([])
  for (const file of files)
    expect(await readFile(new URL(`dist/${file}`, root), 'utf8'), file).not.toMatch(/\beval\(|new Function\(/)
})

/** A project of somebody else's, with this file in it. */
async function inProject(file: string, code: string, work: (folder: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'tabring-project-'))
  try {
    await mkdir(join(folder, 'node_modules'))
    await symlink(fileURLToPath(root), join(folder, 'node_modules/tabring'), 'dir')
    await writeFile(join(folder, file), code)
    await work(folder)
  } finally {
    await rm(folder, { recursive: true })
  }
}

test('errors keep their names in an application that is minified', async () => {
  const code = `import * as tabring from 'tabring'
    const names = Object.keys(tabring).filter((name) => name.endsWith('Error'))
    console.log(names.filter((name) => new tabring[name]('a', 'b').name !== name).join() || \`right: \${names.length}\`)`
  await inProject('application.js', code, async (folder) => {
    const result = await build({
      root: folder,
      configFile: false,
      logLevel: 'warn',
      build: {
        write: false,
        minify: true,
        modulePreload: false,
        rolldownOptions: { input: join(folder, 'application.js') },
      },
    })
    const { output } = result as Rolldown.RolldownOutput
    expect(output).toHaveLength(1)
    expect(output[0].code).not.toContain('class KeyError')
    const bundle = join(folder, 'bundle.mjs')
    await writeFile(bundle, output[0].code)
    expect((await run(process.execPath, [bundle])).stdout.trim()).toBe('right: 13')
  })
})

test('the types hold in a strict project that has neither the types of Node nor a lib of its own', async () => {
  const code = `import { type NodeId, QuorumError, openStore } from 'tabring'
       import { max } from 'tabring/merge'
       await using store = await openStore({ room: 'types', buckets: { best: { merge: max() } } })
       export const acks: NodeId[] = (await store.put('key', 1)).acks
       // The type of the first value was that of all.
       await store.putMany([['key', 1], ['other', 'text']])
       await store.putMany<number>(new Map([['key', 1]]))
       for await (const { value } of store.watch<number>('key')) value?.toFixed()
       export async function passOn(signal: AbortSignal | undefined, n: number | undefined): Promise<void> {
         await openStore({ room: 'types', signal, replication: { n }, tuning: { partitions: n } })
         await store.put('key', 1, { signal, w: n })
         for await (const { key } of store.scan({ signal, limit: n })) await store.get(key, { signal, r: n })
         await Promise.all([store.ready({ signal, peers: n }), store.flush({ signal }), store.leave({ signal })])
       }
       const settings = { room: 'types', signaling: ['/signal'], iceServers: [{ urls: 'stun:a.example' }] } as const
       export const opening = openStore(settings)
       export { QuorumError }`
  await expectTypes(code, '')
})

// Under exactOptionalPropertyTypes, what an environment may not hold could not be passed on, though the server takes it for left out.
test('the types of the signaling server take undefined for what is left out, and read-only lists, as it does', async () => {
  const code = `import { createServer } from 'node:http'
       import { attachSignaling } from 'tabring/signaling'
       const { SIGNALING_PATH: path, ORIGIN } = process.env
       const allowedOrigins = ORIGIN ? [ORIGIN] : undefined
       attachSignaling(createServer(), { path, allowedOrigins, trustProxy: undefined, rooms: undefined })
       const settings = { allowedOrigins: ['https://a.example'] } as const
       attachSignaling(createServer(), settings)`
  await expectTypes(code, 'node')
})

async function expectTypes(code: string, types: string): Promise<void> {
  await inProject('application.ts', code, async (folder) => {
    const compiler = fileURLToPath(new URL('node_modules/typescript/bin/tsc', root))
    const options =
      '--noEmit --strict --exactOptionalPropertyTypes --target es2022 --module esnext --moduleResolution bundler'
    const typeRoots = ['--typeRoots', fileURLToPath(new URL('node_modules/@types', root)), '--types', types]
    await run(process.execPath, [compiler, ...options.split(' '), ...typeRoots, 'application.ts'], {
      cwd: folder,
    }).catch((error) => {
      throw new Error(error.stdout)
    })
  })
}

test('the command tabring-signaling is a script that Node runs', async () => {
  const command = new URL(manifest.bin['tabring-signaling'], root)
  expect(await readFile(command, 'utf8')).toMatch(/^#!\/usr\/bin\/env node\n/)
  const { stdout } = await run(process.execPath, [fileURLToPath(command), '--help'])
  expect(stdout).toContain('tabring-signaling')
})

const hasIpv6 = Object.values(networkInterfaces())
  .flat()
  .some((found) => found?.address === '::1')

// It printed ws://::1:8787/signal, which is no address.
test.runIf(hasIpv6)(
  'the command prints an address that can be connected to, also where the host is one of IPv6',
  async () => {
    const command = fileURLToPath(new URL(manifest.bin['tabring-signaling'], root))
    const server = spawn(process.execPath, [command, '--host', '::1', '--port', '0'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    try {
      const [printed] = (await once(server.stdout, 'data')) as [Buffer]
      expect(new URL(String(printed).replace('tabring-signaling: ', '')).hostname).toBe('[::1]')
    } finally {
      server.kill()
    }
  },
)
