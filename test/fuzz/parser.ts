import type { Rng } from '../../src/base/rng.js'
import { buildIcmpUnreachable, UNREACH_HOST } from '../../src/wire/icmp.js'
import { PROTO_TCP } from '../../src/wire/ip.js'
import { PARSE_OK, PARSE_RESULT_NAMES, Packet, parsePacket } from '../../src/wire/packet.js'
import { formatParsed } from '../../src/wire/pretty.js'
import { ACK, buildRst, RST, SYN } from '../../src/wire/tcp.js'
import { parseOptionsOf, TcpOptions } from '../../src/wire/tcp-options.js'
import { fieldsOf, hasFields, toHex } from '../oracle/wire-bytes.js'
import { type Form, naiveOptions } from '../oracle/wire-options.js'
import { naivePacket } from '../oracle/wire-packet.js'
import { mutate } from './mutator.js'

/** Bytes around the input that must not matter. */
const MARGIN = 64
/** Reads of memory per byte of input, and for headers that are read more than once. */
const READS_PER_BYTE = 4
const READS_FIXED = 300
/** One input in so many is parsed through a counting proxy. */
const COUNTED_EVERY = 256

/** What was seen, by result of the parser and whether options were accepted: to see that the mutator reaches all sides. */
export interface FuzzCounts {
  inputs: number
  readonly byResult: Map<string, number>
  withMptcp: number
  malformedOptions: number
}

export function newCounts(): FuzzCounts {
  return { inputs: 0, byResult: new Map(), withMptcp: 0, malformedOptions: 0 }
}

const pkt = new Packet()
const opts = new TcpOptions()
const answer = new Packet()
const reply = new Uint8Array(400)

/** Checks `n` mutated inputs. @throws when a claim of `checkInput` does not hold; the message has the input in hexadecimal. */
export function fuzzParser(rng: Rng, corpus: readonly Uint8Array[], n: number, counts: FuzzCounts): void {
  for (let i = 0; i < n; i++) {
    const input = mutate(rng, corpus)
    try {
      checkInput(rng, input, counts)
      if (i % COUNTED_EVERY === 0) checkCost(input)
    } catch (error) {
      throw new Error(`${error instanceof Error ? error.message : String(error)}; input ${toHex(input)}`, { cause: error })
    }
  }
}

/**
 * The parsers agree with their naive twins on `input`, whatever lies around it and was parsed before; they change nothing; the text
 * of it can be made; and the answers that it deserves (reset, unreachable) are well-formed packets that name it.
 */
export function checkInput(rng: Rng, input: Uint8Array, counts: FuzzCounts): void {
  const mem = new Uint8Array(input.length + 2 * MARGIN)
  rng.fill(mem, 0, mem.length)
  mem.set(input, MARGIN)
  const before = toHex(mem)
  const result = parsePacket(mem, MARGIN, input.length, pkt)
  const want = naivePacket(mem, MARGIN, input.length)
  const name = PARSE_RESULT_NAMES[result] as string
  counts.inputs++
  counts.byResult.set(name, (counts.byResult.get(name) ?? 0) + 1)
  claim(name === want.result, `result ${name}, not ${want.result}`)
  const fields = pkt as unknown as Record<string, unknown>
  for (const [field, value] of Object.entries(want.fields)) claim(fields[field] === value, `${field} is ${fields[field]}, not ${value}`)
  claim(formatParsed(pkt, result).length > 0, 'no text')
  if (result === PARSE_OK && pkt.proto === PROTO_TCP) {
    checkOptions(mem, counts)
    checkAnswers(mem)
  }
  claim(toHex(mem) === before, 'the parser wrote into its input')
}

function checkOptions(mem: Uint8Array, counts: FuzzCounts): void {
  parseOptionsOf(pkt, opts)
  const form: Form = (pkt.flags & SYN) === 0 ? 'ACK' : (pkt.flags & ACK) === 0 ? 'SYN' : 'SYN/ACK'
  const want = naiveOptions(mem, pkt.optOff, pkt.optLen, form)
  if (!hasFields(opts, want)) throw new Error(`options ${JSON.stringify(fieldsOf(opts))}, not ${JSON.stringify(want)}`)
  if (opts.mptcp.present !== 0) counts.withMptcp++
  if (opts.malformed) counts.malformedOptions++
}

function checkAnswers(mem: Uint8Array): void {
  const rstLen = buildRst(reply, 0, pkt, 1)
  claim(rstLen > 0 || (pkt.flags & RST) !== 0, 'no reset')
  if (rstLen > 0) {
    claim(parsePacket(reply, 0, rstLen, answer) === PARSE_OK, 'the reset is no good packet')
    claim(answer.srcPort === pkt.dstPort && answer.dstPort === pkt.srcPort && answer.dst3 === pkt.src3, 'the reset goes elsewhere')
  }
  const icmpLen = buildIcmpUnreachable(reply, 0, UNREACH_HOST, null, mem, pkt.off, pkt.len)
  claim(parsePacket(reply, 0, icmpLen, answer) === PARSE_OK, 'the ICMP error is no good packet')
  // long extension headers push the TCP header out of the quotation
  if (answer.qFamily === 0) claim(pkt.l4Off - pkt.off > 100, 'the ICMP error does not quote')
  else
    claim(answer.qSeq === pkt.seq && answer.qSrcPort === pkt.srcPort && answer.qDst3 === pkt.dst3, 'the ICMP error quotes another packet')
}

/** The work is linear in the length: counted as reads of memory. */
function checkCost(input: Uint8Array): void {
  let reads = 0
  const counting = new Proxy(input.slice(), {
    get(target, key) {
      if (typeof key === 'string' && key.charCodeAt(0) <= 57) reads++
      return Reflect.get(target, key)
    },
  })
  if (parsePacket(counting, 0, input.length, pkt) === PARSE_OK && pkt.proto === PROTO_TCP) parseOptionsOf(pkt, opts)
  const most = READS_PER_BYTE * input.length + READS_FIXED
  claim(reads <= most, `${reads} reads for ${input.length} bytes`)
}

function claim(cond: boolean, what: string): void {
  if (!cond) throw new Error(what)
}
