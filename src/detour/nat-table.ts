import type { IpAddress } from '../base/address.js'
import { type Micros, NEVER } from '../base/time.js'
import { type Path, path } from '../pathmgr/path.js'
import { Mapping } from './nat-mapping.js'

/** Mappings at one detour. */
const MAX_MAPPINGS = 256

/** What a client's state machine needs of its shell; nothing of it calls back. */
export interface NatWorld {
  send(datagram: Uint8Array): void
  /** 32 random bits. */
  random32(): number
  newPathId(): number
  upsert(path: Path): void
  /** Joins by a path may have left too early: their SYNs are sent again. */
  repeatJoins(id: number): void
  remove(id: number): void
}

/** What the paths of a detour look like. */
export interface NatPaths {
  readonly label: string
  /** The detour's address. */
  readonly peer: IpAddress
  readonly isBackup: boolean
  readonly cost: number
}

/** The mappings at one detour, by their targets, and the paths that they are shown as. */
export class MappingTable {
  private readonly world: NatWorld
  private readonly byKey = new Map<string, Mapping>()
  private readonly byPath = new Map<number, Mapping>()
  private look: NatPaths

  constructor(look: NatPaths, world: NatWorld) {
    this.look = look
    this.world = world
  }

  get peer(): IpAddress {
    return this.look.peer
  }

  get(key: string): Mapping | undefined {
    return this.byKey.get(key)
  }

  /** A copy: the table may change while it is walked. */
  all(): Mapping[] {
    return [...this.byKey.values()]
  }

  values(): IterableIterator<Mapping> {
    return this.byKey.values()
  }

  ofPath(id: number): Mapping | undefined {
    return this.byPath.get(id)
  }

  /** Mappings that are granted. */
  get granted(): number {
    let n = 0
    for (const mapping of this.byKey.values()) if (mapping.isGranted) n++
    return n
  }

  get isFull(): boolean {
    return this.byKey.size >= MAX_MAPPINGS
  }

  /** The one without subflow that nobody asked for longest. */
  idlest(): Mapping | null {
    let idlest: Mapping | null = null
    for (const mapping of this.byKey.values())
      if (mapping.uses === 0 && (idlest === null || mapping.idleAt < idlest.idleAt)) idlest = mapping
    return idlest
  }

  hasPort(port: number): boolean {
    for (const mapping of this.byKey.values()) if (mapping.detourPort === port) return true
    return false
  }

  /** @param proposed port of the detour; the path is shown at once if it is known (not 0) */
  add(remote: IpAddress, port: number, mapId: string, proposed: number, now: Micros): Mapping {
    const mapping = new Mapping(remote, port, mapId, proposed, now)
    this.byKey.set(mapping.key, mapping)
    if (proposed !== 0) this.show(mapping, this.look.peer, true)
    return mapping
  }

  /** The mapping goes, and its path. */
  forget(mapping: Mapping): void {
    this.drop(mapping)
    mapping.settle()
    this.byKey.delete(mapping.key)
  }

  /** The path is as the mapping says, at `destination`. */
  show(mapping: Mapping, destination: IpAddress, isTentative: boolean): void {
    const { label, isBackup, cost } = this.look
    const before = mapping.path
    const { detourPort: destinationPort } = mapping
    if (
      before?.destination?.equals(destination) === true &&
      before.destinationPort === destinationPort &&
      before.isTentative === isTentative
    )
      return
    const id = before?.id ?? this.world.newPathId()
    const remote = before?.remote ?? { address: mapping.remote, port: mapping.port }
    mapping.path = path({ id, kind: 'nat', label, destination, destinationPort, remote, isBackup, cost, isTentative })
    this.byPath.set(id, mapping)
    this.world.upsert(mapping.path)
  }

  /** Joins that left before the mapping was there are repeated. */
  rejoin(mapping: Mapping): void {
    mapping.rejoinAt = NEVER
    if (mapping.path !== null) this.world.repeatJoins(mapping.path.id)
  }

  /** The path goes, and with it its subflows; the mapping stays. */
  drop(mapping: Mapping): void {
    const { path: shown } = mapping
    if (shown === null) return
    mapping.path = null
    mapping.uses = 0
    this.byPath.delete(shown.id)
    this.world.remove(shown.id)
  }

  /** All paths look otherwise from now on. */
  setLook(look: NatPaths): void {
    this.look = look
    for (const mapping of this.byKey.values()) {
      if (mapping.path === null) continue
      mapping.path = { ...mapping.path, isBackup: look.isBackup, cost: look.cost }
      this.world.upsert(mapping.path)
    }
  }
}

/** Where a mapping leads by its answer; the daemon's own address when the answer names none that a host can have. */
export function destinationOf(detour: IpAddress, peer: IpAddress): IpAddress {
  if (detour.isV4 !== peer.isV4) return peer
  const top = (detour.isV4 ? detour.w3 : detour.w0) >>> 24
  if (detour.isV4) return top === 0 || top === 127 || top >= 224 ? peer : detour
  return (detour.w0 | detour.w1) === 0 || top === 0xff || detour.w0 >>> 22 === 0xfe80 >>> 6 ? peer : detour
}
