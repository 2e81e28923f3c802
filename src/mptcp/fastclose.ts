import { type Micros, NEVER } from '../base/time.js'
import { RST_UNSPECIFIED } from '../wire/mptcp-options.js'
import { bestSubflow } from './close.js'
import type { MptcpConnection } from './connection.js'
import type { Subflow } from './subflow.js'

/** Repetitions of a FASTCLOSE on an ACK (RFC 8684 §3.5). */
const FASTCLOSE_TRIES = 3

/** The abrupt end of a connection by us, RFC 8684 §3.5; exists from `abort` on. */
export class Fastclose {
  /** The subflow whose ACKs carry FASTCLOSE (option A), null: RSTs do (option R). */
  readonly on: Subflow | null
  private tries = 0
  /** When it is repeated. */
  at: Micros = NEVER

  constructor(c: MptcpConnection, now: Micros) {
    c.env.counters.MPFastcloseTx++
    const s = c.cfg.isFastcloseAcked ? bestSubflow(c) : null
    this.on = s?.isUsable ? s : null
    if (this.on === null) return
    this.at = now + this.on.ep.baseRtoUs()
    this.on.answer()
  }

  /** Options of `s` tell it. */
  isToldOn(s: Subflow): boolean {
    return this.on === null || this.on === s
  }

  /** No RST came: again, three times, and then it goes out on a RST. */
  onTimeout(now: Micros): void {
    const s = this.on
    this.at = NEVER
    if (s === null || !s.isLive) return
    if (++this.tries > FASTCLOSE_TRIES) {
      s.rstReason = RST_UNSPECIFIED
      s.ep.abort()
      return
    }
    s.conn.env.counters.MPFastcloseTx++
    this.at = now + s.ep.baseRtoUs() * 2 ** this.tries
    s.answer()
  }

  /** The endpoint of `s` is closed. */
  onSubflowDown(s: Subflow): void {
    if (s === this.on) this.at = NEVER
  }
}
