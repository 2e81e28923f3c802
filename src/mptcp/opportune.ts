import { REINJECT_BLOCKED } from '../scheduler/scheduler.js'
import type { MptcpConnection } from './connection.js'
import type { Subflow } from './subflow.js'

/** Less room than this is none: a segment would not fit. */
const ROOM_MIN = 1_400

/**
 * Opportunistic retransmission (Raiciu et al., NSDI 2012, §4.2): the window or the buffer is full because the oldest byte is still on its
 * way on a slow subflow, while a faster one could send and has nothing to. It sends that byte's mapping once more; whichever copy
 * comes first opens the window. Once per byte. True: something waits for reinjection now.
 */
export function retransmitOpportunely(c: MptcpConnection): boolean {
  const { una, nxt } = c.snd
  const { rtx } = c
  if (c.subflows.length < 2 || rtx.count > 0 || una >= nxt || una < rtx.opportuneTo || !isBlocked(c)) return false
  for (let i = 0; i < c.subflows.length; i++) {
    const slow = c.subflows[i] as Subflow
    if (!slow.isLive || slow.tx === null) continue
    let end = slow.tx.endInFlight(una)
    if (end < 0) continue
    if (end === slow.carriedTo && end - slow.reserved > una) end -= slow.reserved // what waits for its turn there is not late yet
    const room = roomOfFaster(c, slow)
    if (room < ROOM_MIN) return false
    const to = Math.min(end, una + room)
    rtx.add(una, to, slow.id, REINJECT_BLOCKED)
    rtx.opportuneTo = to
    c.env.counters.OpportunisticBytes += to - una
    return true
  }
  return false
}

/** Nothing new can be sent although there is (or would be) something: the peer's window, or our own buffer. */
function isBlocked(c: MptcpConnection): boolean {
  const queue = c.sendQueue
  if (c.tx.dataOfStream(queue.readyEnd) > c.snd.nxt) return c.snd.edge - c.snd.nxt < ROOM_MIN
  return queue.finAt < 0 && queue.readyEnd - queue.base + ROOM_MIN > queue.capacity
}

/** Largest room of the subflows that are faster than `slow`, and no worse by preference. */
function roomOfFaster(c: MptcpConnection, slow: Subflow): number {
  let room = 0
  for (let i = 0; i < c.subflows.length; i++) {
    const s = c.subflows[i] as Subflow
    if (s === slow || !s.isUsable || s.rtoCount > 0 || s.srttUs >= slow.srttUs || (s.isBackup && !slow.isBackup)) continue
    room = Math.max(room, s.sendSpace())
  }
  return room
}
