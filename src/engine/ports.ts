import type { IpAddress } from '../base/address.js'
import type { FlowTable } from '../base/flow-table.js'
import type { Host } from '../base/host.js'
import { type Micros, US_PER_MS } from '../base/time.js'
import type { InitialNumbers } from '../tcp/isn.js'
import type { TimeWaits } from './time-waits.js'

/** Ports that flows of the stack use. Unlike Linux's range, as wide as it goes: masquerading keeps a port unless it is taken. */
export const PORT_MIN = 10_240
export const PORT_MAX = 65_535

/** Destinations share this many counters (RFC 6056 §3.3.4: table_length). */
const SLOTS = 1024
/** Ports asked in the order of the destination, then at random places of it, before all are. */
const STEPS = 8
const JUMPS = 32
/** How long it is believed that asking all ports of a destination is in vain; it takes milliseconds. */
const FULL_MS = 20

/**
 * Free local ports, per (stack address, destination). RFC 6056 §3.3.4, double-hash port selection: each destination has a secret order
 * of all ports, here not a rotation but one with a secret stride, and a counter that walks along it. So a port comes again only after
 * all others, which leaves the peer the longest time to forget it, and ports that are taken for long do not lie beside each other.
 */
export class PortPicker {
  private readonly host: Host
  private readonly numbers: InitialNumbers
  private readonly flows: Pick<FlowTable<object>, 'find'>
  private readonly timeWaits: Pick<TimeWaits, 'find'>
  private readonly min: number
  private readonly count: number
  private readonly counters = new Uint32Array(SLOTS)
  /** Which destination of the slot had none left, and until when not all are asked again, in milliseconds. */
  private readonly fullKey = new Int32Array(SLOTS)
  private readonly fullUntilMs = new Float64Array(SLOTS)

  /** @param flows, timeWaits what is taken. @param min,max the range, both included */
  constructor(
    host: Host,
    numbers: InitialNumbers,
    flows: Pick<FlowTable<object>, 'find'>,
    timeWaits: Pick<TimeWaits, 'find'>,
    min = PORT_MIN,
    max = PORT_MAX,
  ) {
    this.host = host
    this.numbers = numbers
    this.flows = flows
    this.timeWaits = timeWaits
    this.min = min
    this.count = max - min + 1
    for (let i = 0; i < SLOTS; i++) this.counters[i] = host.rng()
  }

  /** A port for a flow from `local` to remote:remotePort, 0 when all are in use. */
  pick(local: IpAddress, remote: IpAddress, remotePort: number, now: Micros): number {
    const { numbers, count } = this
    numbers.drawPort(local, remote, remotePort)
    const lo = numbers.portLo >>> 0
    const hi = numbers.portHi >>> 0
    const slot = lo % SLOTS
    const nowMs = Math.floor(now / US_PER_MS)
    const isFull = nowMs < (this.fullUntilMs[slot] as number) && this.fullKey[slot] === (hi | 0)
    const offset = Math.floor(lo / SLOTS) % count
    const stride = coprime(hi % count, count)
    const looks = STEPS + JUMPS + (isFull ? 0 : count)
    for (let i = 0; i < looks; i++) {
      // taken for long are those that were given out one after the other: away from them
      if (i >= STEPS && i < STEPS + JUMPS) this.counters[slot] = this.host.rng()
      const at = this.counters[slot] as number
      this.counters[slot] = at + 1
      const port = this.min + ((offset + (at % count) * stride) % count)
      if (this.isUsable(local, port, remote, remotePort, now)) return port
    }
    if (isFull) return 0
    this.fullKey[slot] = hi
    this.fullUntilMs[slot] = nowMs + FULL_MS
    return 0
  }

  private isUsable(l: IpAddress, port: number, r: IpAddress, remotePort: number, now: Micros): boolean {
    const ports = (port << 16) | remotePort
    if (this.flows.find(l.w0, l.w1, l.w2, l.w3, r.w0, r.w1, r.w2, r.w3, ports) !== null) return false
    const entry = this.timeWaits.find(l.w0, l.w1, l.w2, l.w3, r.w0, r.w1, r.w2, r.w3, ports, now)
    return entry === null || entry.mayReopen(now)
  }
}

/** The smallest number from `n` on that has no divisor in common with `count`. */
function coprime(n: number, count: number): number {
  let candidate = n
  while (gcd(candidate, count) !== 1) candidate++
  return candidate
}

function gcd(a: number, b: number): number {
  let x = a
  let y = b
  while (y !== 0) {
    const rest = x % y
    x = y
    y = rest
  }
  return x
}
