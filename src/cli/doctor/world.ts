import { execFile } from 'node:child_process'
import { closeSync, constants, openSync, readFileSync } from 'node:fs'
import { release } from 'node:os'
import { type HostFacts, readFacts } from '../../host/facts.js'
import { type HostState, isRunning, readStates } from '../../host/state-file.js'
import { type Native, native } from '../../tun/native.js'

/** How a program ended. `code` -1: it could not be started. */
export interface Ran {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

/** Everything that the doctor looks at; tests make up their own. */
export interface DoctorWorld {
  readonly uid: number
  readonly node: string
  readonly kernel: string
  readonly now: Date
  /** Text of a file, null when it cannot be read. */
  read(path: string): string | null
  /** Opens a device for reading and writing and closes it; the error's code, null: it went well. */
  openDevice(path: string): string | null
  run(argv: readonly string[]): Promise<Ran>
  /** The addon; a text: why it cannot be loaded. */
  readonly addon: Pick<Native, 'capabilities' | 'offloads' | 'isClockSynchronised'> | string
  /** A text: why they cannot be read. */
  readonly facts: HostFacts | string
  /** State files of daemons in this network namespace. */
  readonly states: readonly { readonly state: HostState; readonly isRunning: boolean }[]
}

/** This host, in the network namespace of this process. */
export async function realWorld(): Promise<DoctorWorld> {
  const addon = attempt(native)
  const cookie = typeof addon === 'string' ? null : attempt(() => addon.netnsCookie())
  return {
    uid: process.geteuid?.() ?? -1,
    node: process.versions.node,
    kernel: release(),
    now: new Date(),
    read: (path) => {
      try {
        return readFileSync(path, 'utf8')
      } catch {
        return null
      }
    },
    openDevice: (path) => {
      try {
        closeSync(openSync(path, constants.O_RDWR))
        return null
      } catch (error) {
        return (error as NodeJS.ErrnoException).code ?? 'EIO'
      }
    },
    run: (argv) => runProgram(argv),
    addon,
    facts: await readFacts().catch(messageOf),
    states: cookie === null ? [] : readStates(cookie).map((state) => ({ state, isRunning: isRunning(state) })),
  }
}

function attempt<T>(make: () => T): T | string {
  try {
    return make()
  } catch (error) {
    return messageOf(error)
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

function runProgram(argv: readonly string[]): Promise<Ran> {
  const [program = '', ...args] = argv
  return new Promise((resolve) => {
    execFile(program, args, { encoding: 'utf8', timeout: 10_000, maxBuffer: 64 << 20 }, (error, stdout, stderr) => {
      const code = error === null ? 0 : typeof error.code === 'number' ? error.code : -1
      resolve({ code, stdout, stderr: stderr || (error?.message ?? '') })
    })
  })
}
