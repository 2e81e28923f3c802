/** A packet parser over copies and BigInt: the twin of src/wire/packet.ts. Input begins with the vnet header. */
export interface NaivePacket {
  result: 'ok' | 'short' | 'bad-header' | 'fragment' | 'bad-checksum' | 'other'
  /** Fields of Packet by the same names, those that hold for this result. */
  fields: Record<string, number | boolean>
}

const EXTENSIONS = [0, 43, 51, 60, 135, 139, 140]

/** RFC 1071 by its definition, over a list of bytes. */
export function naiveChecksum(...parts: Uint8Array[]): number {
  const bytes = parts.flatMap((p) => [...p])
  if (bytes.length % 2 === 1) bytes.push(0)
  let sum = 0
  for (let i = 0; i < bytes.length; i += 2) sum += (bytes[i] as number) * 256 + (bytes[i + 1] as number)
  while (sum > 0xffff) sum = (sum % 0x10000) + Math.floor(sum / 0x10000)
  return 0xffff - sum
}

/** Pseudo-header of an IP packet's transport part: RFC 9293 §3.1, RFC 8200 §8.1. */
export function naivePseudoHeader(ip: Uint8Array, proto: number, l4Len: number): Uint8Array {
  if ((ip[0] as number) >> 4 === 4) return Uint8Array.of(...ip.slice(12, 20), 0, proto, l4Len >> 8, l4Len & 255)
  const len = [l4Len >>> 24, (l4Len >> 16) & 255, (l4Len >> 8) & 255, l4Len & 255]
  return Uint8Array.of(...ip.slice(8, 40), ...len, 0, 0, 0, proto)
}

/** Parses mem[off, off + len). */
export function naivePacket(mem: Uint8Array, off: number, len: number): NaivePacket {
  const ip = mem.slice(off + 10, off + Math.max(10, len))
  const base = off + 10
  const hasCsumFlags = len > 10 && ((mem[off] as number) & 3) !== 0
  if (ip.length < 20) return { result: 'short', fields: {} }
  const version = (ip[0] as number) >> 4
  if (version === 4) return parse4(ip, base, hasCsumFlags)
  if (version === 6) return parse6(ip, base, hasCsumFlags)
  return { result: 'bad-header', fields: {} }
}

function parse4(whole: Uint8Array, base: number, hasCsumFlags: boolean): NaivePacket {
  const hdr = ((whole[0] as number) & 15) * 4
  const total = u16(whole, 2)
  if (hdr < 20 || total < hdr) return { result: 'bad-header', fields: {} }
  if (total > whole.length) return { result: 'short', fields: {} }
  const ip = whole.slice(0, total)
  if (naiveChecksum(ip.slice(0, hdr)) !== 0) return { result: 'bad-header', fields: {} }
  const fields: NaivePacket['fields'] = {
    off: base,
    len: total,
    family: 4,
    tclass: ip[1] as number,
    ttl: ip[8] as number,
    proto: ip[9] as number,
    ...address('src', [0, 0, 0xffff, i32(ip, 12)]),
    ...address('dst', [0, 0, 0xffff, i32(ip, 16)]),
  }
  const isFragment = ((ip[6] as number) & 0x20) !== 0 || u16(ip, 6) % 0x2000 !== 0
  if (isFragment) return { result: 'fragment', fields: { ...fields, isFragment } }
  return transport(ip, base, hdr, ip[9] as number, 4, hasCsumFlags, fields)
}

function parse6(whole: Uint8Array, base: number, hasCsumFlags: boolean): NaivePacket {
  if (whole.length < 40) return { result: 'short', fields: {} }
  const total = 40 + u16(whole, 4)
  if (total > whole.length) return { result: 'short', fields: {} }
  const ip = whole.slice(0, total)
  const fields: NaivePacket['fields'] = {
    off: base,
    len: total,
    family: 6,
    tclass: Number((BigInt(i32(ip, 0)) >> 20n) & 255n),
    ttl: ip[7] as number,
    ...address(
      'src',
      [8, 12, 16, 20].map((p) => i32(ip, p)),
    ),
    ...address(
      'dst',
      [24, 28, 32, 36].map((p) => i32(ip, p)),
    ),
  }
  let next = ip[6] as number
  let at = 40
  for (let n = 0; EXTENSIONS.includes(next) || next === 44; n++) {
    if (n === 8) return { result: 'bad-header', fields: {} }
    if (at + 8 > total) return { result: 'short', fields: {} }
    if (next === 43 && ip[at + 3] !== 0) return { result: 'other', fields: { ...fields, proto: 43 } }
    const units = ip[at + 1] as number
    const size = next === 44 ? 8 : next === 51 ? units * 4 + 8 : units * 8 + 8
    if (at + size > total) return { result: 'short', fields: {} }
    if (next === 44 && ((ip[at + 2] as number) !== 0 || ((ip[at + 3] as number) & 0xf9) !== 0)) {
      return { result: 'fragment', fields: { ...fields, proto: ip[at] as number, isFragment: true } }
    }
    next = ip[at] as number
    at += size
  }
  return transport(ip, base, at, next, 6, hasCsumFlags, { ...fields, proto: next })
}

function transport(
  ip: Uint8Array,
  base: number,
  at: number,
  proto: number,
  family: 4 | 6,
  hasCsumFlags: boolean,
  ipFields: NaivePacket['fields'],
): NaivePacket {
  const l4 = ip.slice(at)
  const fields = { ...ipFields, l4Off: base + at, l4Len: l4.length, isFragment: false }
  if (proto === 6) {
    if (l4.length < 20) return { result: 'short', fields: {} }
    const hdr = ((l4[12] as number) >> 4) * 4
    if (hdr < 20 || hdr > l4.length) return { result: 'bad-header', fields: {} }
    const isRight = hasCsumFlags || naiveChecksum(naivePseudoHeader(ip, 6, l4.length), l4) === 0
    return {
      result: isRight ? 'ok' : 'bad-checksum',
      fields: {
        ...fields,
        srcPort: u16(l4, 0),
        dstPort: u16(l4, 2),
        seq: i32(l4, 4),
        ack: i32(l4, 8),
        flags: l4[13] as number,
        window: u16(l4, 14),
        urgent: u16(l4, 18),
        optOff: base + at + 20,
        optLen: hdr - 20,
        payOff: base + at + hdr,
        payLen: l4.length - hdr,
      },
    }
  }
  if (proto !== (family === 4 ? 1 : 58)) {
    return { result: 'other', fields: proto === 17 && l4.length >= 8 ? { ...fields, srcPort: u16(l4, 0), dstPort: u16(l4, 2) } : fields }
  }
  if (l4.length < 8) return { result: 'short', fields: {} }
  const pseudo = family === 6 ? naivePseudoHeader(ip, 58, l4.length) : new Uint8Array(0)
  if (!hasCsumFlags && naiveChecksum(pseudo, l4) !== 0) return { result: 'bad-checksum', fields }
  const type = l4[0] as number
  const code = l4[1] as number
  const isError = family === 6 ? type < 128 : [3, 4, 5, 11, 12].includes(type)
  let icmpMtu = -1
  if (family === 4 && type === 3 && code === 4) icmpMtu = u16(l4, 6)
  if (family === 6 && type === 2) icmpMtu = Math.min(i32(l4, 4) >>> 0, 0x7fffffff)
  const quote = isError ? quoted(l4.slice(8), base + at + 8, family) : { qFamily: 0 }
  return { result: 'ok', fields: { ...fields, icmpType: type, icmpCode: code, icmpMtu, ...quote } }
}

function quoted(q: Uint8Array, base: number, family: 4 | 6): NaivePacket['fields'] {
  const none = { qFamily: 0 }
  if (q.length === 0 || (q[0] as number) >> 4 !== family) return none
  let at: number
  let proto: number
  let src: number[]
  let dst: number[]
  if (family === 4) {
    at = ((q[0] as number) & 15) * 4
    if (at < 20 || at > q.length || u16(q, 6) % 0x2000 !== 0) return none
    proto = q[9] as number
    src = [0, 0, 0xffff, i32(q, 12)]
    dst = [0, 0, 0xffff, i32(q, 16)]
  } else {
    if (q.length < 40) return none
    proto = q[6] as number
    at = 40
    src = [8, 12, 16, 20].map((p) => i32(q, p))
    dst = [24, 28, 32, 36].map((p) => i32(q, p))
    for (let n = 0; EXTENSIONS.includes(proto) || proto === 44; n++) {
      if (n === 8 || at + 8 > q.length) return none
      if (proto === 44 && (q[at + 2] !== 0 || ((q[at + 3] as number) & 0xf8) !== 0)) return none
      const size = proto === 44 ? 8 : proto === 51 ? (q[at + 1] as number) * 4 + 8 : (q[at + 1] as number) * 8 + 8
      proto = q[at] as number
      at += size
    }
  }
  if (at + 8 > q.length) return none
  const hasPorts = proto === 6 || proto === 17
  return {
    qFamily: family,
    qOff: base,
    qL4Off: base + at,
    qProto: proto,
    ...address('qSrc', src),
    ...address('qDst', dst),
    qSrcPort: hasPorts ? u16(q, at) : 0,
    qDstPort: hasPorts ? u16(q, at + 2) : 0,
    qSeq: proto === 6 ? i32(q, at + 4) : 0,
  }
}

function address(prefix: string, words: number[]): Record<string, number> {
  return Object.fromEntries(words.map((w, i) => [`${prefix}${i}`, w]))
}

function u16(bytes: Uint8Array, off: number): number {
  return new DataView(bytes.buffer, bytes.byteOffset).getUint16(off)
}

function i32(bytes: Uint8Array, off: number): number {
  return new DataView(bytes.buffer, bytes.byteOffset).getInt32(off)
}
