/**
 * Who is who on this page: a name and a colour for each node, the same wherever the node is mentioned. Colours follow from the ids of
 * all members, so that tabs with the same member list agree on them.
 */
import type { Member } from '../index.js'
import { make } from './elements.js'

export interface Resident {
  node: string
  /** Its name, or the short form of its id. */
  label: string
  shortId: string
  /** This tab. */
  self: boolean
  /** It does not answer this tab now. */
  away: boolean
  /** Degrees on the colour wheel. */
  hue: number
}

/** Degrees on the colour wheel: six that are told apart easily, and six between them for more members. */
const HUES = [250, 35, 145, 320, 85, 200, 280, 10, 175, 350, 115, 225]
const EASY_HUES = 6

export class Directory {
  private residents = new Map<string, Resident>()

  refresh(members: readonly Member[], self: string): void {
    const sorted = [...members].sort((a, b) => (a.node < b.node ? -1 : 1))
    const hues = sorted.length <= EASY_HUES ? EASY_HUES : HUES.length
    const taken = new Set<number>()
    this.residents = new Map()
    for (const { node, name, connected } of sorted) {
      let slot = hash(node) % hues
      while (taken.has(slot) && taken.size < hues) slot = (slot + 1) % hues
      taken.add(slot)
      this.residents.set(node, {
        node,
        label: name || shortId(node),
        shortId: shortId(node),
        self: node === self,
        away: !connected,
        hue: HUES[slot] ?? 0,
      })
    }
  }

  get(node: string): Resident {
    const unknown = { node, label: shortId(node), shortId: shortId(node), self: false, away: true, hue: 0 }
    return this.residents.get(node) ?? unknown
  }

  /** 'Wren (this tab)', for sentences; with the id where another has the same name. */
  label(node: string): string {
    const { label, shortId: id, self } = this.get(node)
    if (self) return `${label} (this tab)`
    const unique = [...this.residents.values()].filter((other) => other.label === label).length < 2
    return unique ? label : `${label} ${id}`
  }

  labels(nodes: readonly string[]): string {
    return nodes.map((node) => this.label(node)).join(', ')
  }

  /** The node's colour, name and short id. */
  tag(node: string): HTMLElement {
    const { label, shortId: id, self, away, hue } = this.get(node)
    const swatch = make('span', away ? 'swatch away' : 'swatch', [], { 'aria-hidden': 'true' })
    swatch.style.setProperty('--hue', String(hue))
    return make(
      'span',
      'tag',
      [
        swatch,
        make('span', 'label', [label]),
        label !== id && make('code', 'id', [id]),
        self && make('span', 'this-tab', ['this tab']),
      ],
      { title: node },
    )
  }
}

export function shortId(node: string): string {
  return node.slice(0, 4)
}

function hash(text: string): number {
  let sum = 7
  for (const character of text) sum = (sum * 31 + (character.codePointAt(0) ?? 0)) >>> 0
  return sum
}
