import type { TxRing } from '../base/rings.js'
import type { Micros } from '../base/time.js'
import { Grant, REINJECT_DATA_RTO } from '../scheduler/scheduler.js'
import type { MptcpConnection } from './connection.js'
import type { DataOff } from './mapping.js'
import { retransmitOpportunely } from './opportune.js'
import type { Subflow } from './subflow.js'

/** Below this a piece of window is not worth a segment while others are in flight (silly window, RFC 9293 §3.8.6.2.1). */
const WINDOW_PIECE_MIN = 1_400

const grant = new Grant()

/** Bytes of new data that wait and that the peer's data-level window admits (RFC 8684 §3.3.5). */
export function pendingNew(c: MptcpConnection): number {
  const waiting = c.tx.dataOfStream(c.sendQueue.readyEnd) - c.snd.nxt
  const window = c.snd.edge - c.snd.nxt
  if (window >= waiting) return waiting
  if (window <= 0 || (window < WINDOW_PIECE_MIN && c.snd.una < c.snd.nxt)) return 0
  return window
}

/** Mask of the subflow with this id in the list of now; 0: it is gone, or -1 was asked for. */
function maskOf(c: MptcpConnection, id: number): number {
  if (id < 0) return 0
  for (let i = 0; i < c.subflows.length; i++) if ((c.subflows[i] as Subflow).id === id) return 1 << i
  return 0
}

/** The subflow with this id answers and is the only usable one. */
function isLeftAlone(c: MptcpConnection, id: number): boolean {
  for (let i = 0; i < c.subflows.length; i++) {
    const s = c.subflows[i] as Subflow
    if (s.isUsable && (s.id !== id || s.rtoCount > 0)) return false
  }
  return id >= 0
}

/** Up to where the bytes from `off` on are in flight on a subflow that answers, other than the one with id `except`; `off`: on none. */
function carriedElsewhere(c: MptcpConnection, off: DataOff, except: number): DataOff {
  let to = off
  for (let i = 0; i < c.subflows.length; i++) {
    const s = c.subflows[i] as Subflow
    if (s.id !== except && s.isUsable && s.rtoCount === 0 && s.tx !== null) to = Math.max(to, s.tx.endInFlight(off))
  }
  return to
}

/** Lets every subflow of the grant send [off, off + len), or as much of it as it can. Returns the bytes that at least one sent. */
function give(c: MptcpConnection, off: DataOff, len: number, tx: TxRing, now: Micros): number {
  let sent = 0
  for (let i = 0; i < c.subflows.length; i++) {
    if (((grant.mask >> i) & 1) === 0) continue
    const s = c.subflows[i] as Subflow
    s.grantOff = off
    s.grantLen = len
    if (!s.poll(tx, now)) s.isBlocked = true
    s.grantLen = 0
    if (s.grantOff - off > sent) sent = s.grantOff - off
  }
  return sent
}

/** First of all what is mapped on a subflow and has not left yet: nothing else can leave there before. */
export function sendReserved(c: MptcpConnection, tx: TxRing, now: Micros): void {
  for (let i = 0; i < c.subflows.length; i++) {
    const s = c.subflows[i] as Subflow
    while (s.reserveEnd > s.nextSeq && !s.isBlocked && tx.count < tx.slots) if (!s.poll(tx, now)) s.isBlocked = true
  }
}

/** Then the bytes that go out a second time: the receiver waits for them. */
export function sendReinjections(c: MptcpConnection, tx: TxRing, now: Micros): void {
  const rtx = c.rtx
  while (tx.count < tx.slots && rtx.next(c.snd.una)) {
    const from = rtx.from
    if (c.scheduler.repeat !== undefined && rtx.cause !== REINJECT_DATA_RTO) {
      const to = carriedElsewhere(c, from, rtx.except)
      if (to > from) {
        rtx.sent(Math.min(to, rtx.to) - from) // it is theirs to repeat what they lose
        continue
      }
    }
    grant.clear()
    if (!c.scheduler.reinject(c, maskOf(c, rtx.except), rtx.to - from, rtx.cause, now, grant)) {
      if (!isLeftAlone(c, rtx.except)) return
      // nobody is left but who was not meant to get it: it stands for its own flight, and the data-level timer for what it swallowed
      rtx.sent(rtx.to - from)
      continue
    }
    const sent = give(c, from, Math.min(grant.len, rtx.to - from), tx, now)
    if (sent > 0) rtx.sent(sent)
  }
}

/** Hands out new data, a super-segment at a time, until the scheduler waits, the window is full or the ring is. */
export function sendNew(c: MptcpConnection, tx: TxRing, now: Micros): void {
  const isRepeating = c.scheduler.repeat !== undefined
  while (tx.count < tx.slots) {
    const pending = pendingNew(c)
    grant.clear()
    if (isRepeating && c.scheduler.repeat?.(c, pending, now, grant) === true) {
      give(c, grant.off, grant.len, tx, now)
      continue
    }
    if (pending <= 0) break
    if (!c.scheduler.select(c, pending, c.snd.edge - c.snd.nxt, now, grant)) break
    give(c, c.snd.nxt, Math.min(grant.len, pending), tx, now)
  }
  const isWaiting = pendingNew(c) > 0 || c.rtx.count > 0
  probeClosed(c, isWaiting, now)
  if (!isWaiting && retransmitOpportunely(c)) sendReinjections(c, tx, now)
}

/**
 * A subflow whose own window is closed although nothing is in flight on it learns of the new one only from its own segments
 * (RFC 8684 §3.3.5): it is asked, once per timeout. So is one whose window is too small for a good segment (RFC 9293 §3.8.6.2.1).
 */
function probeClosed(c: MptcpConnection, isWaiting: boolean, now: Micros): void {
  for (let i = 0; i < c.subflows.length; i++) {
    const s = c.subflows[i] as Subflow
    if ((!isWaiting && s.reserved === 0) || !s.isUsable || s.inFlight > 0 || (s.sendSpace() > 0 && !s.isBlocked) || now < s.probeAt)
      continue
    s.probeAt = now + s.ep.rtoUs()
    s.isBlocked = false
    s.ep.probe()
  }
}

/** Everything that needs no grant: handshakes, ACKs, retransmissions, FIN, RST, and the data of a connection that has fallen back. */
export function sendRest(c: MptcpConnection, tx: TxRing, now: Micros): void {
  for (let i = 0; i < c.subflows.length; i++) {
    const s = c.subflows[i] as Subflow
    if (s.isBlocked) continue
    while (s.poll(tx, now)) if (tx.count === tx.slots) return
  }
}
