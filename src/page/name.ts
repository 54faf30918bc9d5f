/** A name for this tab, so that people can tell tabs apart: a bird, kept for as long as the tab lives. */

const BIRDS =
  'Avocet Bittern Bunting Coot Crane Curlew Dipper Dunlin Eider Egret Finch Fulmar Gannet Goshawk Grebe Heron Hoopoe Ibis Jackdaw Kestrel Kite Lapwing Linnet Magpie Martin Merlin Nuthatch Oriole Osprey Pipit Plover Puffin Rail Raven Redstart Robin Rook Shrike Siskin Skua Skylark Sparrow Starling Stork Swift Tern Thrush Turnstone Wagtail Warbler Wigeon Wren'.split(
    ' ',
  )
const STORED_AS = 'tabring page: name'

export function nameOfThisTab(): string {
  const name = BIRDS[Math.floor(Math.random() * BIRDS.length)] ?? 'Wren'
  try {
    const known = sessionStorage.getItem(STORED_AS)
    if (known) return known
    sessionStorage.setItem(STORED_AS, name)
  } catch {
    // Where the browser keeps nothing for this site, the store says what is wrong, if anything is.
  }
  return name
}
