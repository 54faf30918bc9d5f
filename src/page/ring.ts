/**
 * The ring as a picture: Q partitions around a circle, each in the colour of its first home; an outer band marks those that this tab holds. One
 * partition is looked at (by pointer, or with the arrow keys: to a keyboard the ring is one slider), and the selected key's one is marked.
 */
import type { Store } from '../index.js'
import type { Directory } from './directory.js'
import { setText } from './elements.js'
import { plural } from './values.js'

const SVG = 'http://www.w3.org/2000/svg'
const CENTRE = 100
const BAND = { inner: 62, outer: 82 }
const OWN_BAND = { inner: 84.5, outer: 89 }
const MARK = { tip: 91, base: 98, width: 4.5 }
const PAGE_STEP = 16

interface Segment {
  band: SVGPathElement
  own: SVGPathElement
  /** What was drawn last, so that only what changed is drawn again. */
  drawn: string
}

export class Ring {
  private readonly svg = svgElement('svg', { viewBox: '0 0 200 200', class: 'ring-picture' })
  private readonly segments: Segment[] = []
  private readonly mark = svgElement('path', { class: 'mark' })
  private readonly lines = [50, 0, 0].map((_, i) =>
    svgElement('text', { x: '100', y: String(91 + i * 13), class: `line-${i}` }),
  )
  private readonly partitions: number
  private looked = 0
  private pointed = false
  private selected: { index: number; key: string } | undefined

  constructor(
    private readonly store: Store,
    private readonly directory: Directory,
    place: HTMLElement,
    private readonly caption: HTMLElement,
  ) {
    this.partitions = store.ring.partitions
    for (let index = 0; index < this.partitions; index++) this.segments.push(this.makeSegment(index))
    this.svg.append(...this.segments.flatMap(({ band, own }) => [band, own]), this.mark, ...this.lines)
    place.append(this.svg)
    const slider = { role: 'slider', tabindex: '0', 'aria-label': 'Partition', 'aria-valuemin': '0' }
    for (const [name, value] of Object.entries(slider)) this.svg.setAttribute(name, value)
    this.svg.setAttribute('aria-valuemax', String(this.partitions - 1))
    this.svg.addEventListener('pointermove', (event) => this.point(event))
    this.svg.addEventListener('pointerleave', () => this.release())
    this.svg.addEventListener('focus', () => this.look(this.looked))
    this.svg.addEventListener('blur', () => this.release())
    this.svg.addEventListener('keydown', (event) => this.step(event))
  }

  /** Draws what the store knows of the ring now. */
  render(): void {
    const { ring, status } = this.store
    this.segments.forEach((segment, index) => {
      const homes = ring.homes(index)
      const first = this.directory.get(homes[0] ?? '')
      const held = homes.includes(status.node)
      const drawn = `${first.hue} ${first.away} ${held}`
      if (segment.drawn === drawn) return
      segment.drawn = drawn
      segment.band.style.setProperty('--hue', String(first.hue))
      segment.band.classList.toggle('away', first.away)
      segment.own.classList.toggle('held', held)
    })
    this.describe()
  }

  /** Marks where a key lives; undefined: no key is selected. */
  select(selected: { index: number; key: string } | undefined): void {
    if (selected?.index === this.selected?.index && selected?.key === this.selected?.key) return
    this.selected = selected
    if (selected) this.looked = selected.index
    this.mark.setAttribute('d', selected ? markPath((selected.index + 0.5) / this.partitions) : '')
    this.describe()
  }

  private get isLooking(): boolean {
    return this.pointed || document.activeElement === this.svg
  }

  private look(index: number): void {
    this.looked = (index + this.partitions) % this.partitions
    this.describe()
  }

  private release(): void {
    this.pointed = false
    if (this.selected && !this.isLooking) this.looked = this.selected.index
    this.describe()
  }

  private point(event: PointerEvent): void {
    const box = this.svg.getBoundingClientRect()
    const x = event.clientX - box.left - box.width / 2
    const y = event.clientY - box.top - box.height / 2
    const radius = (Math.hypot(x, y) / box.width) * 2 * CENTRE
    if (radius < BAND.inner - 6 || radius > OWN_BAND.outer + 6) {
      if (this.pointed) this.release()
      return
    }
    this.pointed = true
    const turn = (Math.atan2(x, -y) / (2 * Math.PI) + 1) % 1
    this.look(Math.floor(turn * this.partitions))
  }

  private step(event: KeyboardEvent): void {
    const steps: Record<string, number> = {
      ArrowRight: 1,
      ArrowUp: 1,
      ArrowLeft: -1,
      ArrowDown: -1,
      PageUp: PAGE_STEP,
      PageDown: -PAGE_STEP,
      Home: -this.looked,
      End: this.partitions - 1 - this.looked,
    }
    const step = steps[event.key]
    if (step === undefined) return
    event.preventDefault()
    this.look(this.looked + step)
  }

  /** Says, in the middle, below and to screen readers, what the looked-at partition is. */
  private describe(): void {
    const { ring, status } = this.store
    const shown = this.isLooking || this.selected !== undefined
    const homes = ring.homes(this.looked)
    const held = status.partitionsHeld
    const isSelected = this.selected !== undefined && this.looked === this.selected.index
    this.segments.forEach(({ band, own }, index) => {
      const looked = shown && index === this.looked
      band.classList.toggle('looked', looked)
      own.classList.toggle('looked', looked)
    })
    const middle = shown
      ? [`partition ${this.looked}`, plural(homes.length, 'home'), isSelected ? clip(this.selected?.key ?? '') : '']
      : [plural(this.partitions, 'partition'), `${held} held by`, 'this tab']
    middle.forEach((text, i) => {
      const line = this.lines[i]
      if (line) setText(line, text)
    })
    const valueText = `${this.looked}: homes ${this.directory.labels(homes)}`
    this.svg.setAttribute('aria-valuenow', String(this.looked))
    if (this.svg.getAttribute('aria-valuetext') !== valueText) this.svg.setAttribute('aria-valuetext', valueText)
    const signature = shown ? valueText + homes.map((node) => this.directory.get(node).away) : ''
    if (this.caption.dataset.shows === signature) return
    this.caption.dataset.shows = signature
    if (shown)
      this.caption.replaceChildren(
        `Homes of partition ${this.looked}: `,
        ...homes.map((node) => this.directory.tag(node)),
      )
    else
      this.caption.replaceChildren(
        'Each partition has the colour of its first home; grey: out of reach. Outer band: held by this tab. Point at one, or use the arrow keys.',
      )
  }

  private makeSegment(index: number): Segment {
    const from = index / this.partitions
    const to = (index + 1) / this.partitions
    return {
      band: svgElement('path', { d: arcPath(BAND, from, to), class: 'band', 'data-partition': String(index) }),
      own: svgElement('path', { d: arcPath(OWN_BAND, from, to), class: 'own' }),
      drawn: '',
    }
  }
}

function clip(text: string): string {
  return text.length > 16 ? `${text.slice(0, 15)}…` : text
}

function svgElement<K extends keyof SVGElementTagNameMap>(
  tag: K,
  attributes: Record<string, string>,
): SVGElementTagNameMap[K] {
  const element = document.createElementNS(SVG, tag)
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value)
  return element
}

/** A point at this radius and this part of a whole turn, clockwise from the top. */
function at(radius: number, turn: number): string {
  const angle = turn * 2 * Math.PI
  return `${(CENTRE + radius * Math.sin(angle)).toFixed(3)} ${(CENTRE - radius * Math.cos(angle)).toFixed(3)}`
}

function arcPath({ inner, outer }: { inner: number; outer: number }, from: number, to: number): string {
  return `M${at(inner, from)}L${at(outer, from)}A${outer} ${outer} 0 0 1 ${at(outer, to)}L${at(inner, to)}A${inner} ${inner} 0 0 0 ${at(inner, from)}Z`
}

function markPath(turn: number): string {
  const half = MARK.width / MARK.base / 2 / Math.PI
  return `M${at(MARK.tip, turn)}L${at(MARK.base, turn - half)}L${at(MARK.base, turn + half)}Z`
}
