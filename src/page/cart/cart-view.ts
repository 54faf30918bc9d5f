/** `?app=cart`: the cart of this room, its buttons, and what happened when two carts were merged. */
import type { Entry, Store } from '../../index.js'
import { newActor } from '../../merge/index.js'
import { arrange, enableButtons, find, make, makeButton, setText } from '../elements.js'
import type { Log } from '../log.js'
import { plural } from '../values.js'
import { type Cart, type CartLine, MAX_QUANTITY, addOne, linesOf, removeUnits, takeOne } from './cart.js'

/** One cart for each room. */
const KEY = 'cart'

interface Row {
  root: HTMLTableRowElement
  quantity: HTMLElement
  more: HTMLButtonElement
  line: CartLine
}

export class CartView {
  private readonly carts
  private readonly actor = newActor()
  private readonly rows = new Map<string, Row>()
  private readonly body = find('cart-rows', HTMLElement)
  private readonly total = find('cart-total', HTMLElement)
  private readonly merged = find('cart-merged', HTMLElement)
  private readonly item = find('item-field', HTMLInputElement)

  constructor(
    store: Store,
    private readonly log: Log,
  ) {
    this.carts = store.bucket<Cart>('carts')
    const { item } = this
    const form = find('cart-form', HTMLFormElement)
    form.addEventListener('submit', (event) => {
      event.preventDefault()
      const name = item.value.trim()
      item.value = ''
      if (name) this.edit((cart) => addOne(cart, this.actor, name))
    })
    enableButtons(form)
  }

  /** Shows every change, until the store closes. */
  follow(): void {
    this.carts.subscribe(KEY, (entry) => this.show(entry))
  }

  private edit(change: (cart: Cart | undefined) => Cart): void {
    this.carts.update(KEY, change).then(
      (receipt) => this.log.receipt('put', receipt),
      (error) => this.log.error(error),
    )
  }

  private show({ value, siblings, conflict }: Entry<Cart>): void {
    const lines = linesOf(value)
    const items = new Set(lines.map(({ item }) => item))
    for (const item of this.rows.keys()) if (!items.has(item)) this.rows.delete(item)
    const focused = this.body.querySelector(':focus-visible')
    arrange(
      this.body,
      lines.map((line) => this.row(line).root),
    )
    // Who removes with the keyboard does not begin the page anew. Not on to the next item: one press too many would take that away as well.
    if (focused && !focused.isConnected) this.item.focus()
    const count = lines.reduce((sum, { units }) => sum + units.length, 0)
    setText(
      this.total,
      count === 0 ? 'The cart is empty.' : `Total: ${plural(count, 'thing')} of ${plural(lines.length, 'kind')}`,
    )
    if (!conflict) return
    this.merged.hidden = false
    const at = new Date().toTimeString().slice(0, 8)
    setText(
      this.merged,
      `Merged at ${at} with changes made elsewhere, ${siblings.length} carts into one: nothing that was added is lost.`,
    )
  }

  private row(line: CartLine): Row {
    const row = this.rows.get(line.item) ?? this.makeRow(line)
    this.rows.set(line.item, row)
    row.line = line
    setText(row.quantity, String(line.units.length))
    row.more.disabled = line.units.length >= MAX_QUANTITY
    return row
  }

  private makeRow(line: CartLine): Row {
    const { item } = line
    const quantity = make('output', 'quantity', [], { 'data-testid': 'quantity' })
    const less = makeButton('−', () => this.edit((cart) => takeOne(cart, item)), {
      class: 'small',
      'aria-label': `One ${item} less`,
    })
    const more = makeButton('+', () => this.edit((cart) => addOne(cart, this.actor, item)), {
      class: 'small',
      'aria-label': `One ${item} more`,
    })
    const remove = makeButton('Remove', () => this.edit((cart) => removeUnits(cart, row.line.units)), {
      class: 'small',
      'aria-label': `Remove ${item}`,
    })
    const root = make(
      'tr',
      '',
      [
        make('th', 'item', [item], { scope: 'row' }),
        make('td', 'amount', [less, quantity, more]),
        make('td', 'action', [remove]),
      ],
      { 'data-testid': 'cart-row', 'data-item': item },
    )
    const row: Row = { root, quantity, more, line }
    return row
  }
}
