import type { MptcpConnection } from './connection.js'
import { FB_NONE } from './fallback.js'
import type { DataOff } from './mapping.js'
import type { Subflow } from './subflow.js'

/** A subflow that needs so much of the send buffer for itself that others may have to wait. */
const PINNED_PART = 8

/**
 * Frees of the send queue what nobody needs any more: RFC 8684 §3.3.2, only what is DATA_ACKed and acknowledged on every live subflow that
 * carried it. True: it has shrunk.
 */
export function releaseSent(c: MptcpConnection): boolean {
  c.isReleaseDue = false
  const { sendQueue, snd, subflows } = c
  let upTo: number
  if (c.isMptcp) {
    let off = snd.una
    for (let i = 0; i < subflows.length; i++) {
      const s = subflows[i] as Subflow
      s.retire(snd.una)
      off = Math.min(off, neededBy(c, s))
    }
    upTo = c.tx.streamOfData(off)
  } else {
    const s = subflows[0]
    if (s === undefined || c.fallbackReason === FB_NONE) return false
    upTo = c.tx.streamOfSeq(s.ackedSeq)
  }
  if (upTo <= sendQueue.base) return false
  sendQueue.release(upTo)
  return true
}

/**
 * Smallest DataOff that `s` still needs in the send queue. What it needs although the data level has it, and what fills the buffer
 * so that the others stand still, it takes a copy of.
 */
function neededBy(c: MptcpConnection, s: Subflow): DataOff {
  const at = s.minNeeded()
  const { capacity, readyEnd, base } = c.sendQueue
  if (c.snd.una - at < capacity / PINNED_PART || readyEnd - base < capacity / 2 || !c.hasOther(s)) return at
  s.retain()
  return s.minNeeded()
}
