/**
 * The raw floor: the same replication by hand, with simple-peer and idb and no protocol at all. A put is an own durable transaction beside a message to
 * each peer, which writes it in a transaction and acks; a get is an own read and one remote read. No versions, no membership,
 * no checks, no retries.
 */
import { type IDBPDatabase, openDB } from 'idb'
import SimplePeer from 'simple-peer/simplepeer.min.js'

const PUT = 1
const GET = 2
const REPLY = 3
const BULK = 4
const HEADER = 9
/** Above this, a sender waits until the channel has drained: `send` has no back-pressure of its own. */
const BUFFERED = 1_000_000
const BULK_BYTES = 16_000

interface Channel {
  bufferedAmount: number
}

export class Floor {
  private readonly peers: SimplePeer.Instance[] = []
  private readonly waiting = new Map<number, (reply: Uint8Array) => void>()
  private nextId = 1
  received = 0

  private constructor(private readonly db: IDBPDatabase) {}

  static async open(name: string): Promise<Floor> {
    return new Floor(await openDB(name, 1, { upgrade: (db) => void db.createObjectStore('records') }))
  }

  close(): void {
    for (const peer of this.peers) peer.destroy()
    this.db.close()
  }

  /** One end of a link; signals are carried by the test, all at once. */
  link(initiator: boolean): { signal: Promise<string>; accept: (signal: string) => void; connected: Promise<void> } {
    const peer = new SimplePeer({ initiator, trickle: false, config: { iceServers: [] } })
    const signal = new Promise<string>((resolve) => peer.once('signal', (data) => resolve(JSON.stringify(data))))
    const connected = new Promise<void>((resolve) => peer.once('connect', () => resolve()))
    peer.on('data', (data: Uint8Array<ArrayBuffer>) => void this.receive(peer, data))
    peer.on('error', () => {})
    this.peers.push(peer)
    return { signal, connected, accept: (given) => peer.signal(given) }
  }

  /** Done at the own copy and one of the others: w = 2 of 3. */
  async put(key: number, value: Uint8Array): Promise<void> {
    const acks = this.peers.map((peer) => this.ask(peer, PUT, key, value))
    await Promise.all([this.write(key, value, 'strict'), Promise.any(acks)])
  }

  /** The own copy and one of another: r = 2. */
  async get(key: number): Promise<Uint8Array> {
    const [own] = await Promise.all([
      this.db.get('records', key) as Promise<Uint8Array>,
      this.ask(this.peers[0] as SimplePeer.Instance, GET, key),
    ])
    return own
  }

  /** Sends everything it has: batches of records in large messages. */
  async sendAll(): Promise<void> {
    const [peer] = this.peers.slice(-1) as [SimplePeer.Instance]
    const channel = (peer as unknown as { _channel: Channel })._channel
    for (let from = -1; ; ) {
      const range = IDBKeyRange.lowerBound(from, true)
      const tx = this.db.transaction('records')
      const [keys, values] = await Promise.all([tx.store.getAllKeys(range, 256), tx.store.getAll(range, 256)])
      if (keys.length === 0) return
      for (let i = 0; i < keys.length; ) {
        const message = new Uint8Array(BULK_BYTES)
        const view = new DataView(message.buffer)
        message[0] = BULK
        let at = 1
        for (; i < keys.length && at + 8 + values[i].length <= BULK_BYTES; i++) {
          view.setUint32(at, keys[i] as number)
          view.setUint32(at + 4, values[i].length)
          message.set(values[i], at + 8)
          at += 8 + values[i].length
        }
        while (channel.bufferedAmount > BUFFERED) await new Promise((resolve) => setTimeout(resolve, 1))
        peer.send(message.subarray(0, at))
      }
      from = keys.at(-1) as number
    }
  }

  private async write(key: number, value: Uint8Array, durability: 'strict' | 'relaxed'): Promise<void> {
    const tx = this.db.transaction('records', 'readwrite', { durability })
    void tx.store.put(value, key)
    await tx.done
  }

  private ask(
    peer: SimplePeer.Instance,
    kind: number,
    key: number,
    value: Uint8Array = new Uint8Array(0),
  ): Promise<Uint8Array> {
    const id = this.nextId++
    const reply = new Promise<Uint8Array>((resolve) => this.waiting.set(id, resolve))
    peer.send(frame(kind, id, key, value))
    return reply
  }

  private async receive(peer: SimplePeer.Instance, data: Uint8Array<ArrayBuffer>): Promise<void> {
    const view = new DataView(data.buffer, data.byteOffset, data.length)
    const kind = data[0]
    if (kind === BULK) return this.takeAll(data, view)
    const id = view.getUint32(1)
    const key = view.getUint32(5)
    const value = data.subarray(HEADER)
    if (kind === REPLY) {
      this.waiting.get(id)?.(value)
      this.waiting.delete(id)
    } else if (kind === PUT) {
      await this.write(key, value.slice(), 'relaxed')
      peer.send(frame(REPLY, id, key, new Uint8Array(0)))
    } else if (kind === GET) peer.send(frame(REPLY, id, key, await this.db.get('records', key)))
  }

  private async takeAll(data: Uint8Array, view: DataView): Promise<void> {
    const tx = this.db.transaction('records', 'readwrite', { durability: 'relaxed' })
    let count = 0
    for (let at = 1; at < data.length; count++) {
      const length = view.getUint32(at + 4)
      void tx.store.put(data.slice(at + 8, at + 8 + length), view.getUint32(at))
      at += 8 + length
    }
    await tx.done
    this.received += count
  }
}

function frame(kind: number, id: number, key: number, value: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(HEADER + value.length)
  const view = new DataView(bytes.buffer)
  bytes[0] = kind
  view.setUint32(1, id)
  view.setUint32(5, key)
  bytes.set(value, HEADER)
  return bytes
}
