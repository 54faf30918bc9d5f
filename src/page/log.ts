/** What happened, newest first: what the store answered to this page, and the store's own events. */
import type { Receipt, Store } from '../index.js'
import type { Directory } from './directory.js'
import { make, setText } from './elements.js'
import { plural } from './values.js'

export type LogKind =
  | 'put'
  | 'get'
  | 'delete'
  | 'link'
  | 'member'
  | 'conflict'
  | 'handoff'
  | 'repair'
  | 'sync'
  | 'error'

const MAX_LINES = 200

export class Log {
  private last: { text: string; times: number; count: HTMLElement } | undefined

  constructor(
    private readonly list: HTMLOListElement,
    private readonly directory: Directory,
  ) {}

  add(kind: LogKind, text: string): void {
    if (this.last && this.last.text === kind + text) {
      this.last.times++
      setText(this.last.count, ` ×${this.last.times}`)
      return
    }
    const now = new Date()
    const count = make('span', 'count')
    this.list.prepend(
      make('li', kind, [
        make('time', '', [now.toTimeString().slice(0, 8)], { datetime: now.toISOString() }),
        make('span', 'kind', [kind]),
        make('span', 'text', [text, count]),
      ]),
    )
    this.last = { text: kind + text, times: 1, count }
    while (this.list.children.length > MAX_LINES) this.list.lastElementChild?.remove()
  }

  error(error: unknown): void {
    this.add('error', error instanceof Error ? `${error.name}: ${error.message}` : String(error))
  }

  receipt(kind: 'put' | 'delete', receipt: Receipt): void {
    const { key, quorum, acks, hintedFor } = receipt
    const outcome = quorum.met ? (quorum.sloppy ? 'sloppy quorum met' : 'quorum met') : 'quorum not met'
    const parts = [
      `${JSON.stringify(key)}: ${outcome} (${plural(quorum.answers, 'confirmation')}, ${quorum.needed} needed)`,
      `on the disks of ${this.directory.labels(acks)}`,
      hintedFor.length > 0 && `hinted for ${this.directory.labels(hintedFor)}`,
    ]
    this.add(kind, parts.filter(Boolean).join('; '))
  }

  /** Writes down what the store tells of itself from now on. */
  follow(store: Store): void {
    const { directory } = this
    const states = new Map(store.members.map(({ node, state }) => [node, state]))
    store.addEventListener('member', ({ detail: { node, state } }) => {
      if (states.get(node) === state) return
      states.set(node, state)
      directory.refresh(store.members, store.status.node)
      this.add('member', `${directory.label(node)} is ${state}`)
    })
    store.addEventListener('conflict', ({ detail: { key, siblings, many } }) =>
      this.add(
        'conflict',
        `${JSON.stringify(key)} has ${plural(siblings, 'version')}${many ? ': resolve them before no more are taken' : ''}`,
      ),
    )
    store.addEventListener('handoff', ({ detail: { kind, node, keys, left } }) => {
      if (keys === 0) return
      const what = plural(keys, 'key')
      const sentence = {
        hints: `${what} that waited for ${directory.label(node)} delivered to it`,
        transfer: `${what} fetched from ${directory.label(node)}`,
        leave: `handing over ${what}`,
        adoption: `${what} taken over from ${directory.label(node)}, whose tab is closed`,
      }[kind]
      this.add('handoff', left > 0 ? `${sentence}; ${left} left` : sentence)
    })
    store.addEventListener('repair', ({ detail: { key, nodes } }) =>
      this.add('repair', `${JSON.stringify(key)} brought up to date at ${directory.labels(nodes)}`),
    )
    store.addEventListener('sync', ({ detail: { node, pulled, pushed } }) =>
      this.add('sync', `compared with ${directory.label(node)}: ${pulled} pulled, ${pushed} pushed`),
    )
    store.addEventListener('error', ({ detail }) => this.error(detail))
  }
}
