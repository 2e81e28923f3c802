import { Rng } from '../../src/base/rng.js'
import { type Micros, US_PER_S } from '../../src/base/time.js'
import type { ByteSocket } from './byte-socket.js'
import type { VirtualLoop } from './loop.js'

/** What applications send: random once, cut out at random places, so that a shifted or repeated stretch is never equal. */
const MATERIAL_LEN = 1 << 24
const material = new Uint8Array(MATERIAL_LEN)
new Rng(0x51ed).fill(material, 0, MATERIAL_LEN)

/** `len` bytes of material that nobody else gets at the same place (most likely). */
export function payload(rng: Rng, len: number): Uint8Array {
  if (len > MATERIAL_LEN) throw new Error(`a payload has at most ${MATERIAL_LEN} bytes`)
  const at = rng.below(MATERIAL_LEN - len + 1)
  return material.subarray(at, at + len)
}

export interface Pace {
  /** Bytes per read, 0: all that is there. */
  readonly chunk: number
  /** Pause between reads or writes. */
  readonly pauseUs: Micros
}

export const GREEDY: Pace = { chunk: 0, pauseUs: 0 }

/** One end of a transfer: sends `data`, then ends its stream; compares what it receives with `expected` as it comes. */
export class Peer {
  sent = 0
  received = 0
  /** Offset of the first wrong byte, -1: none. */
  wrongAt = -1
  /** The stream ended exactly behind the expected bytes. */
  isComplete = false
  completeAt: Micros = 0
  readonly socket: ByteSocket
  private readonly loop: VirtualLoop
  private readonly data: Uint8Array
  private readonly expected: Uint8Array
  private readonly reading: Pace
  private readonly writing: Pace
  private isEnded = false
  private readAt = 0
  private writeAt = 0
  private readonly scratch = Buffer.allocUnsafe(65_536)

  constructor(loop: VirtualLoop, socket: ByteSocket, data: Uint8Array, expected: Uint8Array, reading = GREEDY, writing = GREEDY) {
    this.loop = loop
    this.socket = socket
    this.data = data
    this.expected = expected
    this.reading = reading
    this.writing = writing
    socket.onActivity = () => this.go()
  }

  /** Sent everything and ended its stream, received everything and the end. */
  get isDone(): boolean {
    return this.isComplete && this.isEnded
  }

  /** Nothing more will happen here: the connection is closed, and what had arrived is read. */
  get isOver(): boolean {
    return this.socket.isClosed && (this.isComplete || this.wrongAt >= 0 || (this.socket.readable === 0 && !this.socket.isReadEnded))
  }

  private go(): void {
    if (!this.socket.isOpen) return
    this.write()
    this.read()
  }

  private write(): void {
    const { chunk, pauseUs } = this.writing
    while (this.sent < this.data.length && !this.socket.isClosed) {
      if (pauseUs > 0 && this.loop.now < this.writeAt) return
      const left = this.data.length - this.sent
      const n = this.socket.write(this.data, this.sent, chunk === 0 ? left : Math.min(chunk, left))
      if (n === 0) return
      this.sent += n
      if (pauseUs > 0) this.writeAt = this.pause(pauseUs)
    }
    if (this.sent === this.data.length && !this.isEnded) {
      this.isEnded = true
      this.socket.end()
    }
  }

  private read(): void {
    const { chunk, pauseUs } = this.reading
    for (;;) {
      if (pauseUs > 0 && this.loop.now < this.readAt) return
      let left = chunk === 0 ? Number.POSITIVE_INFINITY : chunk
      let n = 0
      do {
        n = this.socket.read(this.scratch, 0, Math.min(left, this.scratch.length))
        this.compare(n)
        left -= n
      } while (n > 0 && left > 0)
      if (n === 0 && (left === chunk || chunk === 0)) break
      if (pauseUs > 0) this.readAt = this.pause(pauseUs)
    }
    if (this.socket.isReadEnded && !this.isComplete && this.wrongAt < 0) {
      if (this.received === this.expected.length) {
        this.isComplete = true
        this.completeAt = this.loop.now
      } else this.wrongAt = this.received
    }
  }

  private compare(n: number): void {
    const at = this.received
    const wanted = this.expected.subarray(at, at + n)
    if (this.wrongAt < 0 && (wanted.length < n || this.scratch.compare(wanted, 0, n, 0, n) !== 0)) {
      let i = 0
      while (i < wanted.length && this.scratch[i] === wanted[i]) i++
      this.wrongAt = at + i
    }
    this.received += n
  }

  private pause(us: Micros): Micros {
    this.loop.after(us, () => this.go())
    return this.loop.now + us
  }
}

export interface Paces {
  readonly client?: { readonly reading?: Pace; readonly writing?: Pace }
  readonly server?: { readonly reading?: Pace; readonly writing?: Pace }
}

export interface TransferResult {
  readonly local: Peer
  /** Null when no connection arrived. */
  readonly remote: Peer | null
  readonly us: Micros
  /** Both ends saw the connection close before the time was up. */
  readonly isOver: boolean
}

/** Transfers `upLen` and `downLen` bytes at once over one connection and closes it. @param limitUs gives up after this. */
export function exchange(
  loop: VirtualLoop,
  rng: Rng,
  upLen: number,
  downLen: number,
  connect: () => ByteSocket,
  listen: (onSocket: (socket: ByteSocket) => void) => void,
  paces: Paces = {},
  limitUs: Micros = 3600 * US_PER_S,
): TransferResult {
  const request = payload(rng, upLen)
  const response = payload(rng, downLen)
  // Others may come: a join whose option was stripped looks like a connection, and a SYN is repeated through a NAT that has forgotten it.
  const peers: Peer[] = []
  const remoteOf = (): Peer | null => peers.find((peer) => peer.socket.isOpen) ?? peers[0] ?? null
  listen((socket) => {
    peers.push(new Peer(loop, socket, response, request, paces.server?.reading, paces.server?.writing))
  })
  const startedAt = loop.now
  const local = new Peer(loop, connect(), request, response, paces.client?.reading, paces.client?.writing)
  const isOver = loop.run(() => local.isOver && (peers.length === 0 || (remoteOf() as Peer).isOver), startedAt + limitUs)
  const remote = remoteOf()
  return { local, remote, us: loop.now - startedAt, isOver }
}

/** Why a transfer is not byte-exact and complete on both sides; empty when it is. */
export function complaint(result: TransferResult): string {
  const { local, remote } = result
  if (remote === null) return 'no connection arrived at the server'
  if (local.wrongAt >= 0) return `the client received a wrong byte at ${local.wrongAt}`
  if (remote.wrongAt >= 0) return `the server received a wrong byte at ${remote.wrongAt}`
  if (!local.isDone || !remote.isDone || !result.isOver) {
    const client = `client sent ${local.sent} received ${local.received}`
    return `incomplete after ${result.us} µs: ${client}, server sent ${remote.sent} received ${remote.received}`
  }
  return ''
}
