/**
 * A TCP option parser that follows the pictures of the RFCs and nothing else: cuts the list into options, then looks each one up
 * by its exact size. Slow, allocating, and obviously right: the twin of src/wire/tcp-options.ts.
 */
export type Form = 'ACK' | 'SYN' | 'SYN/ACK'

/** The fields of TcpOptions and MptcpOptions with the same names; arrays only as long as their counts. */
export type Fields = Record<string, number | boolean | number[]>

interface RawOption {
  readonly kind: number
  /** Offset of the kind byte. */
  readonly at: number
  /** Behind kind and length. */
  readonly body: Uint8Array
}

const EMPTY: Fields = {
  mss: -1,
  wscale: -1,
  sackPermitted: false,
  hasTs: false,
  tsVal: 0,
  tsEcr: 0,
  sackCount: 0,
  sackLeft: [],
  sackRight: [],
  fastOpenLen: -1,
  fastOpenOff: -1,
  malformed: false,
  ignored: 0,
  present: 0,
  capableLen: 0,
  capableVersion: 0,
  capableFlags: 0,
  keyHi: 0,
  keyLo: 0,
  peerKeyHi: 0,
  peerKeyLo: 0,
  capableDataLen: -1,
  capableChecksum: -1,
  joinLen: 0,
  joinBackup: false,
  joinAddrId: -1,
  joinToken: 0,
  joinNonce: 0,
  joinHmacOff: -1,
  dataAckLen: 0,
  dataAckHi: 0,
  dataAckLo: 0,
  dsnLen: 0,
  dsnHi: 0,
  dsnLo: 0,
  ssn: 0,
  dataLen: 0,
  dssChecksum: -1,
  dataFin: false,
  addEcho: false,
  addAddrId: -1,
  addFamily: 0,
  add0: 0,
  add1: 0,
  add2: 0,
  add3: 0,
  addPort: 0,
  addHmacOff: -1,
  removeCount: 0,
  removeIds: [],
  prioBackup: false,
  failHi: 0,
  failLo: 0,
  fastcloseHi: 0,
  fastcloseLo: 0,
  rstReason: -1,
  rstTransient: false,
}

/** Parses mem[off, off + len). */
export function naiveOptions(mem: Uint8Array, off: number, len: number, form: Form): Fields {
  const out: Fields = { ...EMPTY }
  const { options, isBroken } = split(mem, off, len)
  out.malformed = isBroken
  const seen = new Set<string>()
  for (const option of options) {
    const name = nameOf(option)
    if (name === null) continue
    const found = seen.has(name) ? null : read(option, form)
    if (found === null) out.ignored = (out.ignored as number) + 1
    else {
      const present = (out.present as number) | (option.kind === 30 ? 2 ** ((option.body[0] as number) >> 4) : 0)
      Object.assign(out, found, { present })
      seen.add(name)
    }
  }
  return out
}

function split(mem: Uint8Array, off: number, len: number): { options: RawOption[]; isBroken: boolean } {
  const options: RawOption[] = []
  let rest = mem.slice(off, off + len)
  let at = off
  while (rest.length > 0 && rest[0] !== 0) {
    if (rest[0] === 1) {
      rest = rest.slice(1)
      at += 1
      continue
    }
    const size = rest[1] ?? 0
    if (size < 2 || size > rest.length) return { options, isBroken: true }
    options.push({ kind: rest[0] as number, at, body: rest.slice(2, size) })
    rest = rest.slice(size)
    at += size
  }
  return { options, isBroken: false }
}

/** What may occur once; null for a kind that nobody knows. */
function nameOf(option: RawOption): string | null {
  if ([2, 3, 4, 5, 8, 34].includes(option.kind)) return `kind ${option.kind}`
  if (option.kind !== 30) return null
  return option.body.length === 0 ? 'mptcp without subtype' : `mptcp ${(option.body[0] as number) >> 4}`
}

function read(option: RawOption, form: Form): Fields | null {
  const { body } = option
  const isSyn = form !== 'ACK'
  switch (option.kind) {
    case 2:
      return isSyn && body.length === 2 ? { mss: u16(body, 0) } : null
    case 3:
      return isSyn && body.length === 1 ? { wscale: Math.min(14, body[0] as number) } : null
    case 4:
      return isSyn && body.length === 0 ? { sackPermitted: true } : null
    case 5:
      if (isSyn || ![8, 16, 24, 32].includes(body.length)) return null
      return {
        sackCount: body.length / 8,
        sackLeft: every(body, 8).map((p) => i32(body, p)),
        sackRight: every(body, 8).map((p) => i32(body, p + 4)),
      }
    case 8:
      return body.length === 8 ? { hasTs: true, tsVal: i32(body, 0), tsEcr: i32(body, 4) } : null
    case 34:
      return isSyn && [0, 4, 6, 8, 10, 12, 14, 16].includes(body.length) ? { fastOpenLen: body.length, fastOpenOff: option.at + 2 } : null
    default:
      return readMptcp(option, form)
  }
}

function readMptcp({ body, at }: RawOption, form: Form): Fields | null {
  if (body.length === 0) return null
  const subtype = (body[0] as number) >> 4
  const low = (body[0] as number) & 15
  const size = body.length + 2
  return readSubtype(body, at, subtype, low, size, form)
}

function readSubtype(body: Uint8Array, at: number, subtype: number, low: number, size: number, form: Form): Fields | null {
  switch (subtype) {
    case 0: {
      const sizes = { SYN: [4], 'SYN/ACK': [12], ACK: [20, 22, 24] }[form]
      if (!sizes.includes(size)) return null
      return {
        capableLen: size,
        capableVersion: low,
        capableFlags: body[1] as number,
        ...(size >= 12 ? words('key', body, 2) : {}),
        ...(size >= 20 ? words('peerKey', body, 10) : {}),
        ...(size >= 22 ? { capableDataLen: u16(body, 18) } : {}),
        ...(size >= 24 ? { capableChecksum: u16(body, 20) } : {}),
      }
    }
    case 1: {
      const size1 = { SYN: 12, 'SYN/ACK': 16, ACK: 24 }[form]
      if (size !== size1) return null
      if (form === 'ACK') return { joinLen: 24, joinHmacOff: at + 4 }
      const head = { joinLen: size, joinBackup: low % 2 === 1, joinAddrId: body[1] as number }
      if (form === 'SYN') return { ...head, joinToken: i32(body, 2), joinNonce: i32(body, 6) }
      return { ...head, joinHmacOff: at + 4, joinNonce: i32(body, 10) }
    }
    case 2:
      return readDss(body, size)
    case 3: {
      const isEcho = low % 2 === 1
      const shape = (
        isEcho ? { 8: [4, 0], 10: [4, 2], 20: [16, 0], 22: [16, 2] } : { 16: [4, 0], 18: [4, 2], 28: [16, 0], 30: [16, 2] }
      ) as Record<number, [number, number]>
      const found = shape[size]
      if (found === undefined) return null
      const [addrLen, portLen] = found
      const end = 2 + addrLen + portLen
      const mapped = addrLen === 4 ? [0, 0, 0xffff, i32(body, 2)] : [i32(body, 2), i32(body, 6), i32(body, 10), i32(body, 14)]
      return {
        addEcho: isEcho,
        addAddrId: body[1] as number,
        addFamily: addrLen === 4 ? 4 : 6,
        add0: mapped[0] as number,
        add1: mapped[1] as number,
        add2: mapped[2] as number,
        add3: mapped[3] as number,
        addPort: portLen === 2 ? u16(body, 2 + addrLen) : 0,
        addHmacOff: isEcho ? -1 : at + 2 + end,
      }
    }
    case 4:
      return size >= 4 ? { removeCount: size - 3, removeIds: Array.from(body.slice(1)) } : null
    case 5:
      return size === 3 ? { prioBackup: low % 2 === 1 } : null
    case 6:
      return size === 12 ? words('fail', body, 2) : null
    case 7:
      return size === 12 ? words('fastclose', body, 2) : null
    case 8:
      return size === 4 ? { rstTransient: low % 2 === 1, rstReason: body[1] as number } : null
    default:
      return null
  }
}

function readDss(body: Uint8Array, size: number): Fields | null {
  if (size < 4) return null
  // | subtype 4 | reserved 7 | F | m | M | a | A |
  const bits = [...(body[1] as number).toString(2).padStart(8, '0')].map((c) => c === '1')
  const [isFin, isDsn8, hasMap, isAck8, hasAck] = bits.slice(3) as [boolean, boolean, boolean, boolean, boolean]
  const ackLen = hasAck ? (isAck8 ? 8 : 4) : 0
  const dsnLen = hasMap ? (isDsn8 ? 8 : 4) : 0
  const bare = 4 + ackLen + (hasMap ? dsnLen + 4 + 2 : 0)
  const hasChecksum = hasMap && size === bare + 2
  if (size !== bare && !hasChecksum) return null
  const map = 2 + ackLen
  return {
    dataAckLen: ackLen,
    dataAckHi: ackLen === 8 ? i32(body, 2) : 0,
    dataAckLo: ackLen === 8 ? i32(body, 6) : ackLen === 4 ? i32(body, 2) : 0,
    dsnLen,
    dsnHi: dsnLen === 8 ? i32(body, map) : 0,
    dsnLo: dsnLen === 8 ? i32(body, map + 4) : dsnLen === 4 ? i32(body, map) : 0,
    ssn: hasMap ? i32(body, map + dsnLen) : 0,
    dataLen: hasMap ? u16(body, map + dsnLen + 4) : 0,
    dssChecksum: hasChecksum ? u16(body, map + dsnLen + 6) : -1,
    dataFin: hasMap && isFin,
  }
}

function words(prefix: string, body: Uint8Array, off: number): Fields {
  return { [`${prefix}Hi`]: i32(body, off), [`${prefix}Lo`]: i32(body, off + 4) }
}

function every(body: Uint8Array, step: number): number[] {
  return Array.from({ length: body.length / step }, (_, i) => i * step)
}

function u16(body: Uint8Array, off: number): number {
  return new DataView(body.buffer, body.byteOffset).getUint16(off)
}

function i32(body: Uint8Array, off: number): number {
  return new DataView(body.buffer, body.byteOffset).getInt32(off)
}
