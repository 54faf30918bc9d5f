import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { describe, expect, test } from 'vitest'
import manifest from '../../package.json' with { type: 'json' }

const root = new URL('../../', import.meta.url)
const run = promisify(execFile)

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
    const names = JSON.parse(await inNode(`console.log(JSON.stringify(Object.keys(await import('${name}'))))`))
    expect(Array.isArray(names)).toBe(true)
  })
})

test('tabring/merge gives what the sources give', async () => {
  expect(await inNode(`import { max } from 'tabring/merge'; console.log(max()([1, 3, 2]))`)).toBe('3')
})

test('the built library evaluates no strings, so it works under a strict content security policy', async () => {
  for (const { target } of entries) {
    expect(await readFile(new URL(target.default, root), 'utf8')).not.toMatch(/\beval\(|new Function\(/)
  }
})

test('the command tabring-signaling is a script that Node runs', async () => {
  const command = new URL(manifest.bin['tabring-signaling'], root)
  expect(await readFile(command, 'utf8')).toMatch(/^#!\/usr\/bin\/env node\n/)
  const { stdout } = await run(process.execPath, [fileURLToPath(command), '--help'])
  expect(stdout).toContain('tabring-signaling')
})
