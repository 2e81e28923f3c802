import { fstatSync } from 'node:fs'
import type { LogFormat, LogLevel } from '../config/daemon-config.js'

const RANK: Readonly<Record<LogLevel, number>> = { error: 0, warn: 1, info: 2, debug: 3 }
/** Syslog priorities, sd-daemon(3). */
const PRIORITY: Readonly<Record<LogLevel, number>> = { error: 3, warn: 4, info: 6, debug: 7 }

/** Of the same message, so many are written per window; the others are counted, and the count is written at its end. */
const BURST = 5
const WINDOW_MS = 1000
/** Messages that are watched at the same time; of more the oldest are forgotten. */
const MAX_WATCHED = 256

/** Details of such a name are not shown. */
const SECRET_NAME = /key|token|secret|password|hmac|nonce|psk/i

/** Where lines go and what time it is; tests bring their own. */
export interface LogSink {
  readonly isTty: boolean
  /** The journal reads what is written: it gets its priority prefix. */
  readonly isJournal: boolean
  nowMs(): number
  write(line: string): void
  /** Calls `run` after `ms`; nothing waits for it. */
  later(ms: number, run: () => void): void
}

interface Watched {
  count: number
  level: LogLevel
}

/**
 * Log lines on stderr: for people on a terminal, one JSON object a line otherwise. Never a key, never payload.
 * A message is a constant text; what varies goes into `details`, so that repetitions are recognised and held back.
 */
export class Log {
  private readonly sink: LogSink
  private readonly watched = new Map<string, Watched>()
  private rank = RANK.info
  private isText = false

  constructor(level: LogLevel, format: LogFormat, sink: LogSink = stderrSink()) {
    this.sink = sink
    this.configure(level, format)
  }

  /** From now on; a reload may change both. */
  configure(level: LogLevel, format: LogFormat): void {
    this.rank = RANK[level]
    this.isText = format === 'text' || (format === 'auto' && this.sink.isTty)
  }

  error(message: string, details: object = {}): void {
    this.log('error', message, details)
  }
  warn(message: string, details: object = {}): void {
    this.log('warn', message, details)
  }
  info(message: string, details: object = {}): void {
    this.log('info', message, details)
  }
  debug(message: string, details: object = {}): void {
    this.log('debug', message, details)
  }

  private log(level: LogLevel, message: string, details: object): void {
    if (RANK[level] > this.rank) return
    const watched = this.watched.get(message)
    if (watched === undefined) this.watch(level, message)
    else if (++watched.count > BURST) return
    this.write(level, message, details)
  }

  private watch(level: LogLevel, message: string): void {
    const [oldest] = this.watched.keys()
    if (this.watched.size >= MAX_WATCHED && oldest !== undefined) this.release(oldest)
    const entry: Watched = { count: 1, level }
    this.watched.set(message, entry)
    this.sink.later(WINDOW_MS, () => {
      if (this.watched.get(message) === entry) this.release(message)
    })
  }

  /** The window of a message ends; what was held back is told by its number. */
  private release(message: string): void {
    const entry = this.watched.get(message)
    this.watched.delete(message)
    if (entry !== undefined && entry.count > BURST) this.write(entry.level, message, { suppressed: entry.count - BURST })
  }

  private write(level: LogLevel, message: string, details: object): void {
    const time = new Date(this.sink.nowMs()).toISOString()
    const shown = Object.entries(details).map(([name, value]) => [name, SECRET_NAME.test(name) ? '[hidden]' : value] as const)
    const line = this.isText
      ? `${time} ${level.padEnd(5)} ${message}${shown.map(([name, value]) => ` ${name}=${textOf(value)}`).join('')}`
      : JSON.stringify({ time, level, message, ...Object.fromEntries(shown) })
    this.sink.write(`${this.sink.isJournal ? `<${PRIORITY[level]}>` : ''}${line}\n`)
  }
}

/** One line: control characters of whoever caused the message must not reach a terminal. */
function textOf(value: unknown): string {
  const text = typeof value === 'string' ? value : JSON.stringify(value)
  return /^[^\s"=\p{C}]+$/u.test(text) ? text : JSON.stringify(text)
}

function stderrSink(): LogSink {
  return {
    isTty: process.stderr.isTTY === true,
    isJournal: isJournal(),
    nowMs: Date.now,
    write: (line) => {
      process.stderr.write(line)
    },
    later: (ms, run) => {
      setTimeout(run, ms).unref()
    },
  }
}

/** Whether stderr is the journal's: systemd says which device and inode that would be (systemd.exec(5), JOURNAL_STREAM). */
function isJournal(): boolean {
  try {
    const { dev, ino } = fstatSync(process.stderr.fd)
    return process.env.JOURNAL_STREAM === `${dev}:${ino}`
  } catch {
    return false
  }
}
