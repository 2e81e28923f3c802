import { type DaemonConfig, DaemonSchema } from './daemon-config.js'
import { type Applies, fileName, keyInfo } from './key.js'

/** What a new configuration changes, by what a reload can do with it. Keys under their names in files. */
export interface ConfigDiff {
  readonly atOnce: readonly string[]
  readonly newConnections: readonly string[]
  readonly restart: readonly string[]
}

/** Compares two checked configurations key by key. */
export function diffConfig(from: DaemonConfig, to: DaemonConfig): ConfigDiff {
  const names = Object.keys(DaemonSchema.entries) as (keyof DaemonConfig)[]
  const changed = names.filter((name) => JSON.stringify(from[name]) !== JSON.stringify(to[name]))
  const which = (applies: Applies) => changed.filter((name) => keyInfo(DaemonSchema, name).applies === applies).map(fileName)
  return { atOnce: which('at once'), newConnections: which('new connections'), restart: which('restart') }
}

/** `to`, but with the values of `from` where a change needs a restart: what holds after a reload. */
export function reloadedConfig(from: DaemonConfig, to: DaemonConfig): DaemonConfig {
  const kept = Object.entries(from).filter(([name]) => keyInfo(DaemonSchema, name).applies === 'restart')
  return { ...to, ...Object.fromEntries(kept) }
}
