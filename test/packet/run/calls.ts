import { Unsupported } from '../errors.js'
import type { CallSpec, Expr } from '../language/ast.js'
import { Epoll, type EpollEvent } from '../stack/epoll.js'
import { BLOCKED, CallError } from '../stack/errno.js'
import { POLLERR, POLLHUP, Socket, type Stack } from '../stack/socket.js'
import { Arguments, CONSTANTS } from './arguments.js'
import { getsockopt, setsockopt } from './socket-options.js'

/** A file of a script's own making: nobody looks into it. */
export class PlainFile {}

/** What a script has descriptors of. */
export type Described = Socket | Epoll | PlainFile

/** What a call came to: a number, something new that gets a descriptor, or nothing yet. */
export type Outcome = number | Described | typeof BLOCKED

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
  [
    'socket bind listen accept accept4 connect shutdown close fcntl ioctl setsockopt getsockopt',
    'read recv recvfrom recvmsg readv write send sendto sendmsg writev open sendfile',
    'poll epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait',
  ].flatMap((names) => names.split(' ')),
)

/** @throws Unsupported for a call that no script can make here, before anything runs. */
export function checkCall(spec: CallSpec, line: number): void {
  if (!KNOWN_CALLS.has(spec.name)) throw new Unsupported(line, `system call ${spec.name}`)
}

const NO_CHECK = () => ''
/** Message flags that are understood, of calls that send and of calls that receive. */
const SEND_FLAGS = flagsOf('MSG_DONTWAIT MSG_NOSIGNAL MSG_MORE MSG_EOR MSG_ZEROCOPY MSG_FASTOPEN')
const RECEIVE_FLAGS = flagsOf('MSG_DONTWAIT MSG_NOSIGNAL MSG_PEEK MSG_TRUNC MSG_WAITALL')
const [PEEK, MORE] = [flagsOf('MSG_PEEK'), flagsOf('MSG_MORE')]
const [RECORD, DONTWAIT, FASTOPEN] = [flagsOf('MSG_EOR'), flagsOf('MSG_DONTWAIT'), flagsOf('MSG_FASTOPEN')]
const O_NONBLOCK = CONSTANTS.O_NONBLOCK as number

/** Descriptors of a run and the system calls on them. */
export class Calls {
  private readonly stack: Stack
  private readonly described = new Map<number, Described>()

  constructor(stack: Stack) {
    this.stack = stack
  }

  /** The script calls this `fd`. */
  name(fd: number, what: Described): void {
    this.described.set(fd, what)
  }

  private socketOf(fd: number): Socket | null {
    const found = this.described.get(fd)
    return found instanceof Socket ? found : null
  }

  prepare(spec: CallSpec, line: number): Call {
    const args = new Arguments(spec.args, line)
    const plain = (attempt: () => Outcome): Call => ({ attempt, wouldBlock: null, check: NO_CHECK })
    if (spec.name === 'socket') return plain(() => this.socket(args, line))
    if (spec.name === 'poll') return this.poll(args)
    if (spec.name === 'open') return plain(() => new PlainFile())
    if (spec.name.startsWith('epoll_create')) return plain(() => new Epoll())
    const fd = args.int(0)
    const found = this.described.get(fd)
    const fail = (errno: string): Call =>
      plain(() => {
        throw new CallError(errno)
      })
    if (found === undefined) return fail('EBADF')
    if (spec.name.startsWith('epoll_')) return found instanceof Epoll ? this.onEpoll(spec.name, found, args, line) : fail('EINVAL')
    if (spec.name === 'close' && !(found instanceof Socket)) return plain(() => done(this.described.delete(fd)))
    if (!(found instanceof Socket)) return fail('ENOTSOCK')
    return this.onSocket(spec.name, found, fd, args, line)
  }

  private onSocket(name: string, s: Socket, fd: number, args: Arguments, line: number): Call {
    const call = (attempt: () => Outcome, flags = 0): Call => ({
      attempt,
      wouldBlock: s.isNonBlocking || (flags & (CONSTANTS.MSG_DONTWAIT as number)) !== 0 ? 'EAGAIN' : null,
      check: NO_CHECK,
    })
    const flagsAt = (i: number, known: number): number => {
      const flags = args.int(i)
      if ((flags & ~known) !== 0) throw new Unsupported(line, `message flags 0x${flags.toString(16)}`)
      return flags
    }
    if (/^(?:read|recv|recvfrom|write|send|sendto)$/.test(name) && isNull(args.at(1))) {
      return call(() => {
        throw new CallError('EFAULT')
      })
    }
    const receive = (len: number, flags: number): Call => call(() => s.read(len, (flags & PEEK) !== 0), flags)
    const send = (len: number, flags: number): Call => this.send(s, len, flags)
    switch (name) {
      case 'bind':
        return call(() => done(s.bind(args.port(1))))
      case 'listen':
        return call(() => done(s.listen(args.int(1))))
      case 'accept':
      case 'accept4':
        return call(() => s.accept())
      case 'connect':
        return this.connect(s)
      case 'read':
      case 'recv':
      case 'recvfrom':
        return receive(args.int(2), name === 'read' ? 0 : flagsAt(3, RECEIVE_FLAGS))
      case 'readv':
        return receive(args.piecesLen(args.at(1)), 0)
      case 'recvmsg':
        return { ...receive(args.messageLen(1), flagsAt(2, RECEIVE_FLAGS)), check: () => controlDifference(s, args, line) }
      case 'write':
        return send(args.int(2), 0)
      case 'send':
      case 'sendto':
        return send(args.int(2), flagsAt(3, SEND_FLAGS))
      case 'writev':
        return send(args.piecesLen(args.at(1)), 0)
      case 'sendmsg':
        return send(args.messageLen(1), flagsAt(2, SEND_FLAGS))
      case 'sendfile':
        return send(args.int(3), 0)
      case 'ioctl':
        return ioctl(s, args, line)
      case 'shutdown':
        return call(() => done(s.shutdown(args.int(1))))
      case 'close':
        return call(() => {
          this.described.delete(fd)
          return done(s.close())
        })
      case 'fcntl':
        return call(() => this.fcntl(s, args, line))
      case 'setsockopt':
        return call(() => setsockopt(s, args, line))
      case 'getsockopt':
        return getsockopt(s, args, line)
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

  /**
   * A call that sends blocks until all of it is in the buffer, as Linux has it; without blocking it takes what there is room for.
   */
  private send(s: Socket, len: number, flags: number): Call {
    const mode = (flags & MORE) !== 0 ? 'more' : (flags & RECORD) !== 0 ? 'record' : 'plain'
    const mayBlock = !s.isNonBlocking && (flags & DONTWAIT) === 0
    if ((flags & FASTOPEN) !== 0 && s.isConnecting) {
      return {
        attempt: () => {
          throw new CallError('EALREADY')
        },
        wouldBlock: null,
        check: NO_CHECK,
      }
    }
    const isOpening = s.conn === null && ((flags & FASTOPEN) !== 0 || s.isDeferred)
    let taken = 0
    let isFirst = isOpening
    return {
      attempt: () => {
        if (isFirst) {
          isFirst = false
          taken = s.openFast(len, mayBlock)
          if (taken > 0 && !mayBlock) return taken
        }
        if (isOpening && s.isConnecting) return BLOCKED
        if (taken === len && len > 0) return s.opened(taken)
        const n = s.write(len - taken, mode)
        if (n === BLOCKED) return taken > 0 && !mayBlock ? taken : BLOCKED
        taken += n
        return taken === len || !mayBlock ? taken : BLOCKED
      },
      wouldBlock: mayBlock ? null : isOpening ? 'EINPROGRESS' : 'EAGAIN',
      check: NO_CHECK,
    }
  }

  private onEpoll(name: string, epoll: Epoll, args: Arguments, line: number): Call {
    if (name === 'epoll_ctl') {
      return { attempt: () => this.epollCtl(epoll, args, line), wouldBlock: null, check: NO_CHECK }
    }
    const timeoutMs = args.int(3)
    const deadline = timeoutMs < 0 ? Number.POSITIVE_INFINITY : this.stack.world.now + timeoutMs * 1000
    let events: EpollEvent[] = []
    return {
      attempt: () => {
        events = epoll.take(args.int(2))
        return events.length === 0 && this.stack.world.now < deadline ? BLOCKED : events.length
      },
      wouldBlock: null,
      check: () => {
        const shown = args.at(1)
        const items = shown.kind === 'list' ? shown.items : [shown]
        for (const [i, event] of events.entries()) {
          const item = items[i]
          if (item === undefined || item.kind === 'any') continue
          const wanted = args.value(args.field(item, 'events'))
          if (wanted !== event.events) return `events are 0x${event.events.toString(16)}, not 0x${wanted.toString(16)}`
          if (dataOf(args, item) !== event.data) return `data is ${event.data}, not ${dataOf(args, item)}`
        }
        return ''
      },
    }
  }

  private epollCtl(epoll: Epoll, args: Arguments, line: number): number {
    const fd = args.int(2)
    const socket = this.socketOf(fd)
    if (socket === null) throw new CallError('EBADF')
    switch (args.word(1)) {
      case 'EPOLL_CTL_ADD':
        if (epoll.has(fd)) throw new CallError('EEXIST')
        break
      case 'EPOLL_CTL_MOD':
      case 'EPOLL_CTL_DEL':
        if (!epoll.has(fd)) throw new CallError('ENOENT')
        break
      default:
        throw new Unsupported(line, `epoll_ctl ${args.word(1)}`)
    }
    if (args.word(1) === 'EPOLL_CTL_DEL') epoll.unwatch(fd)
    else epoll.watch(fd, socket, args.value(args.field(args.at(3), 'events')), dataOf(args, args.at(3)))
    return 0
  }

  private poll(args: Arguments): Call {
    const list = args.at(0)
    const items = list.kind === 'list' ? list.items : []
    const timeoutMs = args.int(2)
    const deadline = timeoutMs < 0 ? Number.POSITIVE_INFINITY : this.stack.world.now + timeoutMs * 1000
    const ready = (item: Expr): number => {
      const socket = this.socketOf(args.value(args.field(item, 'fd')))
      return socket === null ? 0x20 : socket.poll() & (args.value(args.field(item, 'events')) | POLLERR | POLLHUP)
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

/** `NULL`, an address that no process has anything at. */
function isNull(expr: Expr): boolean {
  return expr.kind === 'word' && expr.name === 'NULL'
}

/** What `fd=`, `u32=`, `u64=` or `ptr=` of an event holds. */
function dataOf(args: Arguments, item: Expr): number {
  if (item.kind !== 'struct') return 0
  const field = ['fd', 'ptr', 'u32', 'u64'].map((name) => item.fields.get(name)).find((f) => f !== undefined)
  return field === undefined ? 0 : args.value(field)
}

/** How much is in a queue, compared with the number that the script shows. */
function ioctl(s: Socket, args: Arguments, line: number): Call {
  const name = args.word(1)
  const count = { SIOCINQ: () => s.readable, FIONREAD: () => s.readable, SIOCOUTQ: () => s.unacknowledged, SIOCOUTQNSD: () => s.notSent }[
    name
  ]
  if (count === undefined) throw new Unsupported(line, `ioctl ${name}`)
  const wanted = args.single(2)
  let actual = 0
  return {
    attempt: () => {
      actual = count()
      return 0
    },
    wouldBlock: null,
    check: () => (actual === wanted ? '' : `${name} is ${actual}, not ${wanted}`),
  }
}

/** Ancillary data of a message that was received: TCP_INQ alone is understood. */
function controlDifference(s: Socket, args: Arguments, line: number): string {
  const message = args.at(1)
  const control = message.kind === 'struct' ? message.fields.get('msg_control') : undefined
  for (const item of control?.kind === 'list' ? control.items : []) {
    const type = args.field(item, 'cmsg_type')
    if (type.kind !== 'word' || type.name !== 'TCP_CM_INQ') throw new Unsupported(line, 'ancillary data other than TCP_CM_INQ')
    const wanted = args.value(args.field(item, 'cmsg_data'))
    if (wanted !== s.inQueue) return `TCP_CM_INQ is ${s.inQueue}, not ${wanted}`
  }
  return ''
}

function flagsOf(names: string): number {
  return names.split(' ').reduce((flags, name) => flags | (CONSTANTS[name] as number), 0)
}

/** The result of calls that have none of their own. */
function done(_: unknown): 0 {
  return 0
}
