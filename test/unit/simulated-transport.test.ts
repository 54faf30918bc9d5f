/** The simulated network keeps the promises of `Transport`, alone and behind the transport that injects faults while there are none. */
import { describe, test } from 'vitest'
import { faultyTransport } from '../../src/testing/faulty-transport.js'
import { transportCases } from '../conformance/transport.js'
import { Network } from '../sim/network.js'
import { SeededRandom } from '../sim/random.js'
import { VirtualTime } from '../sim/virtual-time.js'

const KNOBS = { minLatencyMs: 1, maxLatencyMs: 40, lossRate: 0, noticeMs: 500 }

describe.each([
  ['alone', (transport: ReturnType<Network['transport']>) => transport],
  ['behind faults that are not there', (transport: ReturnType<Network['transport']>) => faultyTransport(transport)],
])('%s', (_, wrapped) => {
  test.each(transportCases)('$name', async ({ run }) => {
    const time = new VirtualTime()
    const network = new Network(time, new SeededRandom(7), KNOBS)
    await run({
      open: (node) => wrapped(network.transport(node)),
      until: (what, holds) => time.until(what, holds, 30_000),
      pass: (ms) => time.advance(ms),
    })
  })
})
