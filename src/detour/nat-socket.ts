import { createSocket, type Socket } from 'node:dgram'
import type { IpAddress } from '../base/address.js'
import { OWN_MARK } from '../host/numbers.js'
import { native } from '../tun/native.js'

/** What a socket tells. */
export interface NatSocketEvents {
  datagram(datagram: Uint8Array): void
  /** The kernel says that nobody is there. */
  unreachable(what: string): void
}

/** Puts our mark on a socket, so that its packets never enter the TUN. @param fd of the socket */
export type Mark = (fd: number) => void

export const ownMark: Mark = (fd) => native().setMark(fd, OWN_MARK)

/**
 * A UDP socket towards one detour: marked, then connected, so that the kernel chooses the source once, as for the packets of
 * subflows, lets in nothing of others, and a datagram leaves within `send`.
 */
export class NatSocket {
  private readonly socket: Socket
  private readonly events: NatSocketEvents
  private isOpen = false
  private isClosed = false
  sendErrors = 0

  private constructor(socket: Socket, events: NatSocketEvents) {
    this.socket = socket
    this.events = events
  }

  /** Resolves once it is connected; rejects with the operating system's error when there is no way to the address. */
  static open(peer: IpAddress, port: number, mark: Mark, events: NatSocketEvents): Promise<NatSocket> {
    const socket = createSocket(peer.isV4 ? { type: 'udp4' } : { type: 'udp6', ipv6Only: true })
    const self = new NatSocket(socket, events)
    return new Promise((resolve, reject) => {
      const fail = (error: Error): void => {
        self.close()
        reject(error)
      }
      socket.once('error', fail)
      socket.bind(0, () => {
        try {
          mark(descriptorOf(socket))
        } catch (error) {
          fail(error as Error)
          return
        }
        socket.connect(port, peer.toString(), () => {
          socket.off('error', fail)
          socket.on('error', (error) => self.onError(error))
          socket.on('message', (datagram) => events.datagram(datagram))
          self.isOpen = true
          resolve(self)
        })
      })
    })
  }

  /** The address that it sends from. */
  get source(): string {
    return this.socket.address().address
  }

  /** Errors are counted: to whoever waits for an answer they are a loss. */
  send(datagram: Uint8Array): void {
    if (!this.isOpen || this.isClosed) return
    this.socket.send(datagram, (error) => {
      if (error !== null) this.onError(error)
    })
  }

  close(): void {
    if (this.isClosed) return
    this.isClosed = true
    this.socket.close()
  }

  private onError(error: Error): void {
    this.sendErrors++
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ECONNREFUSED') this.events.unreachable('its host answers, but no detour daemon listens at that UDP port: start it there')
    else this.events.unreachable(`no way to it: ${code ?? error.message}`)
  }
}

/** Node.js gives no public access to a socket's descriptor; the handle stands in the one symbol of its state. */
function descriptorOf(socket: Socket): number {
  const symbol = Object.getOwnPropertySymbols(socket).find((one) => one.description === 'state symbol')
  const state = symbol === undefined ? undefined : (socket as unknown as Record<symbol, { handle?: { fd?: number } }>)[symbol]
  const fd = state?.handle?.fd
  if (fd === undefined || fd < 0) throw new Error('this Node.js does not show the descriptor of a UDP socket: use one that is supported')
  return fd
}
