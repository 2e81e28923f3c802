import { execFile, execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

/** Whether interfaces and namespaces can be made here. */
export const isRoot = process.getuid?.() === 0 && existsSync('/dev/net/tun')

/** The addon as `npm run native` leaves it. */
export function addonPath(): string {
  return fileURLToPath(new URL('../../../build/Release/mptcpnet.node', import.meta.url))
}

export interface TestNamespace {
  /** For `TunOptions.netns`. */
  readonly path: string
  /** Runs `ip` in it. */
  ip(command: string): void
  /** Runs a command in it; its exit code. */
  run(argv: readonly string[]): Promise<number>
}

let made = 0

/** Runs `body` with a network namespace of its own, which is gone afterwards. */
export async function inNamespace(body: (ns: TestNamespace) => Promise<void>): Promise<void> {
  const name = `mptcp-unit-${process.pid}-${made++}`
  execFileSync('ip', ['netns', 'add', name])
  try {
    await body({
      path: `/run/netns/${name}`,
      ip: (command) => void execFileSync('ip', ['-n', name, ...command.split(' ')], { stdio: 'pipe' }),
      run: (argv) =>
        new Promise((resolve) => {
          const child = execFile('ip', ['netns', 'exec', name, ...argv], { timeout: 20_000 }, () => resolve(child.exitCode ?? -1))
        }),
    })
  } finally {
    execFileSync('ip', ['netns', 'del', name])
  }
}
