/**
 * The table of keys, kept live by a subscription. A scan now and then says whether every partition answered, and takes away rows of keys that were
 * deleted behind a broken link.
 */
import type { Entry, Store } from '../index.js'
import { arrange, gathered, make, makeButton, setText } from './elements.js'
import { plural, showValue } from './values.js'

const MAX_ROWS = 200

export interface KeyActions {
  select(key: string): void
  /** Ends a conflict: this version and no other. */
  keep(entry: Entry, sibling: unknown): void
  delete(entry: Entry): void
  /** The entry of this key is another one now. */
  changed(key: string): void
}

interface Row {
  root: HTMLTableRowElement
  keyButton: HTMLButtonElement
  value: HTMLTableCellElement
  entry: Entry
  state: string
  /** When it was last heard of, by the page's own count. */
  heard: number
}

export class Keys {
  private readonly rows = new Map<string, Row>()
  private readonly showSoon = gathered(20, () => this.show())
  private heard = 0
  private complete = false
  private surveying = false
  private wanted = false
  private selected: string | undefined

  constructor(
    private readonly store: Store,
    private readonly body: HTMLElement,
    private readonly note: HTMLElement,
    private readonly actions: KeyActions,
  ) {}

  /** Takes up every change, until the store closes. */
  follow(): void {
    this.store.subscribe({ prefix: '' }, (entry) => this.take(entry))
  }

  /** Scans the room; once more when it is asked for meanwhile. */
  async survey(): Promise<void> {
    this.wanted = true
    if (this.surveying) return
    this.surveying = true
    try {
      while (this.wanted) await this.scan()
    } finally {
      this.surveying = false
      this.showSoon()
    }
  }

  /** The last scan was answered by every partition. */
  get isComplete(): boolean {
    return this.complete
  }

  select(key: string | undefined): void {
    this.selected = key
    this.show()
  }

  focus(key: string | undefined): void {
    if (key !== undefined) this.rows.get(key)?.keyButton.focus()
  }

  private async scan(): Promise<void> {
    this.wanted = false
    const before = this.heard
    const scan = this.store.scan()
    for await (const entry of scan) this.take(entry)
    this.complete = scan.complete
    if (scan.complete) for (const [key, { heard }] of this.rows) if (heard <= before) this.rows.delete(key)
  }

  private take(entry: Entry): void {
    this.heard++
    const { key, siblings } = entry
    const state = `${entry.context} ${siblings.length}`
    const former = this.rows.get(key)
    if (siblings.length === 0) {
      if (!this.rows.delete(key)) return
    } else if (former?.state === state) {
      former.heard = this.heard
      return
    } else {
      const row = former ?? this.makeRow(entry)
      Object.assign(row, { entry, state, heard: this.heard })
      this.fill(row)
      this.rows.set(key, row)
    }
    this.showSoon()
    this.actions.changed(key)
  }

  private show(): void {
    const keys = [...this.rows.keys()].sort()
    const rows = keys.slice(0, MAX_ROWS).map((key) => this.rows.get(key) as Row)
    for (const { keyButton, root, entry } of rows) {
      const selected = entry.key === this.selected
      keyButton.setAttribute('aria-pressed', String(selected))
      root.classList.toggle('selected', selected)
    }
    const focused = [...this.body.children].findIndex((root) => root.contains(document.activeElement))
    arrange(
      this.body,
      rows.map(({ root }) => root),
    )
    // Who deletes with the keyboard stays where the row was.
    if (focused >= 0 && !this.body.contains(document.activeElement)) (rows[focused] ?? rows.at(-1))?.keyButton.focus()
    setText(this.note, this.describe(keys.length))
  }

  private describe(count: number): string {
    const reached = this.complete ? 'every partition answered' : 'some partitions could not be reached'
    if (count === 0) return `No keys yet (${reached}). Put one.`
    const cut = count > MAX_ROWS ? `; the first ${MAX_ROWS} are shown` : ''
    return `${plural(count, 'key')} (${reached})${cut}. Select a key to see where it lives.`
  }

  private makeRow(entry: Entry): Row {
    const { key } = entry
    const keyButton = makeButton(key, () => this.actions.select(key), { class: 'key', 'data-testid': 'select-key' })
    const value = make('td', 'value', [], { 'data-testid': 'value' })
    const row: Row = { root: make('tr', ''), keyButton, value, entry, state: '', heard: 0 }
    const remove = makeButton('Delete', () => this.actions.delete(row.entry), {
      class: 'small',
      'aria-label': `Delete ${key}`,
      'data-testid': 'delete',
    })
    row.root.append(make('th', 'key-cell', [keyButton], { scope: 'row' }), value, make('td', 'action', [remove]))
    row.root.dataset.testid = 'key-row'
    row.root.dataset.key = key
    return row
  }

  private fill(row: Row): void {
    const { entry, value, keyButton } = row
    const hadFocus = value.contains(document.activeElement)
    row.root.classList.toggle('conflict', entry.conflict)
    if (!entry.conflict) value.replaceChildren(make('code', '', [showValue(entry.value)]))
    else {
      const siblings = entry.siblings.map((sibling) => {
        const text = showValue(sibling)
        const keep = makeButton('Keep this', () => this.actions.keep(entry, sibling), {
          class: 'small',
          'aria-label': `Keep ${text} for ${entry.key}`,
          'data-testid': 'keep',
        })
        return make('li', '', [make('code', '', [text]), keep], { 'data-testid': 'sibling' })
      })
      value.replaceChildren(
        make('span', 'badge', [`Conflict: ${plural(entry.siblings.length, 'version')}`], { 'data-testid': 'conflict' }),
        make('ul', 'siblings', siblings),
      )
    }
    if (hadFocus) keyButton.focus()
  }
}
