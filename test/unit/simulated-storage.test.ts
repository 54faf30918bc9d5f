/** The simulated disk keeps the promises of `Storage`. */
import { test } from 'vitest'
import { storageCases } from '../conformance/storage.js'
import { Disk, SimulatedStorage } from '../sim/disk.js'

test.each(storageCases)('$name', async ({ run }) => {
  const disk = new Disk()
  await run(async () => new SimulatedStorage(disk, { schedule: (work) => setImmediate(work) }))
})
