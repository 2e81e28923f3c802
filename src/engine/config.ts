import type { IpAddress } from '../base/address.js'
import { PAGE_LEN } from '../base/arena.js'
import { US_PER_S, type Micros } from '../base/time.js'
import { type MptcpConfig, mptcpConfig } from '../mptcp/env.js'
import type { Path } from '../pathmgr/path.js'
import { DetourManager } from '../pathmgr/detour.js'
import { path } from '../pathmgr/path.js'
import type { PathLimits, PathManagerFactory } from '../pathmgr/path-manager.js'
import { type TcpConfig, tcpConfig } from '../tcp/config.js'
import type { AddressRange } from './address-range.js'
import { PORT_MAX, PORT_MIN } from './ports.js'

/**
 * Deviation: RFC 9293 §3.6.1 wants two maximum segment lifetimes. Between us and the host's own kernel no segment is delayed
 * or duplicated, and its applications reuse ports sooner.
 */
const APP_TIME_WAIT_US: Micros = US_PER_S

/**
 * An application that has closed its end may have closed its socket: Linux then waits tcp_fin_timeout for the other FIN, and forgets. Asked
 * after that, its kernel says by a RST that nobody is there; what it still waits for, it waits for as long as it likes.
 */
const APP_ORPHAN_US: Micros = 61 * US_PER_S

/** An address that is the stack's, with the egress it stands for. */
export interface StackAddress {
  readonly address: IpAddress
  /** Default egress of its family: used by paths that name no source. */
  readonly isDefault: boolean
  /** Further addresses of the same egress, for when the ports of this one towards a destination are all in use. */
  readonly more?: readonly IpAddress[]
}

/** An address of ours that every accepted connection announces to its peer (RFC 8684 §3.4.1). */
export interface Announced {
  /** 1-255. */
  readonly id: number
  /** As the peer sees it. */
  readonly address: IpAddress
  /** 0: the port that the connection came to. */
  readonly port: number
  /** The stack address that it leads to. */
  readonly local: IpAddress
}

/** What an engine is composed of. Everything has a default but the addresses. */
export class EngineConfig {
  /** Packets of one read batch, per device; each slot takes 64 KB of address space. */
  rxSlots = 32
  /** Packets that wait for a device, per device. */
  txSlots = 256
  /** Pages of 16 KB: bound of all payload held. */
  memoryPages = (64 << 20) / PAGE_LEN
  /** The prefixes that belong to the stack: nothing from outside may claim to come from there. */
  ownRanges: AddressRange[] = []
  /** Addresses within them that are the host's (the TUN's own, the applications' source). */
  hostAddresses: IpAddress[] = []
  stackAddresses: StackAddress[] = []
  /** Take up SYNs that are addressed to others. */
  intercept = true
  /** Leg towards applications: the host's own kernel behind a TUN, lossless and at memory speed. */
  app: TcpConfig = tcpConfig({ mss4: 65_495, mss6: 65_475, timeWaitUs: APP_TIME_WAIT_US, closeWaitAskUs: APP_ORPHAN_US, pacing: false })
  /** Leg towards servers. */
  mptcp: MptcpConfig = mptcpConfig()
  /** The path of the first subflow, then all others; `PathTable` changes it. */
  paths: Path[] = [path()]
  /** Who decides by which of them connections that are opened from here have subflows. */
  pathManager: PathManagerFactory = (view, limits) => new DetourManager(view, limits)
  pathLimits: PathLimits = { extraSubflows: 2, addAddrAccepted: 2, replaceUs: 5 * US_PER_S }
  /** What accepted connections announce. */
  announced: Announced[] = []
  /** Bytes that one direction of a connection holds. */
  sendBuffer = 8 << 20
  receiveBuffer = 8 << 20
  /** Connections in TIME-WAIT that are remembered (Linux tcp_max_tw_buckets); the oldest is forgotten for a new one. */
  timeWaitMax = 65_536
  /** Ports of flows towards servers, both included. */
  portMin = PORT_MIN
  portMax = PORT_MAX
  heldMax = 4096
  heldPerDestination = 512
  /** Told about every caught bug; tests let it throw. */
  onInternalError: (error: unknown) => void = () => {}

  constructor(over: Partial<EngineConfig> = {}) {
    Object.assign(this, over)
  }

  /** Whether the address is one of the stack's, not one of the host's. */
  isOurs(w0: number, w1: number, w2: number, w3: number): boolean {
    for (const range of this.ownRanges) {
      if (!range.contains(w0, w1, w2, w3)) continue
      for (const a of this.hostAddresses) if (a.w3 === w3 && a.w2 === w2 && a.w1 === w1 && a.w0 === w0) return false
      return true
    }
    return false
  }

  /** The other addresses of the egress that `source` stands for. */
  moreSources(source: IpAddress): readonly IpAddress[] {
    return this.stackAddresses.find((s) => s.address.equals(source))?.more ?? []
  }

  /** The stack address for a flow by `p` to a destination of that family, null: there is none. */
  sourceOf(p: Path, isV4: boolean): IpAddress | null {
    if (p.source !== null) return p.source.isV4 === isV4 ? p.source : null
    return this.stackAddresses.find((s) => s.isDefault && s.address.isV4 === isV4)?.address ?? null
  }
}
