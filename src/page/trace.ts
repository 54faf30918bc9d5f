/** Where the selected key lives: what each of its homes and first stand-ins holds of it, asked anew whenever something may have changed. */
import type { Store, Trace, TracedPlace } from '../index.js'
import { type Directory, shortId } from './directory.js'
import { gathered, make, makeButton } from './elements.js'
import type { Log } from './log.js'
import { plural, showBytes } from './values.js'

export class TraceView {
  private key: string | undefined
  private asked = 0
  private answered = 0
  private drawn = ''
  /** Traces the selected key again, soon. */
  readonly refresh = gathered(100, () => {
    this.trace().catch((error) => this.log.error(error))
  })

  constructor(
    private readonly store: Store,
    private readonly directory: Directory,
    private readonly log: Log,
    private readonly panel: HTMLElement,
    /** Is told the partition's index, to show it on the ring. */
    private readonly located: (selected: { key: string; index: number } | undefined) => void,
    private readonly onClose: () => void,
  ) {}

  select(key: string | undefined): void {
    this.key = key
    if (key === undefined) {
      this.panel.hidden = true
      this.located(undefined)
    } else this.refresh()
  }

  private async trace(): Promise<void> {
    const { key } = this
    if (key === undefined) return
    const turn = ++this.asked
    const trace = await this.store.trace(key)
    // Not only the last one: the next may have been asked for before any answer comes.
    if (turn < this.answered || this.key !== key) return
    this.answered = turn
    this.located({ key, index: trace.partition })
    this.draw(trace)
  }

  private draw(trace: Trace): void {
    const { key, partition, homes, standIns } = trace
    const drawn = JSON.stringify([trace, [...homes, ...standIns].map(({ node }) => this.directory.get(node))])
    const hadFocus = this.panel.contains(document.activeElement)
    if (drawn === this.drawn && !this.panel.hidden) return
    this.drawn = drawn
    const close = makeButton('Close', this.onClose, { class: 'small', 'aria-label': 'Close this key’s places' })
    const digests = [...new Set(homes.filter(({ holds }) => holds).map(({ digest }) => digest))]
    const rows = [
      ...homes.map((place, i) => this.row(place, `home ${i + 1}`, digests)),
      ...standIns.map((place, i) => this.row(place, `stand-in ${i + 1}`, digests)),
    ]
    this.panel.replaceChildren(
      make('div', 'trace-head', [make('h3', '', ['Where ', make('code', '', [key]), ' lives']), close]),
      make('p', 'quiet', [`Partition ${partition}. ${agreement(homes)}`], { 'data-testid': 'agreement' }),
      make('ul', 'places', rows),
    )
    this.panel.hidden = false
    if (hadFocus) close.focus()
  }

  private row(place: TracedPlace, role: string, digests: readonly string[]): HTMLElement {
    const { node, reachable, holds, failure, versions, clock, digest } = place
    const parts = Object.entries(clock).map(([actor, counter]) =>
      make('code', 'dot', [`${this.actor(actor)}:${counter}`], { title: actor }),
    )
    const held = versions.map(describeVersion).join(', ') || 'nothing'
    const state = !reachable ? 'out of reach' : failure ? FAILURES[failure] : held
    const letter = holds && digests.length > 1 ? String.fromCharCode(65 + digests.indexOf(digest)) : ''
    return make(
      'li',
      holds ? 'holds' : '',
      [
        make('span', 'role', [role]),
        this.directory.tag(node),
        make('span', reachable && !failure ? 'holding' : 'holding away', [state]),
        letter !== '' && letter >= 'A' && make('span', 'badge', [`state ${letter}`]),
        parts.length > 0 && make('span', 'clock', ['clock ', ...parts]),
      ],
      { 'data-testid': 'place', 'data-node': node },
    )
  }

  /** An actor is one life of a node: its id, a dot, and what tells the lives apart. */
  private actor(actor: string): string {
    const [node = '', life = ''] = actor.split('.')
    return `${this.directory.get(node).label}/${shortId(life)}`
  }
}

const FAILURES: Record<NonNullable<TracedPlace['failure']>, string> = {
  silent: 'no answer',
  disk: 'its disk failed',
  unreadable: 'cannot be read',
}

function describeVersion({ deleted, bytes }: TracedPlace['versions'][number]): string {
  return deleted ? 'a tombstone' : `a version of ${showBytes(bytes)}`
}

function agreement(homes: readonly TracedPlace[]): string {
  const answering = homes.filter(({ reachable, failure }) => reachable && !failure)
  const states = new Set(answering.map(({ digest }) => digest))
  const away = homes.length - answering.length
  const who =
    away > 0
      ? `The ${answering.length} of ${plural(homes.length, 'home')} that answered`
      : `All ${plural(homes.length, 'home')}`
  if (answering.length === 0) return `None of its ${plural(homes.length, 'home')} answered.`
  if (homes.length === 1 && away === 0) return 'Its only home is this one; open more tabs.'
  if (states.size > 1) return `${who} hold ${states.size} different states.`
  return states.has('') ? `${who} hold nothing.` : `${who} ${answering.length === 1 ? 'holds it' : 'hold the same'}.`
}
