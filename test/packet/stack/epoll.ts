import type { Socket } from './socket.js'

export const EPOLLONESHOT = 1 << 30
export const EPOLLET = 1 << 31

/** A socket that an epoll instance watches. */
interface Watched {
  readonly socket: Socket
  /** Events that are wanted, with EPOLLET and EPOLLONESHOT. */
  readonly events: number
  /** `fd=`, `u32=`, `u64=` or `ptr=` of the script, given back with the event. */
  readonly data: number
  /** What `Socket.activity` was when it was reported last; edges count from there. -1: never. */
  seen: number
  isSpent: boolean
}

/** One event of `epoll_wait`. */
export interface EpollEvent {
  readonly events: number
  readonly data: number
}

/** epoll(7). */
export class Epoll {
  private readonly watched = new Map<number, Watched>()

  has(fd: number): boolean {
    return this.watched.has(fd)
  }

  watch(fd: number, socket: Socket, events: number, data: number): void {
    this.watched.set(fd, { socket, events, data, seen: -1, isSpent: false })
  }

  unwatch(fd: number): void {
    this.watched.delete(fd)
  }

  /** Takes at most `max` events that are there now. */
  take(max: number): EpollEvent[] {
    const found: EpollEvent[] = []
    for (const w of this.watched.values()) {
      if (found.length === max) break
      const events = w.socket.poll() & (w.events | ALWAYS)
      const { activity } = w.socket
      if (events === 0 || w.isSpent || ((w.events & EPOLLET) !== 0 && w.seen === activity)) continue
      w.seen = activity
      w.isSpent = (w.events & EPOLLONESHOT) !== 0
      found.push({ events, data: w.data })
    }
    return found
  }
}

/** EPOLLERR and EPOLLHUP are reported whether wanted or not. */
const ALWAYS = 8 | 16
