/** What the core reports, as what applications are told. */
import { StorageFailure } from '../core/environment.js'
import { MalformedError } from '../core/versions/encoding.js'
import { StorageError } from './errors.js'

const ADVICE: Record<StorageFailure['kind'], string> = {
  quota: 'There is no room left on this device for this site.',
  blocked: 'The database is not usable in this version of tabring, or not now.',
  corrupt: 'The database is damaged.',
  closed: 'The database was closed.',
  lost: 'The database was deleted from outside; what had not reached another node and is not in memory any more is gone.',
  unavailable: 'The platform lacks what a store needs.',
  unknown: 'The database failed.',
}

/** @param more is said after what the storage says. */
export function publicError(error: unknown, more = ''): unknown {
  if (error instanceof StorageFailure)
    return new StorageError(error.kind, `${ADVICE[error.kind]} (${error.message})${more}`, { cause: error.cause })
  if (error instanceof MalformedError)
    return new StorageError('corrupt', `A record of this tab's disk is damaged: ${error.message}.`, { cause: error })
  return error
}
