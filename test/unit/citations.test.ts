/** What the code cites is in the repository: pitfalls by number, sections of the design, and the files that the documents link. */
import { existsSync, readFileSync, readdirSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { absent, mutations } from '../sim/mutations/index.js'

const PITFALLS = 'docs/pitfalls.md'
const DESIGN = 'docs/design.md'

/** By number: the row, as text. */
const rows = new Map(
  [...readFileSync(PITFALLS, 'utf8').matchAll(/^\| (P\d+) \|(.*)$/gm)].map(([, number = '', row = '']) => [
    number,
    row,
  ]),
)
const sections = new Set([...readFileSync(DESIGN, 'utf8').matchAll(/^## (\d+)\. /gm)].map(([, number = '']) => number))

function filesBelow(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => /\.(ts|md)$/.test(name))
    .map((name) => join(folder, name))
}

/** Where a pattern is found, as 'file: what its group has'. */
function cited(files: readonly string[], pattern: RegExp): { file: string; number: string }[] {
  return files.flatMap((file) =>
    [...readFileSync(file, 'utf8').matchAll(pattern)].map(([, number = '']) => ({ file, number })),
  )
}

const documents = [...filesBelow('docs'), 'README.md', 'CONTRIBUTING.md']

describe('what is cited is there', () => {
  test('each pitfall has a row', () => {
    const found = cited([...filesBelow('src'), ...filesBelow('test'), ...documents], /\b(P\d{1,2})\b/g)
    expect(found.length).toBeGreaterThan(0)
    expect(found.filter(({ number }) => !rows.has(number))).toEqual([])
  })

  test('each section of the design has a heading', () => {
    const everywhere = ['src', 'signaling', 'test'].flatMap(filesBelow)
    const found = cited([...everywhere, ...documents], /\bdesign\.md §(\d+)/g)
    expect(found.length).toBeGreaterThan(0)
    expect(found.filter(({ number }) => !sections.has(number))).toEqual([])
  })

  test.each(documents)('each file that %s links', (document) => {
    const links = cited([document], /\]\((?!https?:)([^)#]+)[^)]*\)/g)
    expect(links.filter(({ number: path }) => !existsSync(join(dirname(document), path)))).toEqual([])
  })

  test('no document that only some machine has', () => {
    const names = ['DESIGN', 'PITFALLS', 'SCENARIOS'].map((name) => `${name}\\.md|\\b${name} §`)
    const files = [...['src', 'signaling', 'test'].flatMap(filesBelow), ...documents]
    expect(cited(files, new RegExp(`(${names.join('|')})`, 'g'))).toEqual([])
  })
})

describe('the table of pitfalls', () => {
  test('has a row for each that is put back in, and the other way round', () => {
    expect([...rows.keys()].sort()).toEqual(
      [...new Set([...mutations, ...absent].map(({ pitfall }) => pitfall))].sort(),
    )
  })

  test.each([...rows])('%s names the scenarios that notice it, and no others', (number, row) => {
    const killers = mutations.filter(({ pitfall }) => pitfall === number).map(({ killedBy }) => killedBy)
    const named = row.match(/\*([a-z0-9, -]+)\*/)?.[1]?.split(', ') ?? []
    expect(new Set(named)).toEqual(new Set(killers))
  })

  test('names files that are there', () => {
    const paths = [...rows.values()].flatMap((row) => [...row.matchAll(/`((?:core|store|browser)\/[\w/.-]+)`/g)])
    expect(paths.map(([, path = '']) => path).filter((path) => !existsSync(join('src', path)))).toEqual([])
  })
})
