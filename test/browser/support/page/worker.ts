/** A worker that opens a store, as somebody may try, and tells what came of it and which databases are there then. */
import { openStore } from '../../../../src/index.js'

addEventListener('message', async ({ data }: MessageEvent<string>) => {
  const told = await openStore({ room: data, signaling: null }).then(
    () => 'opened',
    (error: Error & { reason?: string }) => `${error.name} (${error.reason}): ${error.message}`,
  )
  const databases = (await indexedDB.databases()).map(({ name }) => name)
  postMessage({ told, databases })
})
