import type { IpAddress } from '../base/address.js'
import type { Path } from './path.js'

/** What the engine tells whoever provides paths. Calls return at once and never throw. */
export interface PathDemand {
  /** A first SYN with MP_CAPABLE to this destination leaves in this very turn: paths for it may be wanted soon. */
  onConnect(remote: IpAddress, port: number): void
  /**
   * The server turned out not to speak MPTCP there. Whoever provides paths remembers it as long as it thinks fit (`Refusals` of NAT detours):
   * the next connection offers MP_CAPABLE all the same, which costs nothing, and `onConnect` is called for it.
   */
  onPlain(remote: IpAddress, port: number): void
  /** A subflow by `path` has begun (delta 1) or ended (-1). */
  onUse(path: Path, delta: 1 | -1): void
}
