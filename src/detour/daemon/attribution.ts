import { closeSync, mkdirSync, openSync, writeSync } from 'node:fs'
import { dirname } from 'node:path'
import { MptcpError } from '../../base/errors.js'
import type { Traffic } from './nft-read.js'
import type { Lease } from './leases.js'

/** What a mapping carried so far. */
export interface Usage {
  readonly up: Traffic
  readonly down: Traffic
}

/** Who used what, when: one JSON line for each mapping begun and ended. */
export class Attribution {
  private fd: number
  private readonly path: string | null
  failures = 0

  /** @param path null: standard output. @throws {MptcpError} ERR_ATTRIBUTION */
  constructor(path: string | null) {
    this.path = path
    this.fd = path === null ? -1 : open(path)
  }

  begun(lease: Lease): void {
    this.write({ event: 'begin', ...factsOf(lease) })
  }

  /** @param usage null: the counters were lost with the table */
  ended(lease: Lease, usage: Usage | null): void {
    const traffic =
      usage === null
        ? null
        : { bytesUp: usage.up.bytes, packetsUp: usage.up.packets, bytesDown: usage.down.bytes, packetsDown: usage.down.packets }
    this.write({ event: 'end', ...factsOf(lease), reason: lease.reason, ...traffic })
  }

  /** After the file was moved away. @throws {MptcpError} ERR_ATTRIBUTION, the old one stays in use */
  reopen(): void {
    if (this.path === null) return
    const fd = open(this.path)
    closeSync(this.fd)
    this.fd = fd
  }

  private write(line: object): void {
    const text = `${JSON.stringify({ time: new Date().toISOString(), ...line })}\n`
    try {
      // Standard output may be a pipe that does not block: what its reader has not taken yet waits in the stream.
      if (this.path === null) process.stdout.write(text)
      else writeSync(this.fd, text)
    } catch {
      this.failures++ // a full disk ends no mapping; `status` shows it
    }
  }
}

function factsOf(lease: Lease): object {
  return {
    key: lease.owner.name,
    client: lease.client.toString(),
    destination: lease.remote.toString(),
    destinationPort: lease.remotePort,
    port: lease.port,
    mapping: lease.number,
  }
}

function open(path: string): number {
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o750 })
    return openSync(path, 'a', 0o640)
  } catch (error) {
    throw new MptcpError('ERR_ATTRIBUTION', `the attribution log ${path} cannot be opened: ${(error as Error).message}`, { cause: error })
  }
}
