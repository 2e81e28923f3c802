import { existsSync } from 'node:fs'
import { type DaemonConfig, type DaemonInput, daemonConfig, DaemonSchema } from './daemon-config.js'
import { readTomlFile } from './toml-file.js'

/** Read when it exists and no other file was named. */
export const DEFAULT_CONFIG_FILE = '/etc/mptcpd-user/mptcpd-user.toml'

/** Where a daemon's configuration comes from: a file, and flags that override it. Read again for a reload. */
export class ConfigSource {
  /** null: flags and defaults only. */
  readonly file: string | null
  private readonly flags: DaemonInput

  constructor(file: string | null, flags: DaemonInput) {
    this.file = file
    this.flags = flags
  }

  /** @param named what --config said; null: it was not given. @param isOff --no-config was given */
  static of(named: string | null, isOff: boolean, flags: DaemonInput): ConfigSource {
    if (isOff) return new ConfigSource(null, flags)
    if (named !== null) return new ConfigSource(named, flags)
    return new ConfigSource(existsSync(DEFAULT_CONFIG_FILE) ? DEFAULT_CONFIG_FILE : null, flags)
  }

  /** @throws {MptcpError} ERR_CONFIG, ERR_CONFIG_FILE, ERR_CONFIG_SECRET */
  load(): DaemonConfig {
    const given = this.file === null ? {} : (readTomlFile(DaemonSchema, this.file) as DaemonInput)
    return daemonConfig({ ...given, ...this.flags })
  }
}
