import { createSocket, type Socket } from 'node:dgram'
import { networkInterfaces } from 'node:os'
import type { IpAddress } from '../../base/address.js'
import { MptcpError } from '../../base/errors.js'
import { parseAddress } from '../../config/address-text.js'

/** Asked of the kernel, which grants what `net.core.rmem_max` allows: what waits while a turn of the event loop is under way. */
const RECEIVE_BUFFER = 4 << 20

/** A socket of one address of ours: answers leave from where they were asked, and it is known which one that was. */
export interface Listener {
  readonly address: IpAddress
  send(datagram: Uint8Array, port: number, to: string): void
}

export type OnDatagram = (listener: Listener, datagram: Buffer, from: string, port: number) => void

/** This host's addresses, as text. */
export function hostAddresses(): { text: string; isInternal: boolean }[] {
  return Object.values(networkInterfaces()).flatMap((list) =>
    (list ?? []).map(({ address, internal }) => ({ text: address.replace(/%.*$/, ''), isInternal: internal })),
  )
}

/** The UDP sockets: of given addresses, or of all that this host has, followed as they come and go. */
export class Sockets {
  private readonly open = new Map<string, { readonly socket: Socket; readonly listener: Listener }>()
  private readonly given: readonly string[]
  private readonly port: number
  private readonly onDatagram: OnDatagram
  sendErrors = 0

  constructor(given: readonly string[], port: number, onDatagram: OnDatagram) {
    this.given = given.map((text) => parseAddress(text).toString())
    this.port = port
    this.onDatagram = onDatagram
  }

  /** `ADDRESS:PORT` of each. */
  addresses(): string[] {
    return [...this.open.keys()].map((text) => (text.includes(':') ? `[${text}]:${this.port}` : `${text}:${this.port}`))
  }

  /** Opens what is missing and closes what has gone. @returns why addresses could not be opened. */
  async update(): Promise<MptcpError[]> {
    const wanted = new Set(this.given.length > 0 ? this.given : automatic())
    for (const [text, { socket }] of this.open) {
      if (wanted.has(text)) continue
      this.open.delete(text)
      socket.close()
    }
    const failures: MptcpError[] = []
    for (const text of wanted) {
      if (this.open.has(text)) continue
      try {
        await this.add(text)
      } catch (error) {
        failures.push(this.failure(text, error as NodeJS.ErrnoException))
      }
    }
    return failures
  }

  private async add(text: string): Promise<void> {
    const address = parseAddress(text)
    const family = address.isV4 ? 4 : 6
    // What is sent to is an address always; looking it up would take another turn of the event loop for each datagram.
    const lookup = (name: string, _options: unknown, found: (error: null, address: string, family: number) => void) =>
      found(null, name, family)
    const socket = createSocket({ type: address.isV4 ? 'udp4' : 'udp6', ipv6Only: !address.isV4, lookup })
    await new Promise<void>((resolve, reject) => {
      socket.once('error', reject)
      socket.bind({ port: this.port, address: text, exclusive: true }, () => {
        socket.off('error', reject)
        resolve()
      })
    }).catch((error) => {
      socket.close()
      throw error
    })
    try {
      socket.setRecvBufferSize(RECEIVE_BUFFER)
    } catch {
      // What the kernel gives by default must do.
    }
    const onSent = (error: Error | null) => {
      if (error !== null) this.sendErrors++ // the client asks again
    }
    const listener: Listener = { address, send: (datagram, port, to) => socket.send(datagram, port, to, onSent) }
    socket.on('error', () => {
      this.sendErrors++
    })
    socket.on('message', (datagram, { address: from, port }) => this.onDatagram(listener, datagram, from, port))
    this.open.set(text, { socket, listener })
  }

  private failure(text: string, error: NodeJS.ErrnoException): MptcpError {
    const remedy =
      error.code === 'EADDRINUSE'
        ? 'another program has that port: stop it, or use another --port'
        : error.code === 'EADDRNOTAVAIL'
          ? 'this host has no such address'
          : error.message
    return new MptcpError('ERR_DETOUR_LISTEN', `cannot listen at ${text}, UDP port ${this.port}: ${remedy}`, { cause: error })
  }

  /** After what is still to be sent. */
  async close(): Promise<void> {
    const closed = [...this.open.values()].map(({ socket }) => new Promise<void>((resolve) => socket.close(() => resolve())))
    this.open.clear()
    await Promise.all(closed)
  }
}

function automatic(): string[] {
  const usable = hostAddresses().filter(({ text, isInternal }) => !isInternal && !text.startsWith('fe80:'))
  return usable.map(({ text }) => text)
}
