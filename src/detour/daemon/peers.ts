import type { KeyState } from './keys.js'
import type { Listener } from './sockets.js'

/** Clients that are told when the daemon ends; of more the one that was silent longest is forgotten. */
const MAX_PEERS = 4096
/** Who was silent for so long has stopped using the detour. */
const RECENT_MS = 15 * 60_000

/** Where one client was seen last. */
export interface Peer {
  readonly key: KeyState
  readonly listener: Listener
  readonly address: string
  readonly port: number
  readonly seenAt: number
}

/** Clients that were seen of late, by where they are. */
export class Peers {
  private readonly byPlace = new Map<string, Peer>()

  seen(peer: Peer): void {
    const place = `${peer.address} ${peer.port}`
    this.byPlace.delete(place) // to the end of the order
    this.byPlace.set(place, peer)
    if (this.byPlace.size <= MAX_PEERS) return
    const [oldest] = this.byPlace.keys()
    if (oldest !== undefined) this.byPlace.delete(oldest)
  }

  /** Those that may still use the detour. */
  recent(now: number): Peer[] {
    return [...this.byPlace.values()].filter((peer) => now - peer.seenAt < RECENT_MS)
  }

  /** @param id of a key */
  forget(id: string): void {
    for (const [place, peer] of this.byPlace) if (peer.key.key.id === id) this.byPlace.delete(place)
  }
}
