import { Unsupported } from '../errors.js'
import type { CallSpec, Expr } from '../language/ast.js'
import { BLOCKED, CallError, ERRNO } from '../stack/errno.js'
import { POLLERR, POLLHUP, Socket, type Stack } from '../stack/socket.js'
import { Arguments, CONSTANTS } from './arguments.js'

/** What a call came to: a number, a new socket, or nothing yet. */
export type Outcome = number | Socket | typeof BLOCKED

/** A call under way; `attempt` may be repeated after `BLOCKED`. */
export interface Call {
  readonly attempt: () => Outcome
  /** Non-blocking by the socket's or the call's flags: the errno instead of waiting; null: it waits. */
  readonly wouldBlock: string | null
  /** What outputs (poll's revents, an option's value) differ from the script; '' when they do not. */
  readonly check: () => string
}

/** System calls that a script may use. */
const KNOWN_CALLS: ReadonlySet<string> = new Set(
  'socket bind listen accept accept4 connect read recv recvfrom recvmsg write send sendto sendmsg readv writev shutdown close fcntl setsockopt getsockopt poll'.split(
    ' ',
  ),
)

/** @throws Unsupported for a call that no script can make here, before anything runs. */
export function checkCall(spec: CallSpec, line: number): void {
  if (!KNOWN_CALLS.has(spec.name)) throw new Unsupported(line, `system call ${spec.name}`)
}

const NO_CHECK = () => ''
const MSG_KNOWN = 2 | 0x40 | 0x4000
const O_NONBLOCK = CONSTANTS.O_NONBLOCK as number

/** Descriptors of a run and the system calls on them. */
export class Calls {
  private readonly stack: Stack
  private readonly sockets = new Map<number, Socket>()

  constructor(stack: Stack) {
    this.stack = stack
  }

  /** The script calls this socket `fd`. */
  name(fd: number, socket: Socket): void {
    this.sockets.set(fd, socket)
  }

  prepare(spec: CallSpec, line: number): Call {
    const args = new Arguments(spec.args, line)
    const plain = (attempt: () => Outcome): Call => ({ attempt, wouldBlock: null, check: NO_CHECK })
    if (spec.name === 'socket') return plain(() => this.socket(args, line))
    if (spec.name === 'poll') return this.poll(args)
    const fd = args.int(0)
    const found = this.sockets.get(fd)
    if (found === undefined) {
      return plain(() => {
        throw new CallError('EBADF')
      })
    }
    return this.onSocket(spec.name, found, fd, args, line)
  }

  private onSocket(name: string, s: Socket, fd: number, args: Arguments, line: number): Call {
    const call = (attempt: () => Outcome, flags = 0): Call => ({
      attempt,
      wouldBlock: s.isNonBlocking || (flags & (CONSTANTS.MSG_DONTWAIT as number)) !== 0 ? 'EAGAIN' : null,
      check: NO_CHECK,
    })
    const flagsAt = (i: number): number => {
      const flags = args.int(i)
      if ((flags & ~MSG_KNOWN) !== 0) throw new Unsupported(line, `message flags 0x${flags.toString(16)}`)
      return flags
    }
    if (/^(?:read|recv|recvfrom|write|send|sendto)$/.test(name) && !isBuffer(args.at(1)))
      throw new Unsupported(line, 'addresses of buffers')
    const receive = (len: number, flags: number): Call => call(() => s.read(len, (flags & 2) !== 0), flags)
    const send = (len: number, flags: number): Call => call(() => s.write(len), flags)
    switch (name) {
      case 'bind':
        return call(() => done(s.bind(args.port(1))))
      case 'listen':
        return call(() => done(s.listen()))
      case 'accept':
      case 'accept4':
        return call(() => s.accept())
      case 'connect':
        return this.connect(s)
      case 'read':
      case 'recv':
      case 'recvfrom':
        return receive(args.int(2), name === 'read' ? 0 : flagsAt(3))
      case 'readv':
        return receive(args.piecesLen(args.at(1)), 0)
      case 'recvmsg':
        return receive(args.messageLen(1), flagsAt(2))
      case 'write':
        return send(args.int(2), 0)
      case 'send':
      case 'sendto':
        return send(args.int(2), flagsAt(3))
      case 'writev':
        return send(args.piecesLen(args.at(1)), 0)
      case 'sendmsg':
        return send(args.messageLen(1), flagsAt(2))
      case 'shutdown':
        return call(() => done(s.shutdown(args.int(1))))
      case 'close':
        return call(() => {
          this.sockets.delete(fd)
          return done(s.close())
        })
      case 'fcntl':
        return call(() => this.fcntl(s, args, line))
      case 'setsockopt':
        return call(() => this.setsockopt(s, args, line))
      case 'getsockopt':
        return this.getsockopt(s, args, line)
    }
    throw new Unsupported(line, `system call ${name}`)
  }

  private socket(args: Arguments, line: number): Socket {
    const type = args.int(1)
    if ((type & 0xf) !== CONSTANTS.SOCK_STREAM) throw new Unsupported(line, 'sockets other than SOCK_STREAM')
    const socket = new Socket(this.stack, args.int(2) === CONSTANTS.IPPROTO_MPTCP)
    socket.isNonBlocking = (type & O_NONBLOCK) !== 0
    return socket
  }

  private connect(s: Socket): Call {
    const isRepeated = s.isConnecting
    return { attempt: () => s.connect(), wouldBlock: s.isNonBlocking ? (isRepeated ? 'EALREADY' : 'EINPROGRESS') : null, check: NO_CHECK }
  }

  private fcntl(s: Socket, args: Arguments, line: number): number {
    const command = args.int(1)
    if (command === CONSTANTS.F_GETFL) return (CONSTANTS.O_RDWR as number) | (s.isNonBlocking ? O_NONBLOCK : 0)
    if (command !== CONSTANTS.F_SETFL) throw new Unsupported(line, `fcntl ${command}`)
    s.isNonBlocking = (args.int(2) & O_NONBLOCK) !== 0
    return 0
  }

  private setsockopt(s: Socket, args: Arguments, line: number): number {
    const [level, name] = [args.word(1), args.word(2)]
    switch (name) {
      case 'SO_REUSEADDR':
      case 'SO_REUSEPORT':
        return 0
      case 'SO_RCVBUF':
      case 'SO_RCVBUFFORCE':
        return done(s.setReceiveBuffer(args.single(3)))
      case 'SO_SNDBUF':
      case 'SO_SNDBUFFORCE':
        return done(s.setSendBuffer(2 * args.single(3)))
      case 'TCP_NODELAY':
        return done(s.setNagle(args.single(3) === 0))
      case 'SO_KEEPALIVE':
        return done(s.setKeepalive(args.single(3) !== 0, s.keepIdleS))
      case 'TCP_KEEPIDLE':
        return done(s.setKeepalive(s.isKeptAlive, args.single(3)))
      case 'TCP_USER_TIMEOUT':
        return done(s.setUserTimeout(args.single(3)))
      case 'SO_LINGER': {
        const value = args.at(3)
        s.linger = args.value(args.field(value, 'onoff')) === 0 ? null : args.value(args.field(value, 'linger'))
        return 0
      }
    }
    throw new Unsupported(line, `socket option ${level} ${name}`)
  }

  private getsockopt(s: Socket, args: Arguments, line: number): Call {
    const name = args.word(2)
    if (name !== 'SO_ERROR') throw new Unsupported(line, `getsockopt ${name}`)
    let error = ''
    const attempt = (): number => {
      error = s.takeError()
      return 0
    }
    const expr = args.at(3)
    const item = expr.kind === 'list' ? expr.items[0] : undefined
    const wanted = item?.kind === 'word' ? item.name : String(item === undefined || item.kind === 'any' ? '' : args.value(item))
    return {
      attempt,
      wouldBlock: null,
      check: () =>
        wanted === '' || wanted === error || wanted === String(ERRNO[error] ?? 0) ? '' : `SO_ERROR is ${error || 0}, not ${wanted}`,
    }
  }

  private poll(args: Arguments): Call {
    const list = args.at(0)
    const items = list.kind === 'list' ? list.items : []
    const timeoutMs = args.int(2)
    const deadline = timeoutMs < 0 ? Number.POSITIVE_INFINITY : this.stack.world.now + timeoutMs * 1000
    const ready = (item: Expr): number => {
      const socket = this.sockets.get(args.value(args.field(item, 'fd')))
      return socket === undefined ? 0x20 : socket.poll() & (args.value(args.field(item, 'events')) | POLLERR | POLLHUP)
    }
    return {
      attempt: () => {
        const count = items.filter((item) => ready(item) !== 0).length
        if (count === 0 && this.stack.world.now < deadline) return BLOCKED
        return count
      },
      wouldBlock: null,
      check: () => {
        for (const item of items) {
          const wanted = item.kind === 'struct' && item.fields.has('revents') ? args.value(args.field(item, 'revents')) : 0
          if (wanted !== ready(item)) return `revents are 0x${ready(item).toString(16)}, not 0x${wanted.toString(16)}`
        }
        return ''
      },
    }
  }
}

/** `...` or a string; anything else is an address that no process here has. */
function isBuffer(expr: Expr): boolean {
  return expr.kind === 'any' || expr.kind === 'string'
}

/** The result of calls that have none of their own. */
function done(_: unknown): 0 {
  return 0
}
