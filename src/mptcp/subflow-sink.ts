import type { Micros } from '../base/time.js'
import { GRANT_MAX } from '../scheduler/scheduler.js'
import type { SeqOff } from '../tcp/extension.js'
import { RST_MIDDLEBOX } from '../wire/mptcp-options.js'
import { FB_INFINITE_RECEIVED, fallBack, isJoinPending, mayFallBack, onBadChecksum } from './fallback.js'
import { BARE_RUN, onUnmapped, UNMAPPED_IMPLIED, UNMAPPED_PLAIN, UNMAPPED_STAGE } from './options-in.js'
import { Staging } from './staging.js'
import { PHASE_PLAIN, PHASE_SYN } from './phase.js'
import type { Subflow } from './subflow.js'

/**
 * Where a subflow's payload goes: by its mapping into the connection's receive queue; without one, or with a checksum to be verified,
 * into the subflow's staging; after a fallback straight into the queue, as what came in a SYN (RFC 8684 appendix B.2: it has no mapping).
 * Returns how many bytes from the front were taken.
 */
export function acceptPayload(s: Subflow, seqOff: SeqOff, mem: Uint8Array, off: number, len: number, now: Micros): number {
  if (s.phase === PHASE_PLAIN || s.phase === PHASE_SYN) return acceptPlain(s, seqOff, mem, off, len)
  if (s.staging !== null || s.conn.isChecksummed) return stage(s, seqOff, s.ep.rcvNxt, mem, off, len)
  const isInOrder = seqOff <= s.ep.rcvNxt
  let done = 0
  while (done < len) {
    const at = seqOff + done
    const rx = s.rx
    const i = rx === null ? -1 : rx.find(at)
    if (rx === null || i < 0) {
      // later bytes may still get their mapping
      const gap = rx === null ? len - done : Math.min(len - done, rx.nextStart(at) - at)
      const result = isInOrder ? onUnmapped(s, at, gap, now) : UNMAPPED_STAGE
      if (result === UNMAPPED_IMPLIED) continue
      if (result === UNMAPPED_PLAIN) return done + acceptPlain(s, at, mem, off + done, len - done)
      return done + stage(s, at, isInOrder ? at : s.ep.rcvNxt, mem, off + done, len - done)
    }
    const n = Math.min(len - done, rx.endAt(i) - at)
    const taken = s.conn.rcv.receive(at + rx.diffAt(i), mem, off + done, n)
    done += taken
    if (taken < n) break
  }
  return done
}

function acceptPlain(s: Subflow, seqOff: SeqOff, mem: Uint8Array, off: number, len: number): number {
  const c = s.conn
  if (s.staging !== null) {
    // What is staged comes first: it may wait for memory, or for just these bytes, which fill a gap in it
    const taken = s.staging.accept(seqOff, mem, off, len)
    drainPlain(s)
    return taken
  }
  const taken = c.recvQueue.insert(c.rx.streamOfSeq(seqOff), mem, off, len)
  if (taken > 0) c.rcv.onReadable()
  return taken
}

/** @param start where staging begins if there is none yet: everything before is consumed. */
function stage(s: Subflow, seqOff: SeqOff, start: SeqOff, mem: Uint8Array, off: number, len: number): number {
  const c = s.conn
  if (s.staging === null) s.staging = new Staging(c.env.arena, start, Math.max(c.recvQueue.capacity, 2 * GRANT_MAX))
  if (!c.isChecksummed) c.env.counters.StagedBytes += len
  return s.staging.accept(seqOff, mem, off, len)
}

/** Moves on what is staged, as far as that is possible now. */
export function drainStaging(s: Subflow, staging: Staging, now: Micros): void {
  if (s.phase === PHASE_PLAIN) {
    drainPlain(s)
    return
  }
  const c = s.conn
  if (s.failAt >= 0) {
    s.isFailDue = true // said until the infinite mapping comes, or was lost in a box that joins segments: data goes on without options
    if (s.bareRun >= BARE_RUN && staging.isTailUnmapped(s.rx) && mayFallBack(c, s)) fallBack(c, s, FB_INFINITE_RECEIVED, now)
    return
  }
  staging.fillTo(s.payloadNxt)
  while (staging.isHeadUnmapped(s.rx)) {
    const result = onUnmapped(s, staging.queue.base, staging.unmappedLen(s.rx), now)
    if (result === UNMAPPED_PLAIN) return // all of it was delivered
    if (result === UNMAPPED_STAGE) break
    if (!deliverMapped(s, staging, now)) return
  }
  if (!deliverMapped(s, staging, now) || staging.waiting < staging.queue.capacity - GRANT_MAX) return
  if (c.isChecksummed && !staging.isHeadUnmapped(s.rx)) return // the rest of a mapping is awaited
  if (isJoinPending(c) && !c.hasOther(s)) return // if it is refused, this is a fallback
  // §3.3.1: no mapping within a receive window of data
  c.env.counters.UnmappedReset++
  s.reset(RST_MIDDLEBOX)
}

/** False: nothing is left, or a checksum was wrong. */
function deliverMapped(s: Subflow, staging: Staging, now: Micros): boolean {
  const c = s.conn
  const bad = staging.deliver(s.rx, c.isChecksummed, c.rcv)
  if (bad >= 0) onBadChecksum(c, s, bad, now)
  else if (staging.queue.isEmpty) {
    staging.dispose()
    s.staging = null
  } else return true
  return false
}

/** What is staged is stream data: the connection has fallen back. */
export function drainPlain(s: Subflow): void {
  const staging = s.staging
  if (staging === null) return
  const c = s.conn
  // bytes that came out of order with their mapping, before the staging began, are in the queue and not here
  staging.fillTo(s.payloadNxt)
  if (!staging.deliverAll(c.rx.dataOfStream(c.rx.delta), c.rcv)) return
  staging.dispose()
  s.staging = null
}
