import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'

/** How a command ended. `code` is null when a signal ended it. */
export interface ExecResult {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
  readonly elapsedMs: number
}

export interface ExecOptions {
  /** After this long the command is killed and the call throws. Default 60 s. */
  readonly timeoutMs?: number
  /** Written to standard input, which is then closed. */
  readonly input?: string | Buffer
  readonly env?: Readonly<Record<string, string>>
}

/** Runs a command to its end, whatever its exit code. Throws when it cannot be started or does not end in time. */
export async function exec(argv: readonly string[], options: ExecOptions = {}): Promise<ExecResult> {
  const { timeoutMs = 60_000, input, env } = options
  const startedAt = performance.now()
  const child = start(argv, env)
  const stdout = collect(child.stdout)
  const stderr = collect(child.stderr)
  child.stdin?.on('error', () => {}) // a command may end without reading its input
  child.stdin?.end(input)
  const timer = setTimeout(() => child.kill('SIGKILL'), timeoutMs)
  try {
    const [code] = (await once(child, 'close')) as [number | null]
    const elapsedMs = performance.now() - startedAt
    if (code === null && elapsedMs >= timeoutMs) {
      throw new Error(`no end within ${timeoutMs} ms: ${argv.join(' ')}\n${stdout.text()}${stderr.text()}`)
    }
    return { code, stdout: stdout.text(), stderr: stderr.text(), elapsedMs }
  } finally {
    clearTimeout(timer)
  }
}

/** As `exec`, and throws unless the exit code is 0. */
export async function execOk(argv: readonly string[], options: ExecOptions = {}): Promise<ExecResult> {
  const result = await exec(argv, options)
  if (result.code !== 0) throw new Error(`exit code ${result.code}: ${argv.join(' ')}\n${result.stdout}${result.stderr}`)
  return result
}

/** A command that keeps running, with its output line by line. */
export class Background {
  /** Lines of standard output and standard error so far, in the order of arrival. */
  readonly lines: string[] = []
  readonly exited: Promise<number | null>
  private readonly child: ChildProcess
  private readonly argv: readonly string[]
  private hasExited = false
  private wake: (() => void)[] = []

  constructor(argv: readonly string[], env?: Readonly<Record<string, string>>) {
    this.argv = argv
    this.child = start(argv, env)
    this.child.stdin?.end()
    for (const stream of [this.child.stdout, this.child.stderr]) this.splitLines(stream)
    this.exited = new Promise((resolve) => {
      this.child.once('error', (error) => this.lines.push(String(error)))
      this.child.once('close', (code) => {
        this.hasExited = true
        this.notify()
        resolve(code)
      })
    })
  }

  get pid(): number {
    return this.child.pid ?? -1
  }

  get isRunning(): boolean {
    return !this.hasExited
  }

  /** The first line, from index `from` on, that `matches`; throws when the command ends before it or `timeoutMs` pass. */
  async waitLine(matches: RegExp | ((line: string) => boolean), timeoutMs = 10_000, from = 0): Promise<string> {
    const test = typeof matches === 'function' ? matches : (line: string): boolean => matches.test(line)
    const deadline = performance.now() + timeoutMs
    let next = from
    for (;;) {
      for (; next < this.lines.length; next++) {
        const line = this.lines[next] ?? ''
        if (test(line)) return line
      }
      const leftMs = deadline - performance.now()
      if (this.hasExited || leftMs <= 0) {
        const why = this.hasExited ? 'ended' : `did not print it within ${timeoutMs} ms`
        throw new Error(`waiting for ${matches}: ${this.argv.join(' ')} ${why}; its output:\n${this.lines.join('\n')}`)
      }
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, leftMs)
        this.wake.push(() => {
          clearTimeout(timer)
          resolve()
        })
      })
    }
  }

  kill(signal: NodeJS.Signals): void {
    if (!this.hasExited) this.child.kill(signal)
  }

  /** Ends the command by `signal`, by SIGKILL after `graceMs`; returns its exit code (null: ended by a signal). */
  async stop(signal: NodeJS.Signals = 'SIGTERM', graceMs = 5_000): Promise<number | null> {
    this.kill(signal)
    const timer = setTimeout(() => this.kill('SIGKILL'), graceMs)
    const code = await this.exited
    clearTimeout(timer)
    return code
  }

  private splitLines(stream: NodeJS.ReadableStream | null): void {
    let rest = ''
    stream?.setEncoding('utf8')
    stream?.on('data', (text: string) => {
      const parts = (rest + text).split('\n')
      rest = parts.pop() ?? ''
      this.lines.push(...parts)
      this.notify()
    })
    stream?.on('end', () => {
      if (rest !== '') this.lines.push(rest)
      this.notify()
    })
  }

  private notify(): void {
    const wake = this.wake
    this.wake = []
    for (const resume of wake) resume()
  }
}

function start(argv: readonly string[], env?: Readonly<Record<string, string>>): ChildProcess {
  const [command, ...args] = argv
  if (command === undefined) throw new Error('empty command')
  return spawn(command, args, { env: { ...process.env, ...env, LC_ALL: 'C' }, stdio: ['pipe', 'pipe', 'pipe'] })
}

function collect(stream: NodeJS.ReadableStream | null): { text(): string } {
  const chunks: Buffer[] = []
  stream?.on('data', (chunk: Buffer) => chunks.push(chunk))
  return { text: () => Buffer.concat(chunks).toString('utf8') }
}

/** Asks `condition` every 100 ms; true as soon as it holds, false after `timeoutMs`. */
export async function becomes(condition: () => Promise<boolean>, timeoutMs: number): Promise<boolean> {
  const deadline = performance.now() + timeoutMs
  while (!(await condition())) {
    if (performance.now() > deadline) return false
    await sleep(100)
  }
  return true
}
