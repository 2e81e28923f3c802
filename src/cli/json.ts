import type { ConfigDiff } from '../config/diff.js'
import type { DetourStatus } from '../detour/provider.js'
import type { Status } from '../engine/status.js'

/** Version of every JSON object that the commands print (docs/json.md): it grows when a field goes or changes its meaning. */
export const JSON_VERSION = 1

/** `counters --json`. */
export interface CountersReply {
  readonly version: typeof JSON_VERSION
  readonly counters: Readonly<Record<string, number>>
}

/** `reload --json`: keys by what became of their change. */
export interface ReloadReply extends ConfigDiff {
  readonly version: typeof JSON_VERSION
  /** null: the daemon uses no file. */
  readonly file: string | null
}

/** `down --json`: how the daemon ended. */
export interface Outcome {
  readonly version: typeof JSON_VERSION
  readonly pid: number
  readonly exitCode: number
  /** What could not be undone. */
  readonly failures: readonly string[]
}

/** `path add --json`, `path set --json`. */
export interface PathReply {
  readonly version: typeof JSON_VERSION
  /** null: it is gone again. */
  readonly detour: DetourStatus | null
}

/** `path list --json`. */
export interface PathsReply {
  readonly version: typeof JSON_VERSION
  readonly detours: readonly DetourStatus[]
  readonly paths: Status['paths']
}

/** Whatever fails, with `--json`. */
export interface ErrorReply {
  readonly version: typeof JSON_VERSION
  readonly error: { readonly code: string; readonly message: string }
}

/** One object on one line. */
export function printJson(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value)}\n`)
}
