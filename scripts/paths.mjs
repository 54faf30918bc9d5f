import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** The project's folder. */
export const root = fileURLToPath(new URL('..', import.meta.url))
export const dist = join(root, 'dist')

/** Written last by a build: its time says how fresh the whole of dist/ is. */
export const buildStamp = join(dist, '.built')
