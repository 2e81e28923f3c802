import { MptcpError } from '../base/errors.js'

export const EXIT_OK = 0
export const EXIT_FAILURE = 1
/** Bad arguments or configuration. */
export const EXIT_USAGE = 2
export const EXIT_NOT_RUNNING = 3
/** Needs root or CAP_NET_ADMIN. */
export const EXIT_PRIVILEGE = 4

const BY_CODE: Readonly<Record<string, number>> = {
  ERR_ADDRESS: EXIT_USAGE,
  ERR_CONFIG: EXIT_USAGE,
  ERR_CONFIG_FILE: EXIT_USAGE,
  ERR_CONFIG_SECRET: EXIT_USAGE,
  ERR_DETOUR_FILE: EXIT_USAGE,
  ERR_DETOUR_ADDRESS: EXIT_USAGE,
  ERR_KEY_FILE: EXIT_USAGE,
  ERR_KEY_FILE_MODE: EXIT_USAGE,
  ERR_NO_SUCH_KEY: EXIT_USAGE,
  ERR_PATH_SPEC: EXIT_USAGE,
  ERR_PATH_SOURCE: EXIT_USAGE,
  ERR_USAGE: EXIT_USAGE,
  ERR_DAEMON_NOT_RUNNING: EXIT_NOT_RUNNING,
  ERR_CONTROL_PRIVILEGE: EXIT_PRIVILEGE,
  ERR_PRIVILEGE: EXIT_PRIVILEGE,
}

/** The exit code that an error ends the program with. */
export function exitCodeOf(error: unknown): number {
  return error instanceof MptcpError ? (BY_CODE[error.code] ?? EXIT_FAILURE) : EXIT_FAILURE
}
