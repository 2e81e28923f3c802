import type { IpAddress } from '../base/address.js'
import type { HostFacts } from '../host/facts.js'
import type { Family } from '../host/numbers.js'
import type { HostLog } from '../host/undo.js'
import type { Path, PathKind } from '../pathmgr/path.js'

/** A stack address whose packets leave by one interface, and by nothing else. */
export interface Egress {
  readonly family: Family
  readonly source: IpAddress
  readonly device: string
  readonly gateway: string | null
}

/** What a provider is given by whoever runs it. Everything that it gets it gives back. */
export interface ProviderHost {
  readonly log: HostLog
  /** Families that are carried. */
  readonly families: readonly Family[]
  /** The host as last read. */
  readonly facts: HostFacts
  /** Interfaces by which the stack's default paths leave. */
  defaultDevices(): readonly string[]
  /** A number for a path that is about to be upserted for the first time. */
  newPathId(): number
  /** A path is there, or has changed. */
  upsert(path: Path): void
  /** Joins by a path may have left before the way was there: their SYNs are sent again. */
  repeatJoins(id: number): void
  /** A path is gone: its subflows can carry nothing any more. */
  remove(id: number): void
  /** Rules and routes for one more egress; the same for everybody who names the same. @throws {MptcpError} ERR_HOST_SETUP, ERR_CONFIG */
  openEgress(family: Family, device: string, gateway: string | null): Promise<Egress>
  /** Gives an egress back; with the last one who has it its rules go. */
  closeEgress(egress: Egress): Promise<void>
  /** A name for an interface that is about to be made, like `ovpn0`; nobody else gets it before it is given back. */
  takeDeviceName(prefix: string): string
  giveDeviceName(name: string): void
  /** Where a socket for `device` may be. */
  socketPath(device: string): string
  /** Runs a program to its end. @throws {MptcpError} ERR_HOST_COMMAND */
  run(argv: readonly string[]): Promise<string>
}

/** `starting`: it has not been up yet; `waiting`: it was, or will be, and is not now; `failed`: it needs somebody's help. */
export type DetourState = 'starting' | 'up' | 'waiting' | 'failed'

/** One detour, as `status` shows it. Unknown is null. */
export interface DetourStatus {
  readonly name: string
  readonly type: PathKind
  readonly state: DetourState
  /** Interface that it leaves by. */
  readonly device: string | null
  /** Who is at its other end. */
  readonly peer: string | null
  readonly rttUs: number | null
  /** Part of the measurements that were lost, 0-1. */
  readonly loss: number | null
  /** Mappings that it holds. */
  readonly leases: number | null
  /** Of its child process. */
  readonly pid: number | null
  readonly isBackup: boolean
  readonly cost: number
  readonly lastError: string | null
  /** Of a NAT detour alone. */
  readonly nat?: NatFigures
}

/** What the client of a NAT detour knows and has counted. */
export interface NatFigures {
  /** This host as the detour sees it. */
  readonly seenAddress: string | null
  /** Mappings that it may have beyond those it has. */
  readonly quotaLeft: number | null
  /** Datagrams and decisions, by name. */
  readonly counters: Readonly<Record<string, number>>
}

/** What can be changed on a detour while it runs. */
export interface DetourSettings {
  readonly isBackup?: boolean
  readonly cost?: number
}

/**
 * Somebody who has ways out: it upserts and removes paths as they come and go, asynchronously and never on the packet path, and
 * undoes what it did.
 */
export interface DetourProvider {
  readonly name: string
  /** Begins; returns at once. Called once. */
  start(host: ProviderHost): void
  /** Resolves when it is known whether it works at the moment; never rejects. */
  readonly settled: Promise<void>
  /** Links, addresses or routes of the host have changed. */
  onHostChange(facts: HostFacts): void
  set(settings: DetourSettings): void
  status(): DetourStatus
  /** Takes its paths away and everything else back. */
  stop(): Promise<void>
}

/** A promise with its resolution outside; resolving it twice does no harm. */
export class Signal {
  readonly done: Promise<void>
  fire: () => void = () => {}

  constructor() {
    this.done = new Promise((resolve) => {
      this.fire = resolve
    })
  }
}
