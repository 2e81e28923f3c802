import type { IpAddress } from '../base/address.js'

/** A set of addresses, each as its four words. */
export interface AddressSet {
  contains(w0: number, w1: number, w2: number, w3: number): boolean
}

/** Where a path comes from. */
export type PathKind = 'default' | 'static' | 'interface' | 'openvpn' | 'nat'

/**
 * A way to the server: which egress (stack source address) the packets leave by, and whether they go to a detour instead of the
 * server's own address. A path is data; it opens nothing by itself. Immutable.
 */
export interface Path {
  /** A unique number, kept through changes of the path; 0 is the default one, which the first subflow takes. */
  readonly id: number
  readonly kind: PathKind
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
  /** A NAT detour's mapping serves only this destination; null: any (of the source's family). */
  readonly remote: { readonly address: IpAddress; readonly port: number } | null
  /** Only connections to these use it; none: all. */
  readonly destinations: readonly AddressSet[]
  /** The mapping was asked for but is not confirmed yet: a join may be sent, its SYN is repeated once the path is upserted as confirmed. */
  readonly isTentative: boolean
}

const NO_DESTINATIONS: readonly AddressSet[] = []

/** Whether connections to `remote` may use `path`, as far as its `destinations` say. */
function isServed(path: Path, remote: IpAddress): boolean {
  const { destinations } = path
  for (const set of destinations) if (set.contains(remote.w0, remote.w1, remote.w2, remote.w3)) return true
  return destinations.length === 0
}

/**
 * Distance between the ids of a path to the server's own address and to addresses that it announces: more than a daemon ever gives out, for
 * every mapping of a NAT detour takes one.
 */
const STRIDE = 2 ** 40

/** `path` to an address that the peer has announced under `id` (1-255). Its own id is derived, see `isDerived`. */
export function toAnnounced(path: Path, id: number, address: IpAddress, port: number): Path {
  return { ...path, id: path.id + STRIDE * id, label: `${path.label} to ${address}`, destination: address, destinationPort: port }
}

/** The id of the path that a path id stands for, to the server's own or to an announced address. */
export function baseId(pathId: number): number {
  return pathId % STRIDE
}

/** Whether a path id stands for the path `id`, to the server's own or to an announced address. */
export function isDerived(pathId: number, id: number): boolean {
  return baseId(pathId) === id
}

/** Whether the path leads to an address that the peer has announced. */
export function isToAnnounced(path: Path): boolean {
  return path.id >= STRIDE
}

/** Whether a connection to `remote`, `port` may use `path`: family, destinations, and the mapping that a NAT detour has. */
export function isPathFor(path: Path, remote: IpAddress, port: number): boolean {
  const end = path.destination ?? path.source
  if (end !== null && end.isV4 !== remote.isV4) return false
  if (path.remote !== null && (path.remote.port !== port || !path.remote.address.equals(remote))) return false
  return isServed(path, remote)
}

/** Whether two states of a path lead the same way. */
export function isSameEnd(a: Path, b: Path): boolean {
  const isSame = (x: IpAddress | null, y: IpAddress | null): boolean => x === y || (x !== null && y !== null && x.equals(y))
  return isSame(a.source, b.source) && isSame(a.destination, b.destination) && a.destinationPort === b.destinationPort
}

/** A path with defaults: the server itself, by whatever egress routes there. */
export function path(over: Partial<Path> = {}): Path {
  return {
    id: 0,
    kind: 'default',
    label: 'default',
    source: null,
    destination: null,
    destinationPort: 0,
    mtu: 0,
    cost: 0,
    isBackup: false,
    remote: null,
    destinations: NO_DESTINATIONS,
    isTentative: false,
    ...over,
  }
}
