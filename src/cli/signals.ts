/** What the signals ask for. */
export interface SignalHandlers {
  /** SIGTERM or SIGINT for the first time. */
  end(): void
  /** Once more: at once. */
  hurry(): void
  /** SIGHUP. */
  reload(): void
}

/** Signals of which the first ends, and the second hurries. */
const END_SIGNALS = ['SIGTERM', 'SIGINT'] as const

/**
 * Listens to signals from the very start: what comes during set-up is kept until somebody handles it, so that no signal ends the
 * program in the middle of a change of the host.
 */
export class Signals {
  private handlers: SignalHandlers | null = null
  private ends = 0
  private isReloadAsked = false
  private readonly onEnd = () => {
    this.ends++
    if (this.ends === 1) this.handlers?.end()
    else this.handlers?.hurry()
  }
  private readonly onHup = () => {
    if (this.handlers === null) this.isReloadAsked = true
    else this.handlers.reload()
  }

  constructor() {
    for (const name of END_SIGNALS) process.on(name, this.onEnd)
    process.on('SIGHUP', this.onHup)
  }

  /** From now on `handlers` are told, at once about what came before. */
  handle(handlers: SignalHandlers): void {
    this.handlers = handlers
    if (this.isReloadAsked) handlers.reload()
    if (this.ends > 0) handlers.end()
    if (this.ends > 1) handlers.hurry()
  }

  /** Back to the system's ways. */
  close(): void {
    for (const name of END_SIGNALS) process.off(name, this.onEnd)
    process.off('SIGHUP', this.onHup)
  }
}
