/** The little that the page needs to make and find elements, and to change them no more often than a person can see. */

export type Child = Node | string | undefined | false

/** An element with a class, children and attributes. An attribute that is undefined is left out. */
export function make<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  className: string,
  children: readonly Child[] = [],
  attributes: Record<string, string | undefined> = {},
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag)
  if (className) element.className = className
  for (const [name, value] of Object.entries(attributes)) if (value !== undefined) element.setAttribute(name, value)
  for (const child of children) if (child) element.append(child)
  return element
}

export function makeButton(text: string, onClick: () => void, attributes: Record<string, string> = {}) {
  const button = make('button', '', [text], { type: 'button', ...attributes })
  button.addEventListener('click', onClick)
  return button
}

/** Until somebody listens, a browser would submit a form by itself, and what was typed would be lost: index.html has its buttons disabled. */
export function enableButtons(form: HTMLFormElement): void {
  for (const button of form.querySelectorAll('button')) button.disabled = false
}

/** What index.html holds under this id. @throws when it does not */
export function find<T extends HTMLElement>(id: string, type: new () => T): T {
  const element = document.getElementById(id)
  if (element instanceof type) return element
  throw new Error(`The page has no ${type.name} with the id ${id}.`)
}

/** Writes only what differs, so that selections, focus and screen readers are left alone. */
export function setText(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text
}

/** A function that runs `work` once, soon after however many calls. Timers and not frames: hidden tabs go on too. */
export function gathered(ms: number, work: () => void): () => void {
  let waiting = false
  return () => {
    if (waiting) return
    waiting = true
    setTimeout(() => {
      waiting = false
      work()
    }, ms)
  }
}

/** Makes the children of `parent` these, in this order; what is already in its place is not touched. */
export function arrange(parent: Element, children: readonly Element[]): void {
  const wanted = new Set(children)
  for (const child of [...parent.children]) if (!wanted.has(child)) child.remove()
  children.forEach((child, i) => {
    const there = parent.children[i]
    if (there !== child) parent.insertBefore(child, there ?? null)
  })
}
