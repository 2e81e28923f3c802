import type { Test } from 'tap'
import { IpAddress } from '../../../src/base/address.js'
import { writeU16 } from '../../../src/base/bytes.js'
import { type Micros, NEVER, US_PER_MS } from '../../../src/base/time.js'
import { newReno } from '../../../src/tcp/cc/newreno.js'
import type { TcpConfig } from '../../../src/tcp/config.js'
import type { TcpEndpoint } from '../../../src/tcp/endpoint.js'
import { PARSE_OK, Packet, parsePacket } from '../../../src/wire/packet.js'
import { formatFlags } from '../../../src/wire/pretty.js'
import { ACK, CWR, ECE, FIN, PSH, RST, SYN, URG } from '../../../src/wire/tcp.js'
import {
  pad,
  parseOptionsOf,
  TcpOptions,
  writeMss,
  writeSack,
  writeSackPermitted,
  writeTimestamps,
  writeWscale,
} from '../../../src/wire/tcp-options.js'
import { segment } from '../wire/packet-support.js'
import { pattern, Side } from './harness.js'

export const A4 = IpAddress.v4(0xc6120001)
export const B4 = IpAddress.v4(0xcb007101)
export const A6 = new IpAddress(0x20010db8, 0, 0, 1)
export const B6 = new IpAddress(0x20010db8, 0, 0, 2)

/** 1 s, in microseconds. */
export const S = 1_000_000
export const MS = 1_000

const FLAG_OF: Record<string, number> = { F: FIN, S: SYN, R: RST, P: PSH, '.': ACK, U: URG, E: ECE, W: CWR }

/** What differs from a dialogue over IPv4, with plain configuration. */
export interface DialogueSetup {
  readonly cfg?: Partial<TcpConfig>
  readonly iss?: number
  readonly irs?: number
  readonly capacity?: number
  readonly isV6?: boolean
  /** Round trip of the handshake, 0 by default. */
  readonly rttUs?: Micros
}

/**
 * One endpoint against a peer that is the test, in virtual time. Both directions are written in the same language, with sequence
 * numbers relative to each side's ISN, the window field as it stands on the wire, and our own timestamps in milliseconds of `now`:
 *
 *     [S] 0 win 65535 mss 1460 sackOK TS 1000 0 wscale 7        a SYN
 *     [P.] 1+100 ack 1 win 500 sack 201:301 gso 50              100 bytes at 1
 *
 * Payload bytes are those of `pattern` at their position and are checked in both directions. Unless a test asks for more, there are
 * no timestamps, no window scale, no super-segments, no pacing and no search for black holes, NewReno, and the window does not move while the peer's data is being read.
 */
export class Dialogue {
  now: Micros = 1 * S
  readonly t: Test
  readonly side: Side
  readonly iss: number
  readonly irs: number
  private readonly pkt = new Packet()
  private readonly opts = new TcpOptions()
  private written = 0

  constructor(t: Test, setup: DialogueSetup = {}) {
    this.t = t
    this.iss = (setup.iss ?? 1_000) | 0
    this.irs = (setup.irs ?? 70_000) | 0
    const [local, remote] = setup.isV6 === true ? [A6, B6] : [A4, B4]
    const cfg = {
      timestamps: false,
      windowScale: 0,
      gso: false,
      pacing: false,
      mtuProbing: false,
      quickAcks: 0,
      congestion: newReno,
      ...setup.cfg,
    }
    this.side = new Side({ local, localPort: 40_000, remote, remotePort: 80 }, cfg, setup.capacity ?? 65_535)
  }

  /** Active open up to ESTABLISHED. `synAck` is what the peer's SYN/ACK offers beyond `[S.] 0 ack 1`. */
  static connected(t: Test, setup: DialogueSetup = {}, synAck = 'win 65535 mss 1460 sackOK'): Dialogue {
    const d = new Dialogue(t, setup)
    d.side.connect(d.now, d.iss)
    d.take()
    d.now += setup.rttUs ?? 0
    d.hear(`[S.] 0 ack 1 ${synAck}`)
    d.take()
    return d
  }

  /** Passive open up to ESTABLISHED; `syn` is what the peer's SYN offers, `win` the window of its ACK. */
  static accepted(t: Test, setup: DialogueSetup = {}, syn = 'win 65535 mss 1460 sackOK', win = 65_535): Dialogue {
    const d = new Dialogue(t, setup)
    d.hear(`[S] 0 ${syn}`)
    d.take()
    d.now += setup.rttUs ?? 0
    d.hear(`[.] 1 ack 1 win ${win}`)
    d.take()
    return d
  }

  get ep(): TcpEndpoint {
    return this.side.ep as TcpEndpoint
  }

  /** Active open; nothing is polled. */
  connect(): void {
    this.side.connect(this.now, this.iss)
  }

  /** The peer says `text`. Returns whether the endpoint knows the segment (false: the demultiplexer answers with RST). */
  hear(text: string): boolean {
    const before = this.side.strays
    this.side.deliver(this.bytesOf(text), this.now, this.iss)
    return this.side.strays === before
  }

  /** The peer says `text`, and the answer is exactly `lines`. */
  on(text: string, ...lines: string[]): void {
    this.t.equal(this.hear(text), true, `belongs here: ${text}`)
    this.t.same(this.take(), lines, `to ${text}`)
  }

  /** Exactly `lines` are waiting to be sent now. */
  expect(...lines: string[]): void {
    this.t.same(this.take(), lines)
  }

  /** Time passes. Exactly `lines` are sent, each with the milliseconds since the call: `+200 [.] 1 ack 1 win 65535`. */
  wait(us: Micros, ...lines: string[]): void {
    this.t.same(this.elapse(us), lines, `within ${us / US_PER_MS} ms`)
  }

  /** Lets time pass and returns what is sent, as `wait` writes it. */
  elapse(us: Micros): string[] {
    const from = this.now
    const until = from + us
    const said: string[] = []
    for (let steps = 0; ; steps++) {
      if (steps > 100_000) throw new Error('the endpoint never comes to rest')
      const next = this.ep.nextTimeout()
      this.now = Math.max(this.now, Math.min(next === NEVER ? until : next, until))
      if (next > until) break
      this.ep.onTimeout(this.now)
      for (const line of this.take()) said.push(`+${(this.now - from) / US_PER_MS} ${line}`)
    }
    return said
  }

  /** Writes the next `len` bytes of the pattern into our stream. */
  write(len: number, isEnd = false): void {
    const n = this.side.write(pattern(len, this.written))
    if (n !== len) throw new Error(`only ${n} of ${len} bytes could be written`)
    this.written += len
    if (isEnd) this.end()
  }

  /** Our stream ends here. */
  end(): void {
    this.side.out.setFin(this.written)
  }

  /** All that the endpoint wants to send now. */
  take(): string[] {
    return this.side.poll(this.now).map((bytes) => this.lineOf(bytes))
  }

  /** Checks that exactly the first `len` bytes of the peer's pattern were received. */
  received(len: number): void {
    this.side.read()
    this.t.equal(this.side.hasReceived(pattern(len)), true, `received exactly ${len} bytes`)
  }

  private lineOf(bytes: Uint8Array): string {
    const { pkt, opts } = this
    const result = parsePacket(bytes, 0, bytes.length, pkt)
    if (result !== PARSE_OK) throw new Error(`sent a packet that does not parse: ${result}`)
    parseOptionsOf(pkt, opts)
    const seq = (pkt.seq - this.iss) | 0
    const wanted = pattern(pkt.payLen, seq - 1)
    for (let i = 0; i < pkt.payLen; i++) if (pkt.mem[pkt.payOff + i] !== wanted[i]) throw new Error(`wrong payload at ${seq + i}`)
    let line = `[${formatFlags(pkt.flags)}] ${seq}${pkt.payLen > 0 ? `+${pkt.payLen}` : ''}`
    if ((pkt.flags & ACK) !== 0) line += ` ack ${(pkt.ack - this.irs) | 0}`
    line += ` win ${pkt.window}`
    if (opts.mss >= 0) line += ` mss ${opts.mss}`
    if (opts.sackPermitted) line += ' sackOK'
    if (opts.hasTs) line += ` TS ${(opts.tsVal - this.iss) | 0} ${opts.tsEcr}`
    if (opts.wscale >= 0) line += ` wscale ${opts.wscale}`
    if (opts.sackCount > 0) line += ' sack'
    for (let i = 0; i < opts.sackCount; i++) {
      line += ` ${((opts.sackLeft[i] as number) - this.irs) | 0}:${((opts.sackRight[i] as number) - this.irs) | 0}`
    }
    return pkt.gsoSize > 0 ? `${line} gso ${pkt.gsoSize}` : line
  }

  /** The packet that `text` describes, vnet header first. */
  bytesOf(text: string): Uint8Array {
    const [head = '', position = '', ...rest] = text.split(' ')
    const [seq = 0, len = 0] = position.split('+').map(Number)
    let flags = 0
    for (const letter of head.slice(1, -1)) flags |= FLAG_OF[letter] as number
    let [ack, window, gsoSize, urgent] = [0, 65_535, 0, 0]
    const options = new Uint8Array(40)
    let at = 0
    for (let i = 0; i < rest.length; ) {
      const word = rest[i++]
      const number = () => Number(rest[i++])
      if (word === 'ack') ack = (this.iss + number()) | 0
      else if (word === 'win') window = number()
      else if (word === 'gso') gsoSize = number()
      else if (word === 'urg') urgent = number()
      else if (word === 'mss') at += writeMss(options, at, number())
      else if (word === 'wscale') at += writeWscale(options, at, number())
      else if (word === 'sackOK') at += pad(options, at, writeSackPermitted(options, at))
      else if (word === 'TS') at += writeTimestamps(options, at, number() | 0, (this.iss + number()) | 0)
      else if (word === 'sack') {
        const blocks: number[][] = []
        while (rest[i]?.includes(':') === true) blocks.push((rest[i++] as string).split(':').map(Number))
        const edges = (k: number) => Int32Array.from(blocks, (b) => (this.iss + (b[k] as number)) | 0)
        at += writeSack(options, at, blocks.length, edges(0), edges(1))
      } else throw new Error(`what is ${word}?`)
    }
    const { local, remote, localPort, remotePort } = this.side.tuple
    const bytes = segment({
      src: remote,
      dst: local,
      srcPort: remotePort,
      dstPort: localPort,
      seq: (this.irs + seq) | 0,
      ack,
      flags,
      window,
      options: options.slice(0, at),
      payload: pattern(len, Math.max(0, seq - 1)),
      gsoSize,
    })
    if (urgent > 0) writeU16(bytes, 10 + (local.isV4 ? 20 : 40) + 18, urgent)
    return bytes
  }
}
