import type { IpAddress } from '../../../src/base/address.js'
import { IpAddress as Address } from '../../../src/base/address.js'
import { Unsupported } from '../errors.js'

/** What a name of the script (`addr[name]`) stands for; port 0: none yet. */
export interface Endpoint {
  readonly address: IpAddress
  readonly port: number
}

/** Names of endpoints, bound when they are first used, and the addresses of the script's side with their MPTCP ids. */
export class Names {
  private readonly byName = new Map<string, Endpoint>()
  /** The script's addresses; 0 is that of the first subflow. */
  private readonly remote: { readonly id: number; readonly address: IpAddress }[] = []

  /** What the stack has announced. */
  private readonly ours: { readonly id: number; readonly address: IpAddress }[] = []

  get(name: string): Endpoint | undefined {
    return this.byName.get(name)
  }

  bind(name: string, address: IpAddress, port: number): void {
    this.byName.set(name, { address, port })
  }

  /** The stack has announced `address` under `id`. */
  addOurs(id: number, address: IpAddress): void {
    if (!this.ours.some((o) => o.id === id)) this.ours.push({ id, address })
  }

  /** Id under which the stack has announced `address`; 0: it has not. */
  idOfOurs(address: IpAddress): number {
    return this.ours.find((o) => o.address.equals(address))?.id ?? 0
  }

  /** The script's side uses `address`. @param id -1: the next free one. @returns the id that it has */
  addRemote(address: IpAddress, id = -1): number {
    const known = this.remote.find((r) => r.address.equals(address))
    if (known !== undefined) return known.id
    const given = id >= 0 ? id : this.remote.reduce((next, r) => Math.max(next, r.id + 1), 0)
    this.remote.push({ id: given, address })
    return given
  }

  /** Address of the script's side under `id`, else a new one: the next after all that it has. @param id -1: not given. */
  remoteOf(id: number, line: number): IpAddress {
    const known = this.remote.find((r) => r.id === id)
    if (known !== undefined) return known.address
    let last: IpAddress | null = null
    for (const { address } of this.remote) if (last === null || address.w3 >>> 0 > last.w3 >>> 0) last = address
    if (last === null) throw new Unsupported(line, 'an address by name, when none is known yet')
    return next(last)
  }
}

/** The address behind `a`. */
export function next(a: IpAddress): IpAddress {
  return new Address(a.w0, a.w1, a.w2, (a.w3 + 1) | 0)
}
