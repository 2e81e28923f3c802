import { US_PER_MS, US_PER_S } from '../../../src/base/time.js'
import type { TcpConfig } from '../../../src/tcp/config.js'
import type { Connection } from './connection.js'
import { CallError } from './errno.js'

type Config = { -readonly [K in keyof TcpConfig]: TcpConfig[K] }

/** A socket option of Linux whose value is a number. */
interface OptionRule {
  /** What `getsockopt` tells before it was set. */
  readonly initial: number
  readonly min?: number
  readonly max?: number
  /** Any value but 0 counts as 1. */
  readonly isFlag?: boolean
  /** What it changes of a connection's configuration; all options are applied whenever one changes. */
  readonly configure?: (cfg: Config, value: number, all: SocketOptions) => void
  /** What it does to a connection that exists, once. */
  readonly act?: (conn: Connection, value: number) => void
}

const FLAG: OptionRule = { initial: 0, isFlag: true }

/** TCP_MIN_MSS and MAX_TCP_WINDOW of Linux. */
const [MSS_MIN, MSS_MAX] = [88, 32_767]

const RULES: Readonly<Record<string, OptionRule>> = {
  SO_REUSEADDR: FLAG,
  SO_REUSEPORT: FLAG,
  SO_OOBINLINE: FLAG,
  SO_ZEROCOPY: FLAG, // a hint: without the error queue it cannot be told from a copy
  IP_FREEBIND: FLAG,
  IPV6_V6ONLY: FLAG,
  SO_KEEPALIVE: {
    ...FLAG,
    configure: (cfg, on, all) => {
      cfg.keepaliveUs = on * all.get('TCP_KEEPIDLE') * US_PER_S
      cfg.keepaliveIntervalUs = all.get('TCP_KEEPINTVL') * US_PER_S
    },
  },
  TCP_KEEPIDLE: { initial: 7200, min: 1, max: 32_767 },
  TCP_KEEPINTVL: { initial: 75, min: 1, max: 32_767 },
  TCP_KEEPCNT: { initial: 9, min: 1, max: 127, act: (conn, n) => conn.setKeepCount(n) },
  TCP_USER_TIMEOUT: {
    initial: 0,
    min: 0,
    configure: (cfg, ms) => {
      cfg.userTimeoutUs = ms * US_PER_MS
    },
  },
  TCP_SYNCNT: {
    initial: 0,
    min: 1,
    max: 127,
    configure: (cfg, n) => {
      if (n > 0) cfg.synRetries = n
    },
  },
  TCP_NODELAY: {
    ...FLAG,
    configure: (cfg, on) => {
      cfg.nagle = on === 0
    },
    act: (conn, on) => {
      if (on > 0) conn.uncork()
    },
  },
  TCP_CORK: { ...FLAG, act: (conn, on) => conn.cork(on > 0) },
  TCP_QUICKACK: { ...FLAG, initial: 1, act: (conn, on) => conn.quickAck(on > 0) },
  TCP_MAXSEG: {
    initial: 0,
    min: MSS_MIN,
    max: MSS_MAX,
    configure: (cfg, mss) => {
      if (mss > 0) {
        cfg.mss4 = Math.min(cfg.mss4, mss)
        cfg.mss6 = Math.min(cfg.mss6, mss)
      }
    },
  },
  TCP_NOTSENT_LOWAT: {
    initial: 0,
    act: (conn, bytes) => {
      conn.notSentMax = bytes > 0 ? bytes : Number.POSITIVE_INFINITY
    },
  },
  TCP_INQ: FLAG,
  TCP_FASTOPEN: { initial: 0, min: 0 },
  TCP_FASTOPEN_CONNECT: FLAG,
  TCP_FASTOPEN_NO_COOKIE: FLAG,
  TCP_LINGER2: { initial: 60 },
  IP_TTL: {
    initial: 64,
    min: 1,
    max: 255,
    configure: (cfg, ttl) => {
      cfg.ttl = ttl
    },
  },
}

/** Values of the options of a socket. What a listener has, its connections inherit. */
export class SocketOptions {
  private readonly values: Map<string, number>

  constructor(from: SocketOptions | null = null) {
    this.values = new Map(from?.values)
  }

  static isKnown(name: string): boolean {
    return RULES[name] !== undefined
  }

  /** Sets an option that is known. @throws CallError EINVAL for a value out of bounds, as Linux */
  set(name: string, value: number, conn: Connection | null): void {
    const rule = RULES[name] as OptionRule
    if (value < (rule.min ?? Number.NEGATIVE_INFINITY) || value > (rule.max ?? Number.POSITIVE_INFINITY)) throw new CallError('EINVAL')
    const taken = rule.isFlag === true ? (value !== 0 ? 1 : 0) : value
    this.values.set(name, taken)
    if (conn === null) return
    this.configure(conn)
    rule.act?.(conn, taken)
  }

  /** What the options do to a connection that has just begun, beyond its configuration. */
  act(conn: Connection): void {
    for (const [name, value] of this.values) RULES[name]?.act?.(conn, value)
  }

  get(name: string): number {
    return this.values.get(name) ?? (RULES[name] as OptionRule).initial
  }

  configure(conn: Connection): void {
    conn.configure((cfg) => {
      for (const name of this.values.keys()) RULES[name]?.configure?.(cfg, this.get(name), this)
    })
  }
}
