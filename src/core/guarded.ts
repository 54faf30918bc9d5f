/** What a node answers when its disk fails under a request. */
import { StorageFailure } from './environment.js'
import type { Message } from './messages.js'
import { MalformedError } from './versions/encoding.js'

/** A failed disk or a damaged record is an answer of its own: never 'absent', never silence (P41). */
export function guarded<M>(
  onStorageFailure: (failure: StorageFailure) => void,
  serve: (message: M) => Promise<Message>,
): (message: M) => Promise<Message> {
  return async (message) => {
    try {
      return await serve(message)
    } catch (error) {
      if (error instanceof StorageFailure) onStorageFailure(error)
      else if (!(error instanceof MalformedError)) throw error
      return { type: 'Failed', kind: error instanceof StorageFailure ? error.kind : 'malformed' }
    }
  }
}
