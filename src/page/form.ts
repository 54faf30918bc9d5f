/** The form that puts and gets. */
import type { Store } from '../index.js'
import { enableButtons, find } from './elements.js'
import type { Log } from './log.js'
import { parseValue, plural, showValue } from './values.js'

export function wireForm(store: Store, log: Log, select: (key: string) => void): void {
  const form = find('put-form', HTMLFormElement)
  const key = find('key-field', HTMLInputElement)
  const value = find('value-field', HTMLInputElement)

  async function put(): Promise<void> {
    log.receipt('put', await store.put(key.value, parseValue(value.value)))
  }

  async function get(): Promise<void> {
    if (!key.reportValidity()) return
    const name = key.value
    const { siblings, quorum } = await store.get(name)
    const found = siblings.length > 0 ? siblings.map(showValue).join(' | ') : 'nothing'
    const how = `${plural(quorum.answers, 'answer')}, ${quorum.needed} needed${quorum.sloppy ? ', some from stand-ins' : ''}`
    log.add('get', `${JSON.stringify(name)} is ${found} (${how})`)
    select(name)
  }

  form.addEventListener('submit', (event) => {
    event.preventDefault()
    put().catch((error) => log.error(error))
  })
  find('get', HTMLButtonElement).addEventListener('click', () => {
    get().catch((error) => log.error(error))
  })
  enableButtons(form)
}
