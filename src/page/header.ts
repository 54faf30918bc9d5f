/** The head of the page: what this tab's node is and how it fares, and the switches of its links. */
import type { Status, Store } from '../index.js'
import { faults } from '../testing/index.js'
import type { Directory } from './directory.js'
import { arrange, find, make, setText } from './elements.js'
import type { Log } from './log.js'
import { showBytes } from './values.js'

interface Fact {
  root: HTMLElement
  value: HTMLElement
}

export class Header {
  private readonly facts = new Map<string, Fact>()
  private readonly list = find('facts', HTMLDListElement)
  private readonly node = find('node', HTMLElement)
  private readonly cutButton = find('cut', HTMLButtonElement)
  private readonly connectionButton = find('connection', HTMLButtonElement)
  private isCut = false

  constructor(
    private readonly store: Store,
    private readonly directory: Directory,
    private readonly log: Log,
  ) {
    this.cutButton.addEventListener('click', () => this.toggleLinks())
    this.connectionButton.addEventListener('click', () => this.toggleConnection())
    for (const button of [this.cutButton, this.connectionButton]) button.disabled = false
  }

  render(): void {
    const { status } = this.store
    if (this.node.title !== status.node) this.node.title = status.node
    const tag = this.directory.tag(status.node)
    if (!this.node.firstElementChild?.isEqualNode(tag)) this.node.replaceChildren(tag)
    for (const [name, text, mood] of factsOf(status, this.isCut)) this.show(name, text, mood)
    arrange(
      this.list,
      [...this.facts.values()].map(({ root }) => root),
    )
    setText(this.cutButton, this.isCut ? 'Heal this tab’s links' : 'Cut this tab’s links')
    setText(this.connectionButton, this.wantsConnection ? 'Go offline' : 'Go online')
  }

  private wantsConnection = true

  private toggleLinks(): void {
    this.isCut = !this.isCut
    if (this.isCut) faults(this.store).cut()
    else faults(this.store).heal()
    this.log.add(
      'link',
      this.isCut ? 'this tab’s links are cut: packets are lost both ways' : 'this tab’s links are healed',
    )
    this.render()
  }

  private toggleConnection(): void {
    this.wantsConnection = !this.wantsConnection
    if (this.wantsConnection) this.store.connect()
    else this.store.disconnect()
    this.log.add('link', this.wantsConnection ? 'going online' : 'went offline: links and signaling are closed')
    this.render()
  }

  private show(name: string, text: string, mood: string): void {
    let fact = this.facts.get(name)
    if (!fact) {
      const value = make('dd', '', [], { 'data-testid': `status-${name.replaceAll(' ', '-')}` })
      fact = { root: make('div', '', [make('dt', '', [name]), value]), value }
      this.facts.set(name, fact)
    }
    setText(fact.value, text)
    if (fact.value.className !== mood) fact.value.className = mood
  }
}

function factsOf(status: Status, isCut: boolean): [name: string, text: string, mood: string][] {
  const { online, peers, members, keysHeld, bytesStored, hintsPending, synced } = status
  const network = isCut ? 'links cut' : online ? 'online' : 'offline'
  return [
    ['network', network, network === 'online' ? 'good' : 'bad'],
    ['peers', `${peers} of ${members - 1}`, peers < members - 1 ? 'warn' : ''],
    ['keys held', String(keysHeld), ''],
    ['on disk', showBytes(bytesStored), ''],
    ['hints pending', String(hintsPending), hintsPending > 0 ? 'warn' : ''],
    ['synced', synced ? 'yes' : 'not yet', synced ? 'good' : 'warn'],
  ]
}
