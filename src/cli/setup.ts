import type { IpAddress } from '../base/address.js'
import { networkText, parsePrefix } from '../config/address-text.js'
import type { DaemonConfig } from '../config/daemon-config.js'
import { AddressRange } from '../engine/address-range.js'
import type { StackAddress } from '../engine/config.js'
import type { FamilyFacts, HostFacts } from '../host/facts.js'
import type { FamilyPlan } from '../host/wanted.js'
import { AddressBook, stackAddressOf } from './egresses.js'

/** Bytes of IP and TCP header without options. */
const HEADERS4 = 40
const HEADERS6 = 60
const DEFAULT_MTU = 1500

/** What configuration and host together determine: addresses, for the host's plan and for the engine. */
export interface Setup {
  readonly families: readonly FamilyPlan[]
  readonly ownRanges: AddressRange[]
  readonly hostAddresses: IpAddress[]
  /** Those of the default egress; the engine's list, to which others are added. */
  readonly stackAddresses: StackAddress[]
  /** Hands out addresses for further egresses. */
  readonly book: AddressBook
  readonly mss4: number
  readonly mss6: number
}

/** @throws {MptcpError} ERR_CONFIG */
export function computeSetup(config: DaemonConfig, facts: HostFacts): Setup {
  const prefixes = [config.address4, config.address6].flatMap((text) => (text === null ? [] : [parsePrefix(text)]))
  const usable = prefixes.filter((prefix) => prefix.family === 4 || facts.v6 !== null)
  const book = new AddressBook(usable, config.addressesPerEgress)
  return {
    families: usable.map((prefix) => ({
      family: prefix.family,
      address: prefix.address.toString(),
      prefixLen: prefix.len,
      prefix: networkText(prefix),
    })),
    ownRanges: usable.map((prefix) => new AddressRange(prefix.address, prefix.len)),
    hostAddresses: usable.map((prefix) => prefix.address),
    stackAddresses: usable.map((prefix) => stackAddressOf(book.take(prefix.family), true)),
    book,
    mss4: defaultMtu(facts.v4, facts, config.tun) - HEADERS4,
    mss6: defaultMtu(facts.v6, facts, config.tun) - HEADERS6,
  }
}

/** MTU of the device that the default route uses; without one, the smallest of all that have a route. */
function defaultMtu(family: FamilyFacts | null, facts: HostFacts, tun: string): number {
  const routes = (family?.main ?? []).filter((route) => !route.devices.includes(tun))
  const mtuOf = (devices: readonly string[]) => devices.map((device) => facts.links.get(device)?.mtu ?? DEFAULT_MTU)
  const all = routes.flatMap((route) => mtuOf(route.devices))
  const first = routes.filter((route) => route.destination === 'default').flatMap((route) => mtuOf(route.devices))[0]
  return first ?? (all.length > 0 ? Math.min(...all) : DEFAULT_MTU)
}
