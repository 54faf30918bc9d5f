import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { buildStamp, root } from './paths.mjs'

/** What goes into a build besides the folders of sources. */
const files = ['index.html', 'package-lock.json', 'tsconfig.json', 'tsconfig.build.json', 'scripts/build.mjs']
const folders = ['src', 'signaling']

/** Builds dist/ unless nothing that goes into it is newer than it is. */
export async function buildIfStale() {
  if (await isFresh()) return
  console.log('building …')
  const { build } = await import('./build.mjs')
  await build()
}

async function isFresh() {
  const stamp = await stat(buildStamp).catch(() => undefined)
  if (!stamp) return false
  const inFolders = folders.map(async (folder) =>
    (await readdir(join(root, folder), { recursive: true })).map((name) => join(folder, name)),
  )
  // Folders are among the names: removing a file changes the time of its folder.
  const all = [...files, ...folders, ...(await Promise.all(inFolders)).flat()]
  const times = await Promise.all(all.map(async (file) => (await stat(join(root, file))).mtimeMs))
  return times.every((time) => time <= stamp.mtimeMs)
}
