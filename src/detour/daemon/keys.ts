import { DetourKeys } from '../protocol/keys.js'
import type { ClientKey } from './key-file.js'
import type { LeaseOwner } from './leases.js'
import { RateLimit } from './rate.js'
import { ReplayWindow } from './replay.js'

/** How far the time of a request may be from ours. */
export const TIME_TOLERANCE_MS = 30_000
/** Requests of one key that are remembered per minute; more are not served. */
const MAX_NONCES = 16_384
/** New mappings at once, as a multiple of those a second. */
const BURST = 3

/** Who may have mappings: a key, or a version 1 client. */
export interface Owner extends LeaseOwner {
  /** Names its chain in the kernel. */
  readonly slot: number
  maxFlows: number
  /** null: a client of version 1. */
  key: ClientKey | null
}

/** A key with what the daemon knows about its use. */
export interface KeyState extends Owner {
  key: ClientKey
  readonly seal: DetourKeys
  readonly replay: ReplayWindow
}

/** What a key has when its line says nothing else. */
export interface KeyDefaults {
  readonly leases: number
  readonly rate: number
  readonly flows: number
}

/** The keys that are valid now. */
export class KeyRing {
  private readonly byId = new Map<string, KeyState>()
  private readonly defaults: KeyDefaults
  private readonly nextSlot: () => number

  constructor(defaults: KeyDefaults, nextSlot: () => number) {
    this.defaults = defaults
    this.nextSlot = nextSlot
  }

  get size(): number {
    return this.byId.size
  }

  /** @param id the key id's 8 bytes as a latin1 string */
  find(id: string): KeyState | undefined {
    return this.byId.get(id)
  }

  all(): IterableIterator<KeyState> {
    return this.byId.values()
  }

  /**
   * Takes over what the file says now.
   * @param nowMs monotonic @param wallMs since 1970
   * @returns keys that are valid no more, and those whose rules or quotas have changed
   */
  update(keys: readonly ClientKey[], nowMs: number, wallMs: number): { added: KeyState[]; removed: KeyState[]; changed: KeyState[] } {
    const added: KeyState[] = []
    const changed: KeyState[] = []
    const valid = new Map(keys.filter((key) => !isExpired(key, wallMs)).map((key) => [idOf(key), key]))
    const removed = [...this.byId].flatMap(([id, state]) => {
      const key = valid.get(id)
      if (key !== undefined && Buffer.from(key.secret).equals(state.key.secret)) return []
      this.byId.delete(id)
      return [state]
    })
    for (const [id, key] of valid) {
      const known = this.byId.get(id)
      if (known === undefined) {
        const state = this.stateOf(key, nowMs)
        this.byId.set(id, state)
        added.push(state)
      } else if (JSON.stringify(known.key) !== JSON.stringify(key)) {
        if (known.key.rate !== key.rate) known.rate = this.rateOf(key, nowMs)
        known.key = key
        known.maxLeases = key.leases ?? this.defaults.leases
        known.maxFlows = key.flows ?? this.defaults.flows
        changed.push(known)
      }
    }
    return { added, removed, changed }
  }

  /** Takes out the keys whose time is over, and returns them. */
  expire(wallMs: number): KeyState[] {
    const expired = [...this.byId].filter(([, state]) => isExpired(state.key, wallMs))
    for (const [id] of expired) this.byId.delete(id)
    return expired.map(([, state]) => state)
  }

  private stateOf(key: ClientKey, nowMs: number): KeyState {
    return {
      name: key.name,
      slot: this.nextSlot(),
      key,
      leases: 0,
      maxLeases: key.leases ?? this.defaults.leases,
      maxFlows: key.flows ?? this.defaults.flows,
      rate: this.rateOf(key, nowMs),
      seal: new DetourKeys(Buffer.from(key.id, 'base64url'), key.secret),
      replay: new ReplayWindow(nowMs, TIME_TOLERANCE_MS, MAX_NONCES),
    }
  }

  private rateOf(key: ClientKey, nowMs: number): RateLimit {
    const perSecond = key.rate ?? this.defaults.rate
    return new RateLimit(perSecond, perSecond * BURST, nowMs)
  }
}

function isExpired(key: ClientKey, wallMs: number): boolean {
  return key.expiresAt !== null && key.expiresAt <= wallMs
}

function idOf(key: ClientKey): string {
  return Buffer.from(key.id, 'base64url').toString('latin1')
}
