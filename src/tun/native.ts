import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { MptcpError } from '../base/errors.js'
import type { Micros } from '../base/time.js'

/** Bits of `NativeTun.watch` and of its callback. */
export const READY_READ = 1
export const READY_WRITE = 2
/** The device was deleted under us; nothing is watched any more. */
export const READY_GONE = 4

/** Open one more queue of a device that exists (or the first one of a multi-queue device). */
export const OPEN_MULTI_QUEUE = 1
/** Fail when a device of that name exists. */
export const OPEN_EXCLUSIVE = 2

/** Bits of `Native.offloads`. */
export const OFFLOAD_TX_CHECKSUM = 1
export const OFFLOAD_TSO = 2
export const OFFLOAD_GSO = 4
export const OFFLOAD_GRO = 8

/** Indices of the array given to `NativeTun.attachStats`, in the order of native/tun.c. */
export const STAT_RX_PACKETS = 0
export const STAT_RX_BYTES = 1
export const STAT_RX_BATCHES = 2
export const STAT_RX_ERRORS = 3
export const STAT_TX_PACKETS = 4
export const STAT_TX_BYTES = 5
export const STAT_TX_BATCHES = 6
export const STAT_TX_BLOCKED = 7
export const STAT_TX_INVALID = 8
export const STAT_TX_NOBUFS = 9
export const STAT_TX_DOWN = 10
export const STAT_TX_OTHER = 11
export const STATS_LEN = 12

/** A handle of the event loop: keeps the process alive unless unreferenced; `close` may be called twice, the others not after it. */
export interface NativeHandle {
  ref(): void
  unref(): void
  close(): void
}

/** One queue of a TUN device; see native/tun.c. What is attached is held until `close` or the next attachment. */
export interface NativeTun extends NativeHandle {
  /** The interface's name as the kernel chose it. */
  readonly name: string
  /** Asks for TUN_F_* offloads; false when the kernel does not know one of them. */
  setOffloads(mask: number): boolean
  /** Slot i is arena[base + i * slotLen ..]; `lens` receives the lengths and sets the number of slots. */
  attachRx(arena: ArrayBuffer, base: number, slotLen: number, lens: Int32Array): void
  /** `meta` is the entries of a TxRing, `stride` words each. */
  attachTx(arena: ArrayBuffer, meta: Int32Array, stride: number): void
  attachStats(stats: Float64Array): void
  /** Packets read. @throws with the errno name as code when the device is gone. */
  readBatch(): number
  /** Entries taken off the ring, refused ones (counted by reason) included. */
  writeBatch(head: number, count: number): number
  /** READY_READ | READY_WRITE: the callback is called for as long as they hold (level-triggered). 0 stops. */
  watch(ready: number): void
}

/** A timerfd on the clock of `nowUs`. Fires once per arming; arming again moves the deadline. */
export interface NativeTimer extends NativeHandle {
  arm(at: Micros): void
  armIn(span: Micros): void
  disarm(): void
}

/**
 * A socket that hears what rtnetlink announces in the network namespace of its creator. The callback is called while something can
 * be read (level-triggered).
 */
export interface NativeRtnetlink extends NativeHandle {
  /** One datagram of the kernel into `bytes`; returns its length, 0: nothing there, -1: announcements were lost. */
  read(bytes: Uint8Array): number
}

/** The addon. Errors of the operating system are thrown with their name (ENOENT, EPERM, ...) as `code`. */
export interface Native {
  /** @param name '' or a pattern ('tun%d') lets the kernel choose; @param netns path of another network namespace, '' for ours. */
  readonly Tun: new (
    name: string,
    flags: number,
    netns: string,
    onReady: (ready: number) => void,
  ) => NativeTun
  readonly Timer: new (onExpire: () => void) => NativeTimer
  /** @param groups mask of bits `1 << (RTNLGRP_* - 1)`. */
  readonly Rtnetlink: new (
    groups: number,
    onReady: (ready: number) => void,
  ) => NativeRtnetlink
  /** Identifies the network namespace of this thread for as long as the machine is up; '' before Linux 5.14. */
  netnsCookie(): string
  /** CLOCK_MONOTONIC. */
  nowUs(): Micros
  /** Ones'-complement sum (RFC 1071) in network order, folded, as of `sumBytes`; worth its call from some 100 bytes on. */
  sum(bytes: Uint8Array, off: number, len: number): number
  /** SO_MARK on a socket that somebody else opened. */
  setMark(fd: number, mark: number): void
  /** One message to a unix datagram socket; a path with a leading '@' is abstract. */
  sendUnixDatagram(path: string, text: string): void
  /** Sets of capabilities of the main thread, as bit masks. */
  capabilities(): { readonly effective: number; readonly permitted: number; readonly bounding: number }
  /**
   * Replaces this process by another program with the same environment, which has at most the capabilities of `mask` and can get
   * no others. Comes back only to throw; the main thread may have lost capabilities then.
   */
  execWithCapabilities(mask: number, path: string, argv: readonly string[]): never
  /** Offloads of a device that are on, OFFLOAD_* bits. @throws ENODEV */
  offloads(device: string): number
  /** Whether somebody keeps the system's clock right. */
  isClockSynchronised(): boolean
}

let loaded: Native | null = null

/** The addon, loaded on first use: what was built here goes before what the package brought. @throws ERR_NATIVE_MISSING */
export function native(): Native {
  loaded ??= load()
  return loaded
}

function load(): Native {
  const require = createRequire(import.meta.url)
  const root = packageRoot(dirname(fileURLToPath(import.meta.url)))
  const places = ['build/Release', `prebuilds/linux-${process.arch}`].map((dir) => join(root, dir, 'mptcpnet.node'))
  const path = places.find((place) => existsSync(place))
  if (path === undefined) {
    throw new MptcpError(
      'ERR_NATIVE_MISSING',
      `the native addon is not there for linux-${process.arch}: run \`npm run native\` (needs a C compiler and python3)`,
    )
  }
  return require(path) as Native
}

/** The nearest folder above with a package.json: sources run from src/, builds from dist/src/. */
function packageRoot(from: string): string {
  let dir = from
  while (!existsSync(join(dir, 'package.json'))) {
    const up = dirname(dir)
    if (up === dir) return from
    dir = up
  }
  return dir
}
