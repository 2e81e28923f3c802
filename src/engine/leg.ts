import type { MptcpConnection } from '../mptcp/connection.js'
import { CLOSED, TIME_WAIT } from '../tcp/state.js'
import type { Engine } from './engine.js'

/** A connection that is closed and whose subflows are all gone, or linger in TIME-WAIT, which they do without it. */
export function isSpent(conn: MptcpConnection): boolean {
  if (!conn.isClosed) return false
  for (const s of conn.subflows) if (s.ep.state !== TIME_WAIT && !(s.ep.state === CLOSED && s.ep.isDone)) return false
  return true
}

/** The owner forgets `conn`: whatever is left of its subflows goes, those in TIME-WAIT live on by themselves. */
export function releaseSubflows(engine: Engine, conn: MptcpConnection): void {
  for (const s of conn.subflows) engine.release(s.ep)
}
