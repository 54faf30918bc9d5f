/** The table of members as this tab sees them. On narrow screens its rows become cards, so every cell names its column. */
import type { Member } from '../index.js'
import type { Directory } from './directory.js'
import { arrange, make, setText } from './elements.js'
import { showAge } from './values.js'

interface Row {
  root: HTMLTableRowElement
  name: HTMLElement
  cells: { state: HTMLElement; connected: HTMLElement; rtt: HTMLElement; partitions: HTMLElement; seen: HTMLElement }
}

const ORDER = ['up', 'unreachable', 'asleep', 'left'] as const

export class Members {
  private readonly rows = new Map<string, Row>()

  constructor(
    private readonly body: HTMLElement,
    private readonly directory: Directory,
  ) {}

  render(members: readonly Member[], self: string): void {
    const rank = ({ node, state }: Member) => (node === self ? -1 : ORDER.indexOf(state))
    const sorted = [...members].sort((a, b) => rank(a) - rank(b) || (a.node < b.node ? -1 : 1))
    const now = Date.now()
    arrange(
      this.body,
      sorted.map((member) => this.row(member, member.node === self, now).root),
    )
    const present = new Set(members.map(({ node }) => node))
    for (const node of this.rows.keys()) if (!present.has(node)) this.rows.delete(node)
  }

  private row(member: Member, self: boolean, now: number): Row {
    const { node, state, connected, rtt, partitions, lastSeen } = member
    const row = this.rows.get(node) ?? makeRow(node, self)
    this.rows.set(node, row)
    const tag = this.directory.tag(node)
    if (!row.name.firstElementChild?.isEqualNode(tag)) row.name.replaceChildren(tag)
    const { cells } = row
    setText(cells.state, state)
    cells.state.className = `state ${state}`
    setText(cells.connected, self ? '–' : connected ? 'yes' : 'no')
    setText(cells.rtt, rtt === null ? '–' : rtt < 10 ? `${rtt.toFixed(1)} ms` : `${Math.round(rtt)} ms`)
    setText(cells.partitions, String(partitions))
    setText(cells.seen, self ? '–' : showAge(lastSeen, now))
    return row
  }
}

function makeRow(node: string, self: boolean): Row {
  const cell = (label: string, className = '') => make('td', className, [make('span', '')], { 'data-label': label })
  const name = make('th', 'name', [], { scope: 'row' })
  const state = cell('State')
  const connected = cell('Connected')
  const rtt = cell('Round trip', 'number')
  const partitions = cell('Partitions', 'number')
  const seen = cell('Last seen')
  const inner = (outer: HTMLElement) => outer.firstElementChild as HTMLElement
  return {
    root: make('tr', self ? 'own' : '', [name, state, connected, rtt, partitions, seen], {
      'data-testid': 'member',
      'data-node': node,
    }),
    name,
    cells: {
      state: inner(state),
      connected: inner(connected),
      rtt: inner(rtt),
      partitions: inner(partitions),
      seen: inner(seen),
    },
  }
}
