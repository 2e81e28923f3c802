import { IpAddress } from '../base/address.js'
import { isOwnPref, OWN_PROTOCOL } from './numbers.js'
import { keyText, slotText } from './route-text.js'

// linux/rtnetlink.h
const RTM_NEWLINK = 16
const RTM_DELLINK = 17
const RTM_NEWADDR = 20
const RTM_DELADDR = 21
const RTM_NEWROUTE = 24
const RTM_DELROUTE = 25
const RTM_NEWRULE = 32
const RTM_DELRULE = 33
const RTM_NEWNETCONF = 80

/** link, v4 address, v4 route, v4 rule, v6 address, v6 route, v6 rule, v4 and v6 netconf: bits 1 << (RTNLGRP_* - 1). */
export const GROUPS = [1, 5, 7, 8, 9, 11, 19, 24, 25].reduce((mask, group) => mask | (1 << (group - 1)), 0)

const NLMSG_HDRLEN = 16
const RTMSG_LEN = 12
const RTA_DST = 1
const RTA_OIF = 4
const RTA_GATEWAY = 5
const RTA_PRIORITY = 6
const RTA_MULTIPATH = 9
const RTA_TABLE = 15
const RTA_VIA = 18
const FRA_PRIORITY = 6
const FRA_PROTOCOL = 21
const AF_INET = 2
const RTNH_LEN = 8

/** A route of the main table came or went. */
export interface RouteChange {
  readonly kind: 'route'
  readonly family: 4 | 6
  readonly isDelete: boolean
  readonly isOwn: boolean
  readonly slot: string
  readonly key: string
  readonly devices: readonly string[]
}

/** Anything else: it says only that something should be looked at. `isOwn`: it carries our numbers. */
export interface OtherChange {
  readonly kind: 'link' | 'address' | 'table' | 'rule' | 'netconf'
  readonly isDelete: boolean
  readonly isOwn: boolean
}

export type Change = RouteChange | OtherChange

const ROUTE_TYPES: Readonly<Record<number, string>> = {
  1: 'unicast',
  2: 'local',
  3: 'broadcast',
  4: 'anycast',
  5: 'multicast',
  6: 'blackhole',
  7: 'unreachable',
  8: 'prohibit',
  9: 'throw',
}

const FIRST_REJECTING = 6

/**
 * The changes that one datagram of the kernel announces. Messages of other kinds and truncated ones are passed over.
 * @param nameOf interface name by index
 */
export function parseChanges(bytes: Uint8Array, len: number, nameOf: (index: number) => string | null): Change[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, len)
  const changes: Change[] = []
  for (let at = 0; at + NLMSG_HDRLEN <= len; ) {
    const size = view.getUint32(at, true)
    if (size < NLMSG_HDRLEN || at + size > len) break
    const change = parseOne(view, at, size, nameOf)
    if (change !== null) changes.push(change)
    at += (size + 3) & ~3
  }
  return changes
}

function parseOne(view: DataView, at: number, size: number, nameOf: (index: number) => string | null): Change | null {
  const type = view.getUint16(at + 4, true)
  switch (type) {
    case RTM_NEWLINK:
    case RTM_DELLINK:
      return { kind: 'link', isDelete: type === RTM_DELLINK, isOwn: false }
    case RTM_NEWADDR:
    case RTM_DELADDR:
      return { kind: 'address', isDelete: type === RTM_DELADDR, isOwn: false }
    case RTM_NEWNETCONF:
      return { kind: 'netconf', isDelete: false, isOwn: false }
    case RTM_NEWRULE:
    case RTM_DELRULE:
      return parseRule(view, at, size, type === RTM_DELRULE)
    case RTM_NEWROUTE:
    case RTM_DELROUTE:
      return size < NLMSG_HDRLEN + RTMSG_LEN ? null : parseRoute(view, at, size, type === RTM_DELROUTE, nameOf)
    default:
      return null
  }
}

function parseRule(view: DataView, at: number, size: number, isDelete: boolean): Change {
  let pref = 0
  let protocol = 0
  forEachAttribute(view, at + NLMSG_HDRLEN + RTMSG_LEN, at + size, (type, off, len) => {
    if (type === FRA_PRIORITY && len >= 4) pref = view.getUint32(off, true)
    else if (type === FRA_PROTOCOL && len >= 1) protocol = view.getUint8(off)
  })
  return { kind: 'rule', isDelete, isOwn: protocol === OWN_PROTOCOL && isOwnPref(pref) }
}

function parseRoute(view: DataView, at: number, size: number, isDelete: boolean, nameOf: (index: number) => string | null): Change {
  const head = at + NLMSG_HDRLEN
  const isV4 = view.getUint8(head) === AF_INET
  const prefixLen = view.getUint8(head + 1)
  const tos = view.getUint8(head + 3)
  const isOwn = view.getUint8(head + 5) === OWN_PROTOCOL
  let table = view.getUint8(head + 4)
  let destination = isV4 ? '0.0.0.0' : '::'
  let metric = 0
  const devices: string[] = []
  const gateways: string[] = []
  const device = (index: number): void => {
    devices.push(nameOf(index) ?? `#${index}`)
  }
  const hop = (type: number, off: number, len: number): void => {
    if (type === RTA_GATEWAY) gateways.push(addressText(view, off, len))
    else if (type === RTA_VIA && len > 2) gateways.push(addressText(view, off + 2, len - 2))
  }
  forEachAttribute(view, head + RTMSG_LEN, at + size, (type, off, len) => {
    if (type === RTA_DST) destination = addressText(view, off, len)
    else if (type === RTA_PRIORITY && len >= 4) metric = view.getUint32(off, true)
    else if (type === RTA_TABLE && len >= 4) table = view.getUint32(off, true)
    else if (type === RTA_OIF && len >= 4) device(view.getUint32(off, true))
    else if (type === RTA_MULTIPATH) {
      for (let next = off; next + RTNH_LEN <= off + len; ) {
        const size = view.getUint16(next, true)
        if (size < RTNH_LEN || next + size > off + len) break
        device(view.getUint32(next + 4, true))
        forEachAttribute(view, next + RTNH_LEN, next + size, hop)
        next += (size + 3) & ~3
      }
    } else hop(type, off, len)
  })
  if (table !== 254) return { kind: 'table', isDelete, isOwn }
  const full = isV4 ? 32 : 128
  const text = prefixLen === 0 ? 'default' : prefixLen === full ? destination : `${destination}/${prefixLen}`
  const slot = slotText(text, tos === 0 ? '' : `0x${tos.toString(16).padStart(2, '0')}`, metric)
  const type = ROUTE_TYPES[view.getUint8(head + 7)] ?? 'unicast'
  // Linux: IPv6 routes that reject have lo for a device, which their text leaves out.
  const named = FIRST_REJECTING <= view.getUint8(head + 7) ? [] : devices
  return { kind: 'route', family: isV4 ? 4 : 6, isDelete, isOwn, slot, key: keyText(type, slot, named, gateways), devices: named }
}

function forEachAttribute(view: DataView, from: number, to: number, use: (type: number, off: number, len: number) => void): void {
  for (let at = from; at + 4 <= to; ) {
    const size = view.getUint16(at, true)
    if (size < 4 || at + size > to) return
    use(view.getUint16(at + 2, true) & 0x3fff, at + 4, size - 4)
    at += (size + 3) & ~3
  }
}

function addressText(view: DataView, off: number, len: number): string {
  const word = (i: number): number => view.getInt32(off + 4 * i, false)
  if (len === 4) return IpAddress.v4(word(0)).toString()
  return len === 16 ? new IpAddress(word(0), word(1), word(2), word(3)).toString() : ''
}

/** What is needed of the addon (src/tun/native.ts): a socket of rtnetlink announcements. */
export interface RtnetlinkSource {
  readonly Rtnetlink: new (
    groups: number,
    onReady: (ready: number) => void,
  ) => { read(bytes: Uint8Array): number; unref(): void; close(): void }
  netnsCookie(): string
}

/** Tells about changes of the network namespace that it was made in. */
export interface ChangeSource {
  close(): void
}

/** Starts to listen. @param onLost announcements were lost: everything must be looked at. */
export function watchChanges(
  native: RtnetlinkSource,
  nameOf: (index: number) => string | null,
  onChanges: (changes: readonly Change[]) => void,
  onLost: () => void,
): ChangeSource {
  const bytes = new Uint8Array(65_536)
  const socket = new native.Rtnetlink(GROUPS, () => {
    for (let len = socket.read(bytes); len !== 0; len = socket.read(bytes)) {
      if (len < 0) onLost()
      else onChanges(parseChanges(bytes, len, nameOf))
    }
  })
  socket.unref()
  return socket
}
