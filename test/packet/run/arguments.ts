import { Unsupported } from '../errors.js'
import type { Expr } from '../language/ast.js'

/** Constants of Linux (x86-64) that arguments and results name. */
export const CONSTANTS: Readonly<Record<string, number>> = {
  AF_INET: 2,
  AF_INET6: 10,
  SOCK_STREAM: 1,
  SOCK_NONBLOCK: 0o4000,
  SOCK_CLOEXEC: 0o2000000,
  IPPROTO_IP: 0,
  IPPROTO_TCP: 6,
  IPPROTO_MPTCP: 262,
  SOL_SOCKET: 1,
  SOL_TCP: 6,
  NULL: 0,
  SO_REUSEADDR: 2,
  SO_ERROR: 4,
  SO_SNDBUF: 7,
  SO_RCVBUF: 8,
  SO_KEEPALIVE: 9,
  SO_LINGER: 13,
  SO_REUSEPORT: 15,
  SO_SNDBUFFORCE: 32,
  SO_RCVBUFFORCE: 33,
  TCP_NODELAY: 1,
  TCP_KEEPIDLE: 4,
  TCP_USER_TIMEOUT: 18,
  O_RDONLY: 0,
  O_WRONLY: 1,
  O_RDWR: 2,
  O_NONBLOCK: 0o4000,
  F_GETFL: 3,
  F_SETFL: 4,
  SHUT_RD: 0,
  SHUT_WR: 1,
  SHUT_RDWR: 2,
  MSG_PEEK: 2,
  MSG_TRUNC: 0x20,
  MSG_DONTWAIT: 0x40,
  MSG_EOR: 0x80,
  MSG_WAITALL: 0x100,
  MSG_ERRQUEUE: 0x2000,
  MSG_NOSIGNAL: 0x4000,
  MSG_MORE: 0x8000,
  MSG_ZEROCOPY: 0x4000000,
  MSG_FASTOPEN: 0x20000000,
  POLLIN: 1,
  POLLOUT: 4,
  POLLERR: 8,
  POLLHUP: 16,
  POLLRDHUP: 0x2000,
  EPOLLIN: 1,
  EPOLLOUT: 4,
  EPOLLERR: 8,
  EPOLLHUP: 16,
  EPOLLRDHUP: 0x2000,
  EPOLLONESHOT: 1 << 30,
  EPOLLET: 1 << 31,
}

/** Arguments of one call, by position; what a script leaves open (`...`) is null. */
export class Arguments {
  private readonly exprs: readonly Expr[]
  private readonly line: number

  constructor(exprs: readonly Expr[], line: number) {
    this.exprs = exprs
    this.line = line
  }

  get count(): number {
    return this.exprs.length
  }

  at(i: number): Expr {
    const expr = this.exprs[i]
    if (expr === undefined) throw new Unsupported(this.line, `a call with ${this.exprs.length} arguments`)
    return expr
  }

  int(i: number): number {
    return this.value(this.at(i))
  }

  /** The word of a constant, as written. */
  word(i: number): string {
    const expr = this.at(i)
    return expr.kind === 'word' ? expr.name : ''
  }

  value(expr: Expr): number {
    switch (expr.kind) {
      case 'int':
        return expr.value
      case 'word': {
        const value = CONSTANTS[expr.name]
        if (value === undefined) throw new Unsupported(this.line, `constant ${expr.name}`)
        return value
      }
      case 'or':
        return this.value(expr.left) | this.value(expr.right)
    }
    throw new Unsupported(this.line, `${expr.kind} where a number is needed`)
  }

  /** `[7]`: the number in a list of one. */
  single(i: number): number {
    const expr = this.at(i)
    if (expr.kind !== 'list' || expr.items.length !== 1) throw new Unsupported(this.line, 'an option value that is no list of one')
    return this.value(expr.items[0] as Expr)
  }

  field(expr: Expr, name: string): Expr {
    const field = expr.kind === 'struct' ? expr.fields.get(name) : undefined
    if (field === undefined) throw new Unsupported(this.line, `no ${name} in a structure`)
    return field
  }

  /** Port of `{sa_family=..., sin_port=htons(N), ...}`; 0 for `...`. */
  port(i: number): number {
    const expr = this.at(i)
    return expr.kind === 'any' ? 0 : this.value(this.field(expr, 'sin_port'))
  }

  /** Bytes of all pieces of a msghdr. */
  messageLen(i: number): number {
    return this.piecesLen(this.field(this.at(i), 'msg_iov'))
  }

  /** Bytes in the pieces `[{..., 500}, {..., 500}]`. */
  piecesLen(iov: Expr): number {
    if (iov.kind !== 'list') throw new Unsupported(this.line, 'buffers that are no list of pieces')
    return iov.items.reduce((sum, piece) => sum + this.value(this.field(piece, '1')), 0)
  }
}
