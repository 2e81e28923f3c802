import { MptcpError } from '../base/errors.js'
import { native } from '../tun/native.js'
import type { Log } from './log.js'

/** linux/capability.h */
export const CAP_NET_ADMIN = 12
export const CAP_NET_RAW = 13
const CAP_SETPCAP = 8

/** Set for the second start, so that a host which does not let go of capabilities is not asked for ever. */
const MARK = 'MPTCPD_USER_REDUCED'

/** Whether bit `cap` is in a set of capabilities. */
export function hasCap(mask: number, cap: number): boolean {
  return Math.floor(mask / 2 ** cap) % 2 === 1
}

/** @throws {MptcpError} ERR_PRIVILEGE when this process may not change the network of the host. */
export function requireNetAdmin(): void {
  if (hasCap(native().capabilities().effective, CAP_NET_ADMIN)) return
  throw new MptcpError('ERR_PRIVILEGE', 'CAP_NET_ADMIN is missing: run as root, or give this process that capability')
}

/**
 * Leaves CAP_NET_ADMIN as the only capability of the daemon, of all its threads, and of every program that it starts. That is
 * enough for all that it does: as root it still owns the files and devices of root.
 * This starts the program anew in the same process, for capabilities belong to threads, and Node.js has made some already;
 * so it comes before everything that changes the host. Where the host does not allow it, the daemon goes on as it is.
 * @param more capabilities that this host needs beside it
 */
export function reducePrivileges(log: Log, more: readonly number[] = []): void {
  const isSecond = process.env[MARK] !== undefined
  delete process.env[MARK]
  const { permitted, bounding } = native().capabilities()
  const only = [CAP_NET_ADMIN, ...more].reduce((mask, cap) => mask + 2 ** cap, 0)
  if (isSecond || (permitted === only && bounding === only)) return
  if (process.getuid?.() !== 0 || !hasCap(permitted, CAP_SETPCAP)) {
    log.debug('privileges stay as they are', { permitted, bounding })
    return
  }
  process.env[MARK] = '1'
  try {
    native().execWithCapabilities(only, process.execPath, [process.execPath, ...process.execArgv, ...process.argv.slice(1)])
  } catch (error) {
    delete process.env[MARK]
    log.warn('privileges could not be reduced', { error: error instanceof Error ? error.message : String(error) })
  }
}
