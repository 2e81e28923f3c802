/** A system call that fails, by the name of its errno. */
export class CallError extends Error {
  readonly errno: string
  constructor(errno: string) {
    super(errno)
    this.errno = errno
  }
}

/** Would wait: the call is tried again whenever something happened. */
export const BLOCKED = Symbol('blocked')

/** Linux values of what `getsockopt(SO_ERROR)` returns. */
export const ERRNO: Readonly<Record<string, number>> = {
  EPIPE: 32,
  ECONNABORTED: 103,
  ECONNRESET: 104,
  ENOTCONN: 107,
  ETIMEDOUT: 110,
  ECONNREFUSED: 111,
  EHOSTUNREACH: 113,
}
