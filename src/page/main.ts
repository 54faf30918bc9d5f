/** The page: opens a store in this tab and shows it at work. `?room=` chooses the room; `store` is there in the console. */
import { type Entry, type Store, openStore } from '../index.js'
import { Directory } from './directory.js'
import { find, gathered } from './elements.js'
import { wireForm } from './form.js'
import { Header } from './header.js'
import { Keys } from './keys.js'
import { Log } from './log.js'
import { Members } from './members.js'
import { nameOfThisTab } from './name.js'
import { Ring } from './ring.js'
import { keepPageOnDevice } from './service-worker.js'
import { TraceView } from './trace.js'

declare global {
  interface Window {
    /** This tab's store, for people at the console. */
    store: Store
  }
}

const DEFAULT_ROOM = 'demo'
/** While some partitions could not be reached, they are asked again this often. */
const SURVEY_AGAIN_MS = 5000
const room = new URLSearchParams(location.search).get('room') || DEFAULT_ROOM
const directory = new Directory()
const log = new Log(find('log', HTMLOListElement), directory)

find('room', HTMLElement).textContent = room
document.title = `${room} · tabring`
find('open-tab', HTMLButtonElement).addEventListener('click', () => window.open(location.href, '_blank', 'noopener'))

openStore({ room, name: nameOfThisTab() }).then(show).catch(fail)
keepPageOnDevice().catch((error) => log.add('error', `This page will not open without its server: ${error}`))

function fail(error: unknown): void {
  const failure = find('failure', HTMLElement)
  failure.textContent = `The store did not open. ${error instanceof Error ? error.message : String(error)}`
  failure.hidden = false
  find('node', HTMLElement).textContent = 'no node'
}

function show(store: Store): void {
  window.store = store
  directory.refresh(store.members, store.status.node)
  const report = (work: Promise<unknown>) => void work.catch((error) => log.error(error))

  const header = new Header(store, directory, log)
  const members = new Members(find('member-rows', HTMLElement), directory)
  const ring = new Ring(store, directory, find('ring', HTMLElement), find('ring-caption', HTMLElement))
  let selected: string | undefined
  const select = (key: string | undefined) => {
    selected = key
    keys.select(key)
    trace.select(key)
  }
  const trace = new TraceView(
    store,
    directory,
    log,
    find('trace', HTMLElement),
    (place) => ring.select(place),
    () => select(undefined),
  )
  const keys = new Keys(store, find('key-rows', HTMLElement), find('keys-note', HTMLElement), {
    select: (key) => select(key === selected ? undefined : key),
    keep: (entry: Entry, sibling: unknown) =>
      report(store.put(entry.key, sibling, { context: entry.context }).then((receipt) => log.receipt('put', receipt))),
    delete: (entry: Entry) =>
      report(store.delete(entry.key, { context: entry.context }).then((receipt) => log.receipt('delete', receipt))),
    changed: (key) => {
      if (key === selected) trace.refresh()
    },
  })
  wireForm(store, log, select)

  const render = () => {
    const { status, members: all } = store
    directory.refresh(all, status.node)
    header.render()
    members.render(all, status.node)
    ring.render()
    trace.refresh()
  }
  const renderSoon = gathered(50, render)
  const surveySoon = gathered(1000, () => report(keys.survey()))
  log.follow(store)
  store.addEventListener('status', renderSoon)
  store.addEventListener('member', () => {
    renderSoon()
    surveySoon()
  })
  addEventListener('online', renderSoon)
  addEventListener('offline', renderSoon)
  // Round trips and times of last sight change without an event.
  setInterval(render, 1000)
  setInterval(() => keys.isComplete || surveySoon(), SURVEY_AGAIN_MS)
  render()
  report(keys.follow())
  report(keys.survey())
}
