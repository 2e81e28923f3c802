import type { IpAddress } from '../base/address.js'
import { type Micros, US_PER_S } from '../base/time.js'

/** One server, as a mapping is made for it. */
export interface Target {
  readonly remote: IpAddress
  readonly port: number
}

/** Of a target, to look up by. */
export function targetKey(remote: IpAddress, port: number): string {
  return `${remote.w0},${remote.w1},${remote.w2},${remote.w3},${port}`
}

/** Targets that were connected to last, the newest at the end: who comes up later asks for their mappings too. Bounded. */
export class Demands {
  private readonly byKey = new Map<string, Target & { at: Micros }>()
  private readonly limit: number

  constructor(limit: number) {
    this.limit = limit
  }

  touch(remote: IpAddress, port: number, now: Micros): void {
    const key = targetKey(remote, port)
    this.byKey.delete(key)
    this.byKey.set(key, { remote, port, at: now })
    if (this.byKey.size <= this.limit) return
    const [oldest] = this.byKey.keys()
    if (oldest !== undefined) this.byKey.delete(oldest)
  }

  forget(remote: IpAddress, port: number): void {
    this.byKey.delete(targetKey(remote, port))
  }

  /** Those since `from`, the newest first. */
  since(from: Micros): Target[] {
    return [...this.byKey.values()].filter((demand) => demand.at >= from).reverse()
  }
}

const FIRST_REFUSAL_US = 600 * US_PER_S
const LAST_REFUSAL_US = 7200 * US_PER_S

interface Refusal {
  until: Micros
  /** The next one lasts so long. */
  spanUs: Micros
}

/**
 * Targets that are not asked for at the moment: they do not speak MPTCP, or the detour denies them. Each is tried again, after 10
 * minutes at first, then after twice as long. Bounded: the oldest is forgotten, which costs one request.
 */
export class Refusals {
  private readonly byKey = new Map<string, Refusal>()
  private readonly limit: number

  constructor(limit: number) {
    this.limit = limit
  }

  get size(): number {
    return this.byKey.size
  }

  add(key: string, now: Micros): void {
    const known = this.byKey.get(key)
    if (known !== undefined && now < known.until) return
    const spanUs = known?.spanUs ?? FIRST_REFUSAL_US
    this.byKey.delete(key)
    this.byKey.set(key, { until: now + spanUs, spanUs: Math.min(2 * spanUs, LAST_REFUSAL_US) })
    if (this.byKey.size <= this.limit) return
    const [oldest] = this.byKey.keys()
    if (oldest !== undefined) this.byKey.delete(oldest)
  }

  has(key: string, now: Micros): boolean {
    const known = this.byKey.get(key)
    return known !== undefined && now < known.until
  }

  /** It was asked for, and all is well. */
  clear(key: string): void {
    this.byKey.delete(key)
  }
}
