import type { IpAddress } from '../base/address.js'
import type { Micros } from '../base/time.js'
import type { Path } from './path.js'

/** What a path manager is told of one connection, in the order in which it happened. */
export type PathEvent =
  /** Joins are allowed from now on. `paths`: all that serve the destination, oldest first; subflow `subflow` goes by `path` already. */
  | { readonly kind: 'established'; readonly subflow: number; readonly path: Path; readonly paths: readonly Path[] }
  /** A path that serves the destination is there, or has changed (same id). */
  | { readonly kind: 'path-up'; readonly path: Path }
  /** A path is gone; its subflows have been reset, which is told next. */
  | { readonly kind: 'path-down'; readonly path: Path }
  /** The join that was asked for is on its way. */
  | { readonly kind: 'opened'; readonly subflow: number; readonly path: Path }
  /** The join that was asked for cannot be: `why` is for people; it will not change by itself when `isFinal`. */
  | { readonly kind: 'refused'; readonly path: Path; readonly why: string; readonly isFinal: boolean }
  /** Both handshakes of the subflow are through. */
  | { readonly kind: 'subflow-up'; readonly subflow: number }
  /** `isFault`: the path, the network or the peer ended it, not a change of the path, nor a command while it worked. */
  | { readonly kind: 'subflow-down'; readonly subflow: number; readonly why: string; readonly isFault: boolean }
  /** The subflow does not answer; its data goes by others meanwhile. */
  | { readonly kind: 'subflow-silent'; readonly subflow: number }
  | { readonly kind: 'subflow-back'; readonly subflow: number }
  /** The peer asks to use the subflow as backup, or not (MP_PRIO, RFC 8684 §3.3.8). */
  | { readonly kind: 'priority'; readonly subflow: number; readonly isBackup: boolean }
  /** RFC 8684 §3.4.1, §3.4.2. */
  | { readonly kind: 'announced'; readonly id: number; readonly address: IpAddress; readonly port: number }
  | { readonly kind: 'withdrawn'; readonly id: number }

/** What a path manager asks for. Carried out at once; refusals come as events. */
export type PathCommand =
  | { readonly kind: 'open'; readonly path: Path; readonly why: string }
  /** Resets the subflow; its data goes again by others. Of a join that is not answered nothing is sent. */
  | { readonly kind: 'close'; readonly subflow: number; readonly why: string }
  | { readonly kind: 'set-backup'; readonly subflow: number; readonly isBackup: boolean }
  /** Address ids 1-255, RFC 8684 §3.4. */
  | { readonly kind: 'announce'; readonly id: number; readonly address: IpAddress; readonly port: number }
  | { readonly kind: 'withdraw'; readonly id: number }

/** Measurements of a subflow, overwritten by every call that fills them. */
export class SubflowStats {
  /** Payload acknowledged by the peer plus payload received, over its whole life. */
  bytes = 0
  /** 0: not measured. */
  srttUs: Micros = 0
  segsOut = 0
  retransSegs = 0
}

/** What a manager may read about its connection. */
export interface PathView {
  readonly remote: IpAddress
  readonly port: number
  /** @returns false: there is no such subflow (any more) */
  stats(subflow: number, out: SubflowStats): boolean
}

/** Bounds and habits, for all managers; names as in `ip mptcp limits`. */
export interface PathLimits {
  /** Subflows by detours beyond the first subflow, 0-8. */
  readonly extraSubflows: number
  /** Subflows to addresses that the peer announces, 0-8. */
  readonly addAddrAccepted: number
  /** Interval of the comparison of paths, 0: paths are not replaced. */
  readonly replaceUs: Micros
}

/**
 * Decides which subflows one connection has. Pure: `handle` is called with each event, and with null when the time that the last call
 * returned has come; it appends commands to `out` and returns when it wants to be called again, NEVER: only with an event.
 */
export interface PathManager {
  readonly name: string
  handle(event: PathEvent | null, now: Micros, out: PathCommand[]): Micros
  /** Why there is no subflow by that path at the moment, for people; null: there is one, or it does not matter. */
  reason(path: Path, now: Micros): string | null
}

/** Makes the manager of a connection. */
export type PathManagerFactory = (view: PathView, limits: PathLimits) => PathManager
