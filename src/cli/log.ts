import type { LogLevel } from '../config/daemon-config.js'

const RANK: Readonly<Record<LogLevel, number>> = { error: 0, warn: 1, info: 2, debug: 3 }

/** The same message is written at most this often. */
const REPEAT_MS = 1000

/** Log lines on stderr: for people on a terminal, one JSON object a line otherwise. Never a key, never payload. */
export class Log {
  private readonly rank: number
  private readonly lastAt = new Map<string, number>()
  private readonly isTty = process.stderr.isTTY === true

  constructor(level: LogLevel) {
    this.rank = RANK[level]
  }

  error(message: string, details: object = {}): void {
    this.write('error', message, details)
  }
  warn(message: string, details: object = {}): void {
    this.write('warn', message, details)
  }
  info(message: string, details: object = {}): void {
    this.write('info', message, details)
  }
  debug(message: string, details: object = {}): void {
    this.write('debug', message, details)
  }

  private write(level: LogLevel, message: string, details: object): void {
    if (RANK[level] > this.rank) return
    const now = Date.now()
    if (now - (this.lastAt.get(message) ?? 0) < REPEAT_MS) return
    this.lastAt.set(message, now)
    const time = new Date(now).toISOString()
    const rest = Object.entries(details).map(([key, value]) => ` ${key}=${typeof value === 'string' ? value : JSON.stringify(value)}`)
    const line = this.isTty ? `${time} ${level} ${message}${rest.join('')}` : JSON.stringify({ time, level, message, ...details })
    process.stderr.write(`${line}\n`)
  }
}
