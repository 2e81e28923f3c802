import { native } from '../tun/native.js'

/** What a notifier needs from the world; tests bring their own. */
export interface NotifyWorld {
  readonly env: Record<string, string | undefined>
  readonly pid: number
  /** CLOCK_MONOTONIC. */
  nowUs(): number
  send(path: string, text: string): void
}

/**
 * Tells the service manager how it goes, sd_notify(3): datagrams to the socket that NOTIFY_SOCKET names. Without it, nothing.
 * A message that cannot be sent is lost: no service manager is reason enough to end.
 */
export class Notifier {
  private readonly world: NotifyWorld
  private readonly path: string | null
  private readonly watchdogUs: number

  /** Takes the variables out of the environment, so that no child speaks for us. */
  constructor(world: NotifyWorld = realWorld()) {
    const { env } = world
    const path = env.NOTIFY_SOCKET ?? ''
    this.world = world
    this.path = path.startsWith('/') || path.startsWith('@') ? path : null
    const isOurs = env.WATCHDOG_PID === undefined || env.WATCHDOG_PID === String(world.pid)
    this.watchdogUs = this.path !== null && isOurs ? Number(env.WATCHDOG_USEC ?? 0) || 0 : 0
    for (const name of ['NOTIFY_SOCKET', 'WATCHDOG_USEC', 'WATCHDOG_PID']) delete env[name]
  }

  ready(status: string): void {
    this.send(`READY=1\nSTATUS=${status}\nMAINPID=${this.world.pid}`)
  }

  /** `ready` follows when the reload is done, whether well or not. */
  reloading(): void {
    this.send(`RELOADING=1\nMONOTONIC_USEC=${Math.floor(this.world.nowUs())}`)
  }

  /** @param withinMs how long it may take */
  stopping(status: string, withinMs: number): void {
    this.send(`STOPPING=1\nSTATUS=${status}\nEXTEND_TIMEOUT_USEC=${withinMs * 1000}`)
  }

  /** How often `watchdog` must be called at least, half of what the manager waits; null: never. */
  get watchdogMs(): number | null {
    return this.watchdogUs === 0 ? null : Math.max(1, Math.floor(this.watchdogUs / 2000))
  }

  watchdog(): void {
    this.send('WATCHDOG=1')
  }

  private send(text: string): void {
    if (this.path === null) return
    try {
      this.world.send(this.path, text)
    } catch {
      // The manager is gone or its queue is full; the next message may get through.
    }
  }
}

function realWorld(): NotifyWorld {
  return {
    env: process.env,
    pid: process.pid,
    nowUs: () => native().nowUs(),
    send: (path, text) => native().sendUnixDatagram(path, text),
  }
}
