import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { MptcpError } from '../base/errors.js'
import type { ServeConfig } from '../detour/daemon/config.js'
import { DetourDaemon } from '../detour/daemon/daemon.js'
import { ControlServer } from '../engine/control.js'
import { native } from '../tun/native.js'
import { EXIT_FAILURE, EXIT_OK } from './exit-codes.js'
import type { Log } from './log.js'
import { Notifier } from './notify.js'
import { packageVersion } from './package-version.js'
import { CAP_NET_ADMIN, hasCap } from './privileges.js'
import { Signals } from './signals.js'

/** How long the end may take, for the service manager. */
const STOP_MS = 10_000

/**
 * The detour daemon's life: set-up, ready, requests until SIGTERM, SIGINT, or a bug; then everything is taken back.
 * @returns the exit code. @throws {MptcpError} when the set-up fails; then nothing is left of it.
 */
export async function serveDetour(config: ServeConfig, log: Log): Promise<number> {
  requireNetAdmin()
  const signals = new Signals()
  const notifier = new Notifier(notifyWorld())
  let daemon: DetourDaemon | null = null
  const control = await ControlServer.open(config.control, {
    status: () => {
      if (daemon === null) throw new MptcpError('ERR_DAEMON_STARTING', 'the daemon is not ready yet: ask again')
      return daemon.status()
    },
  })
  try {
    daemon = await DetourDaemon.start(config, log, packageVersion())
    const watchdog = notifier.watchdogMs === null ? undefined : setInterval(() => notifier.watchdog(), notifier.watchdogMs)
    process.stdout.write(`${daemon.readyLine()}\n`)
    notifier.ready('running')
    const isFailed = await ended(daemon, signals, notifier, log)
    notifier.stopping('removing mappings', STOP_MS)
    const failures = await daemon.stop()
    clearInterval(watchdog)
    for (const failure of failures) log.error('could not be undone', { failure })
    return failures.length === 0 && !isFailed ? EXIT_OK : EXIT_FAILURE
  } finally {
    await control.close()
    signals.close()
  }
}

/** Until somebody asks for the end; true: a bug did. */
function ended(daemon: DetourDaemon, signals: Signals, notifier: Notifier, log: Log): Promise<boolean> {
  return new Promise((resolve) => {
    const onBug = (error: unknown) => {
      log.error('internal error: the daemon ends', { stack: error instanceof Error ? (error.stack ?? error.message) : String(error) })
      resolve(true)
    }
    process.on('uncaughtException', onBug)
    process.on('unhandledRejection', onBug)
    signals.handle({
      end: () => resolve(false),
      hurry: () => resolve(false),
      reload: () => {
        notifier.reloading()
        daemon.reload()
        notifier.ready('running')
      },
    })
  })
}

/** Without the addon, which a detour need not have. @throws {MptcpError} ERR_PRIVILEGE */
function requireNetAdmin(): void {
  const mask = /^CapEff:\s*([\da-f]+)$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '0'
  if (hasCap(Number.parseInt(mask, 16), CAP_NET_ADMIN)) return
  throw new MptcpError('ERR_PRIVILEGE', 'CAP_NET_ADMIN is missing: run as root, or give this process that capability')
}

/** The addon sends to the service manager where it is; elsewhere systemd's own program does, which comes with systemd. */
function notifyWorld() {
  return {
    env: process.env,
    pid: process.pid,
    nowUs: () => Number(process.hrtime.bigint() / 1000n),
    send: (path: string, text: string) => {
      try {
        native().sendUnixDatagram(path, text)
      } catch {
        const env = { ...process.env, NOTIFY_SOCKET: path }
        spawn('systemd-notify', text.split('\n'), { env, stdio: 'ignore' }).on('error', () => {}) // then nobody is told
      }
    },
  }
}
