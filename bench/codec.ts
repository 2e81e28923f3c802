/**
 * Cost of the codecs per packet: `node --import tsx bench/codec.ts`. One line a case: ns of CPU per packet (best and median of the rounds)
 * and bytes of heap per packet, which must be 0: the receive path allocates nothing.
 */
import { writeI32 } from '../src/base/bytes.js'
import { VNET_HDR_LEN } from '../src/base/rings.js'
import { IpAddress } from '../src/base/address.js'
import { PROTO_TCP, writeIpHeader } from '../src/wire/ip.js'
import { writeDss } from '../src/wire/mptcp-options.js'
import { PARSE_OK, Packet, parsePacket } from '../src/wire/packet.js'
import { ACK, finishTcp, TCP_HEADER_LEN, writeTcpSegment } from '../src/wire/tcp.js'
import { pad, parseOptionsOf, TcpOptions, writeSack, writeTimestamps } from '../src/wire/tcp-options.js'

const ROUNDS = 15
const PER_ROUND = 400_000
/** Packets of a round lie in a ring, as in the device's memory, so that no value is a constant for the optimiser. */
const SLOTS = 64
const SLOT_LEN = 4096

const mem = new Uint8Array(SLOTS * SLOT_LEN)
const lens = new Int32Array(SLOTS)
const pkt = new Packet()
const opts = new TcpOptions()

type Options = (off: number, i: number) => number

const timestamps: Options = (off, i) => writeTimestamps(mem, off, i, i + 1)
const dss =
  (ackLen: 0 | 4 | 8, dsnLen: 0 | 4 | 8): Options =>
  (off, i) => {
    const n = timestamps(off, i)
    return pad(mem, off, n + writeDss(mem, off + n, ackLen, i, i * 7, dsnLen, i, i * 9, i, 60_000, -1, false))
  }
const edges = Int32Array.from({ length: 4 }, (_, i) => i * 1000)
const sack: Options = (off, i) => {
  const n = dss(4, 0)(off, i)
  return n + writeSack(mem, off + n, 2, edges, edges)
}

function build(off: number, isV6: boolean, payloadLen: number, options: Options, i: number): number {
  const local = isV6 ? new IpAddress(0x20010db8, 0, 0, i) : IpAddress.v4(0x0a000000 + i)
  const remote = isV6 ? new IpAddress(0x20010db8, 0, 1, i) : IpAddress.v4(0xc0000200 + i)
  const ipOff = off + VNET_HDR_LEN
  const tcpOff = ipOff + writeIpHeader(mem, ipOff, local, remote, PROTO_TCP, 0, 0, 64)
  writeTcpSegment(mem, tcpOff, 4000 + i, 80, i * 1_000_003, i * 77, ACK, 65_535)
  const hdrLen = TCP_HEADER_LEN + options(tcpOff + TCP_HEADER_LEN, i)
  finishTcp(mem, off, ipOff, tcpOff, hdrLen, payloadLen, 1448)
  return tcpOff + hdrLen + payloadLen - off
}

let sink = 0

function parseRound(): void {
  for (let n = 0; n < PER_ROUND; n++) {
    const slot = n & (SLOTS - 1)
    const off = slot * SLOT_LEN
    if (parsePacket(mem, off, lens[slot] as number, pkt) !== PARSE_OK) throw new Error('not parsed')
    parseOptionsOf(pkt, opts)
    sink = (sink + pkt.seq + opts.tsVal + opts.mptcp.dsnLo + opts.sackCount) | 0
  }
}

const out = IpAddress.v4(0x0a000001)
const peer = IpAddress.v4(0x0a000002)

function writeRound(): void {
  for (let n = 0; n < PER_ROUND; n++) {
    const off = (n & (SLOTS - 1)) * SLOT_LEN
    const ipOff = off + VNET_HDR_LEN
    const tcpOff = ipOff + writeIpHeader(mem, ipOff, out, peer, PROTO_TCP, 0, 0, 64)
    writeTcpSegment(mem, tcpOff, 4000, 80, n, n, ACK, 65_535)
    const optOff = tcpOff + TCP_HEADER_LEN
    let len = writeTimestamps(mem, optOff, n, n)
    len = pad(mem, optOff, len + writeDss(mem, optOff + len, 4, 0, n, 8, n, n, n, 60_000, -1, false))
    finishTcp(mem, off, ipOff, tcpOff, TCP_HEADER_LEN + len, 60_000, 1448)
  }
}

function measure(name: string, round: () => void): void {
  for (let i = 0; i < 3; i++) round()
  const times: number[] = []
  let leastBytes = Number.POSITIVE_INFINITY
  for (let i = 0; i < ROUNDS; i++) {
    const heap = process.memoryUsage().heapUsed
    // CPU time: a busy machine does not count
    const start = process.cpuUsage()
    round()
    const { user, system } = process.cpuUsage(start)
    // a collection in between makes it negative; the measuring itself allocates some 100 bytes a round
    const bytes = process.memoryUsage().heapUsed - heap
    if (bytes >= 0) leastBytes = Math.min(leastBytes, bytes)
    times.push(((user + system) * 1000) / PER_ROUND)
  }
  times.sort((a, b) => a - b)
  const best = (times[0] as number).toFixed(1).padStart(7)
  const median = (times[times.length >> 1] as number).toFixed(1).padStart(7)
  console.log(`${name.padEnd(44)}${best} ns best ${median} ns median ${(leastBytes / PER_ROUND).toFixed(3).padStart(8)} bytes`)
}

const CASES: [string, boolean, number, Options][] = [
  ['parse v4, timestamps', false, 1000, timestamps],
  ['parse v4, timestamps + DSS map 8', false, 2000, dss(0, 8)],
  ['parse v4, timestamps + DSS ack 4, map 8', false, 2000, dss(4, 8)],
  ['parse v4, timestamps + DSS ack 4 + 2 SACK', false, 0, sack],
  ['parse v6, timestamps + DSS ack 8, map 8', true, 2000, dss(8, 8)],
]
for (const [name, isV6, payloadLen, options] of CASES) {
  for (let i = 0; i < SLOTS; i++) lens[i] = build(i * SLOT_LEN, isV6, payloadLen, options, i)
  measure(name, parseRound)
}
writeI32(mem, 0, sink) // keeps the loop's result alive
measure('write v4, timestamps + DSS ack 4, map 8', writeRound)
