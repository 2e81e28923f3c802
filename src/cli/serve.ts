import { MptcpError } from '../base/errors.js'
import type { ConfigSource } from '../config/source.js'
import { Daemon, DRAIN_MS } from './daemon.js'
import { EXIT_FAILURE, EXIT_OK } from './exit-codes.js'
import { JSON_VERSION, type ReloadReply } from './json.js'
import type { Log } from './log.js'
import { Notifier } from './notify.js'
import { Signals } from './signals.js'

/**
 * The daemon's life, from set-up to the exit code:
 *
 *     set-up -> ready -> [reload]* -> end asked: drain up to 5 s -> reset -> everything undone -> exit code
 *                                          \--- asked again ---------^
 *
 * It is asked to end by SIGTERM, SIGINT, `down`, or by its own bugs; to reload by SIGHUP or `reload`.
 * @throws {MptcpError} when the set-up fails; then nothing is left of it.
 */
export async function serve(source: ConfigSource, log: Log): Promise<number> {
  const signals = new Signals()
  const notifier = new Notifier()
  try {
    return await new Service(source, log, notifier).run(signals)
  } finally {
    signals.close()
  }
}

class Service {
  private readonly source: ConfigSource
  private readonly log: Log
  private readonly notifier: Notifier
  private daemon: Daemon | null = null
  private isFailed = false
  private isEnding = false
  private isHurried = false
  private askEnd: () => void = () => {}
  private readonly endAsked = new Promise<void>((resolve) => {
    this.askEnd = resolve
  })
  /** Reloads one after the other; of those that wait, one is enough. */
  private reloading: Promise<unknown> = Promise.resolve()
  private isReloadQueued = false
  private reloads = 0
  private failedReloads = 0

  constructor(source: ConfigSource, log: Log, notifier: Notifier) {
    this.source = source
    this.log = log
    this.notifier = notifier
  }

  async run(signals: Signals): Promise<number> {
    const { log, notifier } = this
    const daemon = await Daemon.start(this.source.load(), log, {
      stop: (now) => {
        this.askEnd()
        if (now) this.hurry()
      },
      reload: () => this.reload(),
      fail: (what) => this.fail(what),
      info: () => ({ config: this.source.file, reloads: this.reloads, failedReloads: this.failedReloads }),
    })
    this.daemon = daemon
    const onBug = (error: unknown) => {
      log.error('internal error: the daemon ends', { stack: error instanceof Error ? (error.stack ?? error.message) : String(error) })
      this.fail('internal error')
    }
    process.on('uncaughtException', onBug)
    process.on('unhandledRejection', onBug)
    const watchdog = this.startWatchdog()
    process.stdout.write(`${daemon.readyLine()}\n`)
    log.debug('ready', { config: this.source.file })
    notifier.ready('running')
    signals.handle({ end: () => this.askEnd(), hurry: () => this.hurry(), reload: () => this.reloadBySignal() })
    await this.endAsked
    this.isEnding = true
    await this.reloading.catch(() => {})
    notifier.stopping('draining connections', DRAIN_MS + 5000)
    if (this.isHurried) daemon.hurry()
    const failures = await daemon.stop((failed) => (failed.length === 0 && !this.isFailed ? EXIT_OK : EXIT_FAILURE))
    clearInterval(watchdog)
    process.off('uncaughtException', onBug)
    process.off('unhandledRejection', onBug)
    return failures.length === 0 && !this.isFailed ? EXIT_OK : EXIT_FAILURE
  }

  private hurry(): void {
    this.isHurried = true
    this.daemon?.hurry()
  }

  /** Something cannot be mended: end, and say so by the exit code. */
  private fail(what: string): void {
    this.log.error('ending with failure', { reason: what })
    this.isFailed = true
    this.askEnd()
  }

  /** Applies the configuration anew; everything stays as it was on any error. @throws {MptcpError} */
  private reload(): Promise<ReloadReply> {
    const next = this.reloading.catch(() => {}).then(() => this.reloadNow())
    this.reloading = next
    return next
  }

  private async reloadNow(): Promise<ReloadReply> {
    const { daemon, log, notifier, source } = this
    if (daemon === null || this.isEnding) throw new MptcpError('ERR_DAEMON_ENDING', 'the daemon is about to end: nothing was reloaded')
    notifier.reloading()
    try {
      const diff = await daemon.reload(source.load())
      this.reloads++
      log.info('configuration reloaded', { file: source.file, changed: [...diff.atOnce, ...diff.newConnections] })
      if (diff.restart.length > 0) log.warn('these changes need a restart and were left out', { names: diff.restart })
      return { version: JSON_VERSION, file: source.file, ...diff }
    } catch (error) {
      this.failedReloads++
      log.error('reload failed, the old configuration stays', { error: error instanceof Error ? error.message : String(error) })
      throw error
    } finally {
      notifier.ready('running')
    }
  }

  private reloadBySignal(): void {
    if (this.isReloadQueued) return
    this.isReloadQueued = true
    void this.reloading
      .catch(() => {})
      .then(() => {
        this.isReloadQueued = false
        return this.reload()
      })
      .catch(() => {}) // logged already
  }

  private startWatchdog(): NodeJS.Timeout | undefined {
    const { watchdogMs } = this.notifier
    return watchdogMs === null ? undefined : setInterval(() => this.notifier.watchdog(), watchdogMs).unref()
  }
}
