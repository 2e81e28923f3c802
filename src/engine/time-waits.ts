import { FlowTable } from '../base/flow-table.js'
import type { Tuple } from '../base/address.js'
import type { TxRing } from '../base/rings.js'
import { type Micros, NEVER, US_PER_MS } from '../base/time.js'
import { TimerQueue } from '../base/timers.js'
import type { TcpEndpoint } from '../tcp/endpoint.js'
import { TimeWait, TW_RESTART, TW_REUSE, TW_SILENT, type TimeWaitVerdict } from '../tcp/time-wait.js'
import type { Packet } from '../wire/packet.js'
import type { TcpOptions } from '../wire/tcp-options.js'
import type { Engine } from './engine.js'
import type { Owner, Port } from './owner.js'

/** Entries are taken out this often at most; one that is over is not found meanwhile. */
const SWEEP_US: Micros = 100 * US_PER_MS

/** All connections in TIME-WAIT that nobody owns any more. Bounded: the oldest goes for a new one. */
export class TimeWaits implements Owner {
  timer = -1
  isDirty = false
  private readonly engine: Engine
  private readonly max: number
  private readonly table: FlowTable<TimeWait>
  private readonly ends = new TimerQueue()
  /** By their ids in `ends`. */
  private readonly entries: (TimeWait | null)[] = []
  private readonly durationUs: number[] = []

  /** @param max entries */
  constructor(engine: Engine, max: number) {
    this.engine = engine
    this.max = max
    this.table = new FlowTable<TimeWait>(engine.host.rng(), engine.host.rng())
  }

  get size(): number {
    return this.table.size
  }

  /** Pumped with whatever comes first; it never sends by itself. */
  get port(): Port {
    return this.engine.ports[0] as Port
  }

  /** Takes over from `ep`, which is in TIME-WAIT and whose tuple is unbound. @param port by which its last ACK leaves if it is due */
  add(ep: TcpEndpoint, port: Port, now: Micros): void {
    const { ends, engine } = this
    if (this.max === 0) {
      engine.counters.TcpExtTCPTimeWaitOverflow++
      return
    }
    if (this.size >= this.max) {
      engine.counters.TcpExtTCPTimeWaitOverflow++
      this.drop(this.entries[ends.popDue(NEVER)] as TimeWait)
    }
    const entry = new TimeWait(ep, now)
    const { local: l, remote: r, localPort, remotePort } = entry.tuple
    entry.id = ends.add()
    ends.arm(entry.id, ep.snd.rexmitAt)
    this.entries[entry.id] = entry
    this.durationUs[entry.id] = ep.cfg.timeWaitUs
    this.table.set(l.w0, l.w1, l.w2, l.w3, r.w0, r.w1, r.w2, r.w3, (localPort << 16) | remotePort, entry)
    if (ep.rcv.ackNow) this.answer(entry, port, now)
    if (this.timer < 0) engine.addOwner(this)
    else engine.mark(this)
  }

  /** The entry of the tuple that received packets with these words belong to, null: none. */
  find(
    l0: number,
    l1: number,
    l2: number,
    l3: number,
    r0: number,
    r1: number,
    r2: number,
    r3: number,
    ports: number,
    now: Micros,
  ): TimeWait | null {
    if (this.table.size === 0) return null
    const entry = this.table.find(l0, l1, l2, l3, r0, r1, r2, r3, ports)
    return entry === null || this.ends.deadline(entry.id) <= now ? null : entry
  }

  findTuple(t: Tuple, now: Micros): TimeWait | null {
    const l = t.local
    const r = t.remote
    return this.find(l.w0, l.w1, l.w2, l.w3, r.w0, r.w1, r.w2, r.w3, (t.localPort << 16) | t.remotePort, now)
  }

  /** A segment for `entry`. True: a SYN that may open the successor, which is the caller's business. */
  onSegment(entry: TimeWait, port: Port, pkt: Packet, opts: TcpOptions, now: Micros): boolean {
    const verdict: TimeWaitVerdict = entry.onSegment(pkt, opts, now)
    if (verdict === TW_REUSE) return true
    if (verdict === TW_RESTART) this.ends.arm(entry.id, now + (this.durationUs[entry.id] as number))
    if (verdict !== TW_SILENT) this.answer(entry, port, now)
    return false
  }

  /** The tuple has a new owner, or its wait is over. Idempotent. */
  drop(entry: TimeWait): void {
    const { id, tuple } = entry
    if (id < 0) return
    const l = tuple.local
    const r = tuple.remote
    this.table.delete(l.w0, l.w1, l.w2, l.w3, r.w0, r.w1, r.w2, r.w3, (tuple.localPort << 16) | tuple.remotePort)
    this.ends.remove(id)
    this.entries[id] = null
    entry.id = -1
  }

  /** Whatever waits under `t` is succeeded. */
  succeed(t: Tuple): void {
    if (this.table.size === 0) return
    const l = t.local
    const r = t.remote
    const entry = this.table.find(l.w0, l.w1, l.w2, l.w3, r.w0, r.w1, r.w2, r.w3, (t.localPort << 16) | t.remotePort)
    if (entry !== null) this.drop(entry)
  }

  pump(_tx: TxRing, _now: Micros): boolean {
    return false
  }

  nextTimeout(): Micros {
    const next = this.ends.next()
    return next === NEVER ? NEVER : Math.ceil(next / SWEEP_US) * SWEEP_US
  }

  onTimeout(now: Micros): void {
    for (let id = this.ends.popDue(now); id >= 0; id = this.ends.popDue(now)) {
      this.engine.counters.TcpExtTW++
      this.drop(this.entries[id] as TimeWait)
    }
  }

  /** A bug in here: all of them go. */
  fail(): void {
    for (const entry of this.entries) if (entry !== null) this.drop(entry)
  }

  private answer(entry: TimeWait, port: Port, now: Micros): void {
    const { counters } = this.engine
    const { tx } = port
    const at = tx.begin()
    if (at < 0) {
      counters.EngineDropReplyFull++
      return
    }
    tx.end(entry.write(tx.bytes, at, now))
    counters.TcpOutSegs++
  }
}
