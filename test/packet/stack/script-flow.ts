import { type Micros, NEVER } from '../../../src/base/time.js'
import { PlainFlow } from '../../../src/tcp/plain.js'
import type { OptionsVerdict, Run, SeqOff } from '../../../src/tcp/extension.js'
import type { Packet } from '../../../src/wire/packet.js'
import type { TcpOptions } from '../../../src/wire/tcp-options.js'

/** Why a segment that is not full waits: TCP_CORK, or MSG_MORE of the last write. */
export type Hold = 'none' | 'cork' | 'more'

/** How an application writes: MSG_MORE, or MSG_EOR, which ends a record. */
export type WriteMode = 'plain' | 'more' | 'record'

/** A plain flow with what a socket of Linux does between its queue and TCP: corks, records, and the number of keepalives. */
export class ScriptFlow extends PlainFlow {
  /** TCP_KEEPCNT. */
  keepCount = 9
  private hold: Hold = 'none'
  /** The last write said that more follows: what leaves is not pushed. */
  private isUnpushed = false
  private releaseAt: Micros = NEVER

  /** Fast Open cookie of the SYN/ACK, null: it had none. */
  cookie: Uint8Array | null = null

  override onOptions(pkt: Packet, opts: TcpOptions, segOff: SeqOff, ackOff: SeqOff, now: Micros): OptionsVerdict {
    if (opts.fastOpenLen > 0) this.cookie = pkt.mem.slice(opts.fastOpenOff, opts.fastOpenOff + opts.fastOpenLen)
    return super.onOptions(pkt, opts, segOff, ackOff, now)
  }

  override keepalives(): number {
    return this.keepCount
  }

  /** One byte more than there is keeps PSH off. */
  override pending(): number {
    const n = this.released()
    return n > 0 && this.isUnpushed ? n + 1 : n
  }

  override prepare(seqOff: SeqOff, maxLen: number, now: Micros, run: Run): boolean {
    return super.prepare(seqOff, Math.min(maxLen, this.released()), now, run)
  }

  /** Bytes that may leave. */
  private released(): number {
    const all = super.pending()
    const sent = this.out.readyEnd - all
    const end = this.recordEnd(sent)
    if (end < Number.POSITIVE_INFINITY) return end - sent
    return this.hold === 'none' ? all : all - (all % this.mss)
  }

  /** Ends of records in the stream: no segment goes across one. */
  private readonly records: number[] = []

  /** Where the record ends that holds byte `off` of the stream; Infinity: it has no end yet. */
  private recordEnd(off: number): number {
    return this.records.find((end) => end > off) ?? Number.POSITIVE_INFINITY
  }

  override runAt(seqOff: SeqOff, maxLen: number, run: Run): boolean {
    return super.runAt(seqOff, Math.min(maxLen, this.recordEnd(seqOff - 1) - (seqOff - 1)), run)
  }

  /** What a record ends with waits for nothing. */
  override isEnding(): boolean {
    return super.isEnding() || this.recordEnd(this.out.readyEnd - super.pending()) < this.out.readyEnd
  }

  /** Payload of a full segment. */
  mss = 1

  /** The application has written. @param rtoUs after which what is held leaves in any case, unless something is in flight */
  onWrite(mode: WriteMode, rtoUs: Micros, now: Micros): void {
    const isMore = mode === 'more'
    if (mode === 'record') this.records.push(this.out.readyEnd)
    this.isUnpushed = isMore
    if (this.hold !== 'cork') this.hold = isMore ? 'more' : 'none'
    if (this.hold === 'none') this.releaseAt = NEVER
    else if (this.releaseAt === NEVER) this.releaseAt = now + rtoUs
  }

  /** TCP_CORK; without it what waits leaves. */
  cork(isOn: boolean): void {
    if (isOn) this.hold = 'cork'
    else this.release()
  }

  /** TCP_NODELAY, and the end of a cork. */
  release(): void {
    this.hold = 'none'
    this.releaseAt = NEVER
  }

  override acked(seqOff: SeqOff, now: Micros): void {
    super.acked(seqOff, now)
    while ((this.records[0] ?? Number.POSITIVE_INFINITY) <= this.out.base) this.records.shift()
    if (this.hold === 'more') this.release() // Linux: the flag was for that write alone
  }

  override nextTimeout(): Micros {
    return this.hold === 'none' || super.pending() === 0 ? NEVER : this.releaseAt
  }

  override onTimeout(): void {
    this.isUnpushed = false
    const { hold } = this
    this.release()
    if (hold === 'cork') this.isCorkLifted = true
  }

  /** The timer has let out what a cork held; the cork itself stays. */
  private isCorkLifted = false

  override commit(...args: Parameters<PlainFlow['commit']>): void {
    super.commit(...args)
    if (this.isCorkLifted) this.hold = 'cork'
    this.isCorkLifted = false
  }
}
