/** An error that is the caller's fault, or the environment's: `code` is stable, the message names cause and remedy. */
export class MptcpError extends Error {
  readonly code: string
  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'MptcpError'
    this.code = code
  }
}

/** Our own fault. Thrown by `invariant`; the engine closes the connection that it hit, tests fail. */
export class InvariantError extends Error {
  constructor(what: string) {
    super(`invariant broken: ${what}`)
    this.name = 'InvariantError'
  }
}

/** @throws {InvariantError} when `cond` is false: a bug of this program, never the peer's doing. */
export function invariant(cond: boolean, what: string): asserts cond {
  if (!cond) throw new InvariantError(what)
}
