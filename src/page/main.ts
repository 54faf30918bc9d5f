/**
 * The page: opens a store in this tab and shows it at work. `?room=` chooses the room, `?app=cart` the shopping cart instead of the keys;
 * `store` is there in the console.
 */
import { type Store, openStore } from '../index.js'
import { CART_BUCKETS } from './cart/cart.js'
import { CartView } from './cart/cart-view.js'
import { Directory } from './directory.js'
import { find, gathered } from './elements.js'
import { explore } from './explorer.js'
import { Header } from './header.js'
import { Log } from './log.js'
import { Members } from './members.js'
import { nameOfThisTab } from './name.js'
import { keepPageOnDevice } from './service-worker.js'

declare global {
  interface Window {
    /** This tab's store, for people at the console. */
    store: Store
  }
}

const DEFAULT_ROOM = 'demo'
const asked = new URLSearchParams(location.search)
const room = asked.get('room') || DEFAULT_ROOM
const app = asked.get('app') === 'cart' ? 'cart' : 'keys'
const directory = new Directory()
const log = new Log(find('log', HTMLOListElement), directory)

find('room', HTMLElement).textContent = room
document.title = app === 'cart' ? `Cart of ${room} · tabring` : `${room} · tabring`
for (const part of document.querySelectorAll<HTMLElement>('[data-app]')) part.hidden = part.dataset.app !== app
for (const link of document.querySelectorAll<HTMLAnchorElement>('a[data-to]')) link.href = addressOf(link.dataset.to)
find('open-tab', HTMLButtonElement).addEventListener('click', () => window.open(location.href, '_blank', 'noopener'))

// The keys' page names the carts too: tabs of one room must agree on the buckets.
openStore({ room, name: nameOfThisTab(), buckets: CART_BUCKETS }).then(show).catch(fail)
keepPageOnDevice().catch((error) => log.add('error', `This page will not open without its server: ${error}`))

/** Of the other part of the page, in the same room. */
function addressOf(other: string | undefined): string {
  const parameters = new URLSearchParams(location.search)
  if (other === 'cart') parameters.set('app', 'cart')
  else parameters.delete('app')
  return `${location.pathname}?${parameters}`
}

function fail(error: unknown): void {
  const failure = find('failure', HTMLElement)
  failure.textContent = `The store did not open. ${error instanceof Error ? error.message : String(error)}`
  failure.hidden = false
  find('node', HTMLElement).textContent = 'no node'
}

function show(store: Store): void {
  window.store = store
  directory.refresh(store.members, store.status.node)
  const header = new Header(store, directory, log)
  const members = new Members(find('member-rows', HTMLElement), directory)
  log.follow(store)
  let renderApp = () => {}
  if (app === 'keys') renderApp = explore(store, directory, log)
  else new CartView(store, log).follow()

  const render = () => {
    const { status, members: all } = store
    directory.refresh(all, status.node)
    header.render()
    members.render(all, status.node)
    renderApp()
  }
  const renderSoon = gathered(50, render)
  store.addEventListener('status', renderSoon)
  store.addEventListener('member', renderSoon)
  addEventListener('online', renderSoon)
  addEventListener('offline', renderSoon)
  // Round trips and times of last sight change without an event.
  setInterval(render, 1000)
  render()
}
