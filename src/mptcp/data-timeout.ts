import { NEVER, type Micros } from '../base/time.js'
import { STALE_RTOS } from '../scheduler/preference.js'
import { GRANT_MAX, REINJECT_DATA_RTO, REINJECT_RTO } from '../scheduler/scheduler.js'
import { CAUSE_TIMEOUT } from '../tcp/state.js'
import { RST_MIDDLEBOX, RST_TOO_MUCH_OUTSTANDING, RST_UNSPECIFIED } from '../wire/mptcp-options.js'
import { bestSubflow } from './close.js'
import type { MptcpConnection } from './connection.js'
import { FB_STRIPPED, isJoinPending, mayFallBack, onStripped } from './fallback.js'
import { BARE_RUN } from './options-in.js'
import { suspectSparse } from './sparse.js'
import { Stale } from './stale.js'
import type { Subflow } from './subflow.js'

/** Timeouts in a row after which a subflow that holds up the send buffer is reset, if others live (RFC 8684 §3.3.2, §3.6 reason 4). */
const PIN_RTOS = 4
/** And one that does not hold up the buffer, because its bytes were copied out of it, for the memory of the copy. */
const COPY_RTOS = 8
/** Data-level timeouts in a row that a subflow may cause by acknowledging what does not arrive, before it is reset. */
const HOLES_MAX = 3
/** Unanswered DATA_FINs after which the only subflow sends its FIN all the same: RFC 8684 §3.3.3 allows it, nothing else is outstanding. */
const DATA_FIN_TRIES = 3

/** Something has to move at the data level, or be asked for: the timer of RFC 8684 §3.3.6 runs. */
function isTimed(c: MptcpConnection): boolean {
  if (!c.isMptcp || c.isClosed) return false
  return c.snd.una < c.snd.nxt || c.isDataFinDue || c.tx.dataOfStream(c.sendQueue.readyEnd) > c.snd.nxt
}

/** Largest un-backed-off RTO of the subflows that answer; of all, when none does. NEVER: no subflow. */
function timeoutPeriod(c: MptcpConnection): Micros {
  let answering = 0
  let any = 0
  for (let i = 0; i < c.subflows.length; i++) {
    const s = c.subflows[i] as Subflow
    if (!s.isUsable && !(s.isLive && s.isPeerFin)) continue
    const rto = s.ep.baseRtoUs()
    if (rto > any) any = rto
    if (s.rtoCount === 0 && rto > answering) answering = rto
  }
  return answering > 0 ? answering : any > 0 ? any : NEVER
}

/** After each turn: sets the data-level timer, and notes since when the oldest byte waits. */
export function armDataTimer(c: MptcpConnection, now: Micros): void {
  const { rtx, snd } = c
  rtx.arm(isTimed(c), timeoutPeriod(c), now)
  if (c.cfg.tcp.userTimeoutUs === 0) return
  if (snd.una === snd.nxt) rtx.waitsSince = NEVER
  else if (rtx.waitsSince === NEVER) rtx.waitsSince = now
}

/**
 * When the user timeout (RFC 5482) of the connection is over: of all subflows together, since any of them may bring the bytes. And when
 * subflows come and go, or acknowledge, and nothing ever arrives.
 */
export function giveUpAt(c: MptcpConnection): Micros {
  const { rtx, snd } = c
  const at = rtx.waitsSince === NEVER ? NEVER : rtx.waitsSince + c.cfg.tcp.userTimeoutUs
  return snd.una < snd.nxt && c.isMptcp && !c.isClosed ? Math.min(at, rtx.hopelessAt) : at
}

/** Ends the connection for want of acknowledgements. */
export function giveUp(c: MptcpConnection, now: Micros): void {
  for (const s of c.subflows) if (s.isLive) s.reset(RST_UNSPECIFIED)
  c.finish(CAUSE_TIMEOUT, now)
}

/** The data-level timer fired. */
export function onDataTimeout(c: MptcpConnection, now: Micros): void {
  c.rtx.fired(now)
  if (c.isClosed || !c.isMptcp) return
  c.env.counters.DataRtx++
  if (c.snd.una < c.snd.nxt) queueHole(c, now)
  else if (c.isDataFinDue) repeatDataFin(c)
  else probe(c, now)
}

/**
 * The peer's window is closed, and the update that opened it may have been lost (RFC 9293 §3.8.6.1 at the data level). Asked on every
 * subflow: the fastest may be the one that does not bring the answer. Answers without any option tell nothing of the window: the path takes
 * them away.
 */
function probe(c: MptcpConnection, now: Micros): void {
  for (const s of c.subflows) {
    if (!s.isLive || !s.ep.isSynchronized || !s.maySendData()) continue
    if (s.bareRun >= BARE_RUN && c.rtx.fires >= HOLES_MAX) {
      if (c.hasOther(s) || !onStripped(c, s, FB_STRIPPED, now)) s.reset(RST_MIDDLEBOX)
    } else if (isHeard(c, s)) s.ep.probe()
  }
}

/** Counts a question that TCP does not repeat by itself; false: too many in a row had no answer, and the subflow was reset. */
function isHeard(c: MptcpConnection, s: Subflow): boolean {
  s.silentProbes++
  if (s.silentProbes <= c.cfg.tcp.dataRetries) return true
  s.reset(RST_UNSPECIFIED)
  return false
}

function repeatDataFin(c: MptcpConnection): void {
  for (const s of c.subflows) if (s.isLive && s.maySendData() && isHeard(c, s)) s.answer()
  if (c.rtx.fires < DATA_FIN_TRIES) return
  const only = bestSubflow(c)
  if (only !== null && !c.hasOther(only)) only.isFinForced = true
}

/**
 * The data level misses byte `una`. A subflow acknowledged it and it did not arrive: the path drops mappings, or a box acknowledges by
 * itself. Or it is in the network still, or on a subflow that does not answer.
 */
function queueHole(c: MptcpConnection, now: Micros): void {
  const { una, nxt } = c.snd
  let carried = nxt
  let carrier: Subflow | null = null
  let except = -1
  for (let i = 0; i < c.subflows.length; i++) {
    const s = c.subflows[i] as Subflow
    if (!s.isLive || s.tx === null) continue
    if (s.tx.hasSwallowed(una, c.isChecksummed)) {
      // a peer that has fallen back would take a copy for new data: before there is one, RFC 8684 §3.7 applies
      if (s.bareRun > 0 && mayFallBack(c, s)) {
        onStripped(c, s, FB_STRIPPED, now)
        return
      }
      const hasOther = c.hasOther(s)
      if (!hasOther && isJoinPending(c)) return // it decides whether this may be a fallback
      if (!hasOther && c.rtx.askedFor !== una) {
        c.rtx.askedFor = una // only the DATA_ACK may have been lost: a copy would make the stream ambiguous where options vanish
        s.ep.probe()
        return
      }
      s.holes++
      suspectSparse(s)
      const isHopeless = s.holes > c.cfg.tcp.dataRetries
      if (isHopeless || ((s.holes >= HOLES_MAX || s.bareRun >= BARE_RUN) && (hasOther || s.bareRun > 0))) {
        s.reset(RST_MIDDLEBOX)
        continue
      }
      if (hasOther) except = s.id
      else if (s.bareRun > 0) return // is the peer's option lost or is it gone? The next timeout knows more
    }
    // In the network of a subflow that does not answer: others bring it. Without others its own retransmission does; a copy beside that
    // would be taken for new data by a peer that has fallen back
    const isStale = s.rtoCount > 0 && c.hasOther(s)
    if (isStale && except < 0) except = s.id
    const isIncomplete = c.isChecksummed && s.tx.isPartOfCurrent(una)
    const from = isStale ? Infinity : isIncomplete ? una : s.tx.minUnacked()
    if (from < carried) {
      carried = from
      carrier = s
    }
  }
  if (carried > una) reinject(c, una, carried, except)
  else if (carrier !== null && c.hasOther(carrier)) reinject(c, una, Math.min(nxt, una + GRANT_MAX), carrier.id)
}

function reinject(c: MptcpConnection, from: number, to: number, except: number): void {
  // what waits already, and could not leave yet, need not wait twice
  if (c.rtx.next(from) && c.rtx.from === from && c.rtx.except === except) return
  c.rtx.add(from, to, except, REINJECT_DATA_RTO)
}

/** A subflow's first timeout: its bytes go elsewhere at once; a later one may cost it its life. @param n timeouts in a row. */
export function onSubflowRto(c: MptcpConnection, s: Subflow, n: number, now: Micros): void {
  if (n === STALE_RTOS && s.stale === null && c.isMptcp) {
    s.stale = new Stale(s, now)
    c.env.counters.SubflowStale++
  }
  if (!c.hasOther(s)) return
  if (n === 1) c.rtx.addUnacked(s.tx, c.snd.una, s.id, REINJECT_RTO)
  if (n < PIN_RTOS || s.tx === null || !isAnotherAnswering(c, s)) return
  if (!isPinning(c, s) && (n < COPY_RTOS || s.retained === null)) return
  c.env.counters.PinnedReset++
  s.reset(RST_TOO_MUCH_OUTSTANDING)
}

/** Everything else is through, but the bytes that only this subflow needs fill the buffer. */
function isPinning(c: MptcpConnection, s: Subflow): boolean {
  const { readyEnd, base, capacity } = c.sendQueue
  return c.snd.una > s.minNeeded() && readyEnd - base + Math.min(GRANT_MAX, capacity / 4) > capacity
}

/** One that does not answer either may be the one that never will. */
function isAnotherAnswering(c: MptcpConnection, s: Subflow): boolean {
  return c.subflows.some((o) => o !== s && o.isUsable && o.rtoCount === 0)
}
