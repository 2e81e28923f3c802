import { IpAddress } from '../base/address.js'
import { type Micros, NEVER, US_PER_S } from '../base/time.js'
import { HAS_ADD_ADDR, HAS_REMOVE_ADDR, type MptcpOptions, RST_UNSPECIFIED, writeAddAddr, writeRemoveAddr } from '../wire/mptcp-options.js'
import type { Packet } from '../wire/packet.js'
import { bestSubflow } from './close.js'
import type { MptcpConnection } from './connection.js'
import { isDialable } from './dialable.js'
import { ADD_ADDR_HMAC_LEN, addAddrHmac, equalConstantTime, type KeyMaterial } from './keys.js'
import type { Subflow } from './subflow.js'

/** Addresses of the peer that one connection remembers; more are answered and forgotten. */
const PEER_MAX = 16
/** Echoes and removals that wait for a pure ACK. The peer repeats what was not echoed. */
const WAITING_MAX = 16
/** Second transmissions that wait; what comes on top goes out once. */
const REPETITIONS_MAX = 32
/** Retransmissions of an announcement that is not echoed (RFC 8684 §3.4.1 leaves the number open; Linux: 3). */
const ADD_TRIES = 3
/** First wait for an echo, doubled each time. */
const ADD_TIMEOUT_US: Micros = 1 * US_PER_S
/** Signals on pure ACKs of one subflow before something else has to come: more duplicates would look like loss (RFC 8684 §3.4.1). */
const SIGNAL_RUN = 2
/** Unanswered keepalives after which a subflow by a withdrawn address goes (RFC 8684 §3.4.2). */
const KEEPALIVES = 3

/** An address with its id; port 0: the announcement named none. Immutable. */
export interface AnnouncedAddress {
  readonly id: number
  readonly address: IpAddress
  readonly port: number
}

/** An announcement of ours. */
interface Announcement extends AnnouncedAddress {
  /** Transmissions so far. */
  sent: number
  isDue: boolean
  /** The next repetition, NEVER: echoed, or given up. */
  at: Micros
}

/** A REMOVE_ADDR of an id or, with `s`, an MP_PRIO that goes out a second time. */
interface Repetition {
  readonly at: Micros
  readonly id: number
  readonly s: Subflow | null
}

/** A subflow by an address that the peer has withdrawn, until it answers or is given up. */
interface Suspect {
  readonly s: Subflow
  probes: number
  at: Micros
  /** Segments received when the first keepalive went out: one more is an answer. */
  readonly segsIn: number
}

/**
 * Address signalling of one connection, RFC 8684 §3.4, in both directions. Exists from the first signal on.
 *
 *     announce -> due -> sent --echo--> done            peer: ADD_ADDR -> HMAC -> echo -> stored -> event, once per new address
 *                  ^------+ timer, 3 times              peer: REMOVE_ADDR -> forgotten -> keepalives on its subflows -> reset
 *     withdraw -> REMOVE_ADDR beside a DSS -> the same once more
 *
 * Nobody confirms a REMOVE_ADDR or an MP_PRIO, and a pure ACK may be lost: each goes out again after the time that a retransmission would
 * have waited. Twice is harmless, since what an id stands for does not come back in between (then the repetition is dropped).
 *
 * An ADD_ADDR and its echo stand alone on a pure ACK, for they take most of the 40 bytes.
 */
export class Addresses {
  private readonly c: MptcpConnection
  /** What the peer has announced and not withdrawn; for the path manager. */
  readonly peer: AnnouncedAddress[] = []
  /** New since the path manager looked. */
  private fresh: AnnouncedAddress[] = []
  private readonly own: Announcement[] = []
  /** Echoes owed, with the subflow that the announcement came on. */
  private readonly echoes: { readonly s: Subflow; readonly what: AnnouncedAddress }[] = []
  private removals: number[] = []
  /** The subflow that brings them. */
  private carrier: Subflow | null = null
  private readonly suspects: Suspect[] = []
  private readonly repetitions: Repetition[] = []
  /** Ids that have had their second time, among `removals`. */
  private readonly repeated = new Set<number>()

  constructor(c: MptcpConnection) {
    this.c = c
  }

  /** Takes the addresses announced since the last call. */
  takeFresh(): AnnouncedAddress[] {
    const out = this.fresh
    this.fresh = []
    return out
  }

  // ---------------------------------------------------------------- ours

  /** Announces an address of ours under `id` (1-255); an id keeps its address until it is withdrawn. False: it has another one. */
  announce(id: number, address: IpAddress, port: number): boolean {
    const known = this.own.find((a) => a.id === id)
    if (known !== undefined) return known.address.equals(address) && known.port === port
    this.own.push({ id, address, port, sent: 0, isDue: true, at: NEVER })
    this.forgetRepetition(id)
    this.prompt()
    return true
  }

  /** Tells the peer that the address is gone, whether or not it was announced: it may be that of a subflow. */
  withdraw(id: number): void {
    const i = this.own.findIndex((a) => a.id === id)
    if (i >= 0) this.own.splice(i, 1)
    this.forgetRepetition(id)
    if (!this.removals.includes(id) && this.removals.length < WAITING_MAX) this.removals.push(id)
    this.prompt()
  }

  /** Asks for pure ACKs for what waits. */
  prompt(): void {
    for (const e of this.echoes) if (this.maySignal(e.s)) e.s.signal()
    if (this.removals.length > 0) {
      this.carrier = this.pickCarrier()
      this.carrier?.answer()
    }
    if (!this.own.some((a) => a.isDue)) return
    const s = bestSubflow(this.c)
    if (s !== null && this.maySignal(s)) s.signal()
  }

  /** The news of an address that is gone had better not travel by it. */
  private pickCarrier(): Subflow | null {
    for (const s of this.c.subflows) if (s.isUsable && s.rtoCount === 0 && !this.removals.includes(s.localAddrId)) return s
    const s = bestSubflow(this.c)
    return s?.isUsable ? s : null
  }

  private maySignal(s: Subflow): boolean {
    return s.isUsable && s.signalRun < SIGNAL_RUN
  }

  // ---------------------------------------------------------------- options out

  /** Bytes, unpadded, of the signal that the next pure ACK of `s` carries alone; 0: none. */
  aloneLen(s: Subflow): number {
    if (!this.maySignal(s)) return 0
    const echo = this.echoes.find((e) => e.s === s)
    if (echo !== undefined) return lenOf(echo.what) - ADD_ADDR_HMAC_LEN
    const next = this.own.find((a) => a.isDue)
    return next === undefined ? 0 : lenOf(next)
  }

  /** Writes it. */
  writeAlone(s: Subflow, mem: Uint8Array, off: number, now: Micros): number {
    const n = this.c.env.counters
    s.signalRun++
    const i = this.echoes.findIndex((e) => e.s === s)
    if (i >= 0) {
      const { what } = this.echoes[i] as { what: AnnouncedAddress }
      this.echoes.splice(i, 1)
      n.EchoAddTx++
      return writeAddAddr(mem, off, what.id, what.address, what.port, null, 0)
    }
    const next = this.own.find((a) => a.isDue)
    if (next === undefined) return 0
    next.isDue = false
    next.at = now + ADD_TIMEOUT_US * 2 ** next.sent
    next.sent++
    n.AddAddrTx++
    const hmac = addAddrHmac(
      this.c.env.host.hash,
      this.c.localKey as KeyMaterial,
      this.c.remoteKey as KeyMaterial,
      next.id,
      next.address,
      next.port,
    )
    return writeAddAddr(mem, off, next.id, next.address, next.port, hmac, hmac.length - ADD_ADDR_HMAC_LEN)
  }

  /** Bytes of a REMOVE_ADDR that fits into `room`, 0: `s` has none to bring. */
  removeLen(s: Subflow, room: number): number {
    if (s !== this.carrier) return 0
    const n = Math.min(this.removals.length, room - 3)
    return n > 0 ? 3 + n : 0
  }

  /** Writes as many ids as `len` has room for. @param s the subflow that brings them */
  writeRemove(s: Subflow, mem: Uint8Array, off: number, len: number, now: Micros): number {
    const ids = Uint8Array.from(this.removals.slice(0, len - 3))
    this.removals = this.removals.slice(ids.length)
    for (const id of ids) if (!this.repeated.delete(id)) this.repeatLater(id, null, now + s.ep.baseRtoUs())
    this.c.env.counters.RmAddrTx++
    return writeRemoveAddr(mem, off, ids, ids.length)
  }

  /** MP_PRIO has left on `s`. */
  onPrioSent(s: Subflow, now: Micros): void {
    const i = this.repetitions.findIndex((r) => r.s === s)
    if (i >= 0) this.repetitions.splice(i, 1)
    this.repeatLater(-1, s, now + s.ep.baseRtoUs())
  }

  private repeatLater(id: number, s: Subflow | null, at: Micros): void {
    if (this.repetitions.length < REPETITIONS_MAX) this.repetitions.push({ at, id, s })
  }

  /** The id means something else from now on. */
  private forgetRepetition(id: number): void {
    const i = this.repetitions.findIndex((r) => r.s === null && r.id === id)
    if (i >= 0) this.repetitions.splice(i, 1)
    this.repeated.delete(id)
  }

  private repeat(now: Micros): void {
    for (let i = this.repetitions.length - 1; i >= 0; i--) {
      const { at, id, s } = this.repetitions[i] as Repetition
      if (at > now) continue
      this.repetitions.splice(i, 1)
      if (s !== null) {
        if (!s.isUsable) continue
        s.isPrioDue = true
        s.isPrioRepeated = true
        s.answer()
      } else if (!this.isInUse(id) && !this.removals.includes(id)) {
        this.repeated.add(id)
        this.removals.push(id)
      }
    }
  }

  /** Whether a subflow of ours, or one that is being opened, has the id again. */
  private isInUse(id: number): boolean {
    return this.c.subflows.some((s) => s.isLive && s.localAddrId === id)
  }

  // ---------------------------------------------------------------- options in

  onOptions(s: Subflow, pkt: Packet, m: MptcpOptions, now: Micros): void {
    if ((m.present & HAS_ADD_ADDR) !== 0) {
      if (m.addEcho) this.onEcho(m)
      else this.onAnnounced(s, pkt, m)
    }
    if ((m.present & HAS_REMOVE_ADDR) !== 0) for (let i = 0; i < m.removeCount; i++) this.onRemoved(m.removeIds[i] as number, now)
  }

  private onEcho(m: MptcpOptions): void {
    const a = this.own.find((o) => o.id === m.addAddrId)
    // §3.4.1: an exact copy; a stale one may name what the id meant before
    if (a === undefined || a.port !== m.addPort || !a.address.equals(addressOf(m))) return
    this.c.env.counters.EchoAdd++
    a.isDue = false
    a.at = NEVER
  }

  private onAnnounced(s: Subflow, pkt: Packet, m: MptcpOptions): void {
    const { c } = this
    const n = c.env.counters
    const what: AnnouncedAddress = { id: m.addAddrId, address: addressOf(m), port: m.addPort }
    const hmac = addAddrHmac(c.env.host.hash, c.remoteKey as KeyMaterial, c.localKey as KeyMaterial, what.id, what.address, what.port)
    if (!equalConstantTime(pkt.mem, m.addHmacOff, hmac, hmac.length - ADD_ADDR_HMAC_LEN, ADD_ADDR_HMAC_LEN)) {
      n.AddAddrHMacFailure++ // §3.4.1: ignored without a trace
      return
    }
    n.AddAddr++
    if (what.port !== 0) n.PortAdd++
    if (this.echoes.length < WAITING_MAX && !this.echoes.some((e) => e.what.id === what.id)) this.echoes.push({ s, what })
    this.prompt()
    const known = this.peer.find((a) => a.id === what.id)
    if (known !== undefined) {
      // the same again, or another address without a removal: what the id means stands
      if (known.port !== what.port || !known.address.equals(what.address)) n.AddAddrDrop++
      return
    }
    const port = what.port === 0 ? s.ep.tuple.remotePort : what.port
    if (what.id === 0 || this.peer.length >= PEER_MAX || !isDialable(c, what.address, port)) {
      n.AddAddrDrop++
      return
    }
    this.peer.push({ id: what.id, address: what.address, port })
    this.fresh.push({ id: what.id, address: what.address, port })
    c.onAddresses()
  }

  private onRemoved(id: number, now: Micros): void {
    const { c } = this
    const i = this.peer.findIndex((a) => a.id === id)
    if (i >= 0) this.peer.splice(i, 1)
    this.fresh = this.fresh.filter((a) => a.id !== id)
    let isKnown = i >= 0
    for (const s of c.subflows) {
      if (!s.isLive || s.remoteAddrId !== id || !s.ep.isSynchronized) continue
      isKnown = true
      if (!s.isPeerWithdrawn) {
        s.isPeerWithdrawn = true
        c.onPriority(s, now)
      }
      if (!this.suspects.some((x) => x.s === s)) this.suspects.push({ s, probes: 0, at: now, segsIn: s.ep.segsIn })
    }
    if (!isKnown) return
    c.env.counters.RmAddr++
    this.onTimeout(now)
    c.onAddresses()
  }

  /** Whether the peer has announced this address and port. */
  isAnnounced(address: IpAddress, port: number): boolean {
    return this.peer.some((a) => a.port === port && a.address.equals(address))
  }

  // ---------------------------------------------------------------- time

  nextTimeout(): Micros {
    let at = NEVER
    for (const a of this.own) if (a.at < at) at = a.at
    for (const x of this.suspects) if (x.at < at) at = x.at
    for (const r of this.repetitions) if (r.at < at) at = r.at
    return at
  }

  onTimeout(now: Micros): void {
    for (const a of this.own) {
      if (a.at > now) continue
      a.at = NEVER
      if (a.sent > ADD_TRIES) continue
      a.isDue = true
      // nothing was received since the last signals, perhaps: time has passed all the same
      for (const s of this.c.subflows) s.signalRun = 0
    }
    for (let i = this.suspects.length - 1; i >= 0; i--) this.examine(i, now)
    this.repeat(now)
    this.prompt()
  }

  /**
   * §3.4.2: a keepalive first; the subflow stays when it answers, for the peer closes it (Linux by FIN, behind what it has sent there, and so
   * not while our window is closed). New data of ours goes elsewhere meanwhile.
   */
  private examine(i: number, now: Micros): void {
    const x = this.suspects[i] as Suspect
    if (x.at > now) return
    const { s } = x
    const hasAnswered = x.probes > 0 && s.ep.segsIn > x.segsIn
    if (!s.isLive || hasAnswered || x.probes === KEEPALIVES) {
      this.suspects.splice(i, 1)
      if (!s.isLive || hasAnswered) return
      this.c.env.counters.RmSubflow++
      s.reset(RST_UNSPECIFIED)
      return
    }
    x.probes++
    x.at = now + s.ep.baseRtoUs()
    s.ep.probe()
  }

  /** The subflow is gone, and with it what it owed. */
  onSubflowDown(s: Subflow): void {
    if (s === this.carrier) this.carrier = null
    for (let i = this.echoes.length - 1; i >= 0; i--) if (this.echoes[i]?.s === s) this.echoes.splice(i, 1)
    for (let i = this.repetitions.length - 1; i >= 0; i--) if (this.repetitions[i]?.s === s) this.repetitions.splice(i, 1)
  }
}

function addressOf(m: MptcpOptions): IpAddress {
  return new IpAddress(m.add0, m.add1, m.add2, m.add3)
}

function lenOf(a: AnnouncedAddress): number {
  return 4 + (a.address.isV4 ? 4 : 16) + (a.port === 0 ? 0 : 2) + ADD_ADDR_HMAC_LEN
}
