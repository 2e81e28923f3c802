import type { Usage } from './attribution.js'

/** One mapping in `detour status`. */
export interface LeaseStatus {
  readonly mapping: number
  readonly key: string
  readonly client: string
  readonly destination: string
  readonly destinationPort: number
  readonly port: number
  /** `ended`: flows that are there go on, new ones are not admitted. */
  readonly state: 'live' | 'ended'
  readonly expiresInMs: number
  readonly flows: number
  /** null: the counters were lost with the table. */
  readonly usage: Usage | null
}

/** One client in `detour status`: a key at one address. */
export interface ClientStatus {
  readonly key: string
  readonly address: string
  readonly leases: number
  readonly flows: number
  readonly bytesUp: number
  readonly bytesDown: number
}

/** What `detour status --json` prints, beside `version`. */
export interface DetourStatus {
  readonly daemon: {
    readonly version: string
    readonly pid: number
    readonly uptimeMs: number
    readonly epoch: number
    readonly listen: readonly string[]
    /** TCP ports of mappings. */
    readonly ports: string
    readonly keys: number
    readonly v1: boolean
    /** Interfaces that forward because of the daemon. */
    readonly opened: readonly string[]
  }
  readonly leases: readonly LeaseStatus[]
  readonly clients: readonly ClientStatus[]
  /** Open ones. */
  readonly flows: number
  readonly counters: Readonly<Record<string, number>>
}

/** Clients from their leases. */
export function clientsOf(leases: readonly LeaseStatus[]): ClientStatus[] {
  const clients = new Map<string, ClientStatus>()
  for (const { key, client: address, flows, usage, state } of leases) {
    const place = `${key} ${address}`
    const known = clients.get(place) ?? { key, address, leases: 0, flows: 0, bytesUp: 0, bytesDown: 0 }
    clients.set(place, {
      ...known,
      leases: known.leases + (state === 'live' ? 1 : 0),
      flows: known.flows + flows,
      bytesUp: known.bytesUp + (usage?.up.bytes ?? 0),
      bytesDown: known.bytesDown + (usage?.down.bytes ?? 0),
    })
  }
  return [...clients.values()]
}
