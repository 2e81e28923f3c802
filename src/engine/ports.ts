import type { IpAddress } from '../base/address.js'
import type { FlowTable } from '../base/flow-table.js'
import type { Host } from '../base/host.js'

/** Ports that flows of the stack use. Unlike Linux's range, as wide as it goes: masquerading keeps a port unless it is taken. */
export const PORT_MIN = 10_240
export const PORT_MAX = 65_535
const PORT_COUNT = PORT_MAX - PORT_MIN + 1

/** Random draws before the range is walked. */
const DRAWS = 8

/**
 * A free local port for a flow from `local` to remote:remotePort, 0 when all are in use. The flow table is the only record
 * of what is taken, TIME-WAIT included, so ports are per (stack address, destination). RFC 6056 §3.3.2: simple randomisation.
 */
export function pickPort<T>(host: Host, flows: FlowTable<T>, local: IpAddress, remote: IpAddress, remotePort: number): number {
  for (let i = 0; i < DRAWS; i++) {
    const port = PORT_MIN + ((host.rng() >>> 0) % PORT_COUNT)
    if (isFree(flows, local, port, remote, remotePort)) return port
  }
  const start = (host.rng() >>> 0) % PORT_COUNT
  for (let i = 0; i < PORT_COUNT; i++) {
    const port = PORT_MIN + ((start + i) % PORT_COUNT)
    if (isFree(flows, local, port, remote, remotePort)) return port
  }
  return 0
}

function isFree<T>(flows: FlowTable<T>, l: IpAddress, port: number, r: IpAddress, remotePort: number): boolean {
  return flows.find(l.w0, l.w1, l.w2, l.w3, r.w0, r.w1, r.w2, r.w3, (port << 16) | remotePort) === null
}
