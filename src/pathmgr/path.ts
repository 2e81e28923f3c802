import type { IpAddress } from '../base/address.js'

/**
 * A way to the server: which egress (stack source address) the packets leave by, and whether they go to a detour instead of the
 * server's own address. A path is data; it opens nothing by itself. Immutable.
 */
export interface Path {
  /** MPTCP address id, unique per host: 0 is the initial subflow's, 1-255 all others (RFC 8684 §3.2). */
  readonly id: number
  /** For people: `default`, `vpn0`, `nat:192.0.2.7`. */
  readonly label: string
  /** Stack address to send from, null: the egress's choice. */
  readonly source: IpAddress | null
  /** Where to send instead of the server's own address (a NAT detour), null: the server itself. */
  readonly destination: IpAddress | null
  /** Port that goes with `destination`; 0: the server's own port. */
  readonly destinationPort: number
  /** Bytes of the largest IP packet, 0: as the device. */
  readonly mtu: number
  /** Relative price of a byte; lower is preferred where a scheduler looks at it. */
  readonly cost: number
  /** Carry data only while no other path can (RFC 8684 §3.3.8). */
  readonly isBackup: boolean
}

/** A path with defaults: the server itself, by whatever egress routes there. */
export function path(over: Partial<Path> = {}): Path {
  return { id: 0, label: 'default', source: null, destination: null, destinationPort: 0, mtu: 0, cost: 0, isBackup: false, ...over }
}
