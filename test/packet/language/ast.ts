import type { Micros } from '../../../src/base/time.js'

/** When something happens. Relative times count from the event before. */
export type EventTime =
  | { readonly kind: 'at'; readonly isRelative: boolean; readonly us: Micros }
  | { readonly kind: 'range'; readonly isRelative: boolean; readonly fromUs: Micros; readonly toUs: Micros }
  | { readonly kind: 'any' }

export interface ScriptEvent {
  readonly line: number
  readonly time: EventTime
  readonly action: Action
}

export type Action = TcpSpec | IcmpSpec | CallSpec | CommandSpec | CodeSpec

/** An address and port of a packet; both null and 0: not given. With a `name` they are what the script calls so (`addr[name]`). */
export interface EndSpec {
  readonly address: string | null
  readonly port: number
  readonly name: string | null
}

export interface TupleSpec {
  readonly source: EndSpec
  readonly destination: EndSpec
}

/** ECN: -1 not given, 0-3 the codepoint, 4 either ECT. */
export interface IpSpec {
  readonly ecn: number
  readonly tos: number
  readonly ttl: number
}

export interface TcpSpec {
  readonly kind: 'tcp'
  readonly isInbound: boolean
  readonly ip: IpSpec | null
  readonly tuple: TupleSpec | null
  /** As on the wire. */
  readonly flags: number
  readonly seq: number
  readonly len: number
  /** null: not given. */
  readonly ack: number | null
  readonly window: number | null
  readonly urgent: number
  /** null: any. */
  readonly options: readonly OptionSpec[] | null
}

export interface IcmpSpec {
  readonly kind: 'icmp'
  readonly isInbound: boolean
  readonly tuple: TupleSpec | null
  readonly type: string
  /** '' when not given. */
  readonly code: string
  /** -1 when not given. */
  readonly mtu: number
  /** What it quotes: the sequence number of a segment of ours and its length; null: the latest. */
  readonly quoted: { readonly seq: number; readonly len: number } | null
}

/** A key that has a name in the script; `value` binds it. */
export interface KeyRef {
  readonly name: string
  readonly value: bigint | null
}

/** A data sequence number of `len` bytes on the wire: relative to the initial one, or `base` names a key and `value` is added to its IDSN. */
export interface DataSeq {
  readonly len: 4 | 8
  /** null: any, or the current one. */
  readonly value: bigint | null
  readonly key: string | null
}

/** Of a mapping. */
export type Checksum = 'none' | 'computed' | number

export type OptionSpec =
  | { readonly kind: 'nop' | 'eol' | 'sackOK' }
  | { readonly kind: 'mss' | 'wscale'; readonly value: number }
  | { readonly kind: 'sack'; readonly blocks: readonly (readonly [number, number])[] }
  | { readonly kind: 'TS'; readonly val: number; readonly ecr: number }
  | { readonly kind: 'FO'; readonly cookie: string }
  | MptcpSpec

export type MptcpSpec =
  | {
      readonly kind: 'mp_capable'
      readonly version: number
      readonly flags: number
      readonly keys: readonly KeyRef[]
      /** -1: no data. */
      readonly dataLen: number
      /** Of the data: 'none', a value, or 'computed'. */
      readonly checksum: Checksum
    }
  | {
      readonly kind: 'dss'
      readonly ack: DataSeq | null
      readonly dsn: DataSeq | null
      readonly ssn: number
      readonly dll: number
      readonly checksum: Checksum
      readonly fin: boolean
    }
  | { readonly kind: 'mp_join_syn'; readonly backup: boolean; readonly id: number; readonly token: string | null; readonly nonce: number }
  | { readonly kind: 'mp_join_syn_ack'; readonly backup: boolean; readonly id: number; readonly nonce: number }
  | { readonly kind: 'mp_join_ack' }
  | {
      readonly kind: 'add_address'
      /** -1: not given. */
      readonly id: number
      /** null: what `name` stands for. */
      readonly address: string | null
      /** `addr[name]`, '' for none. */
      readonly name: string
      /** 0: none. */
      readonly port: number
      readonly isEcho: boolean
      /** null: computed. */
      readonly hmac: bigint | null
    }
  | { readonly kind: 'remove_address'; readonly ids: readonly number[] }
  /** `id`: the form of version 0, with the id of another subflow; -1: none. */
  | { readonly kind: 'mp_prio'; readonly backup: boolean; readonly id: number }
  | { readonly kind: 'mp_fail'; readonly dsn: DataSeq }
  | { readonly kind: 'mp_fastclose'; readonly key: KeyRef | null; readonly add: bigint }
  | { readonly kind: 'mp_tcprst'; readonly reason: number; readonly isTransient: boolean }

export interface CallSpec {
  readonly kind: 'call'
  /** End of a blocking call, relative as the start is; null: it does not block. */
  readonly endUs: Micros | null
  readonly name: string
  readonly args: readonly Expr[]
  readonly result: Expr
  /** '' when none is expected. */
  readonly errno: string
}

export type Expr =
  | { readonly kind: 'any' }
  | { readonly kind: 'int'; readonly value: number }
  | { readonly kind: 'word'; readonly name: string }
  | { readonly kind: 'string'; readonly text: string }
  | { readonly kind: 'or'; readonly left: Expr; readonly right: Expr }
  | { readonly kind: 'list'; readonly items: readonly Expr[] }
  /** `{ name=value, ... }`, also `name(N)=value`; a plain `{ a, b }` has numbers as names. */
  | { readonly kind: 'struct'; readonly fields: ReadonlyMap<string, Expr> }

export interface CommandSpec {
  readonly kind: 'command'
  readonly text: string
}

export interface CodeSpec {
  readonly kind: 'code'
  readonly text: string
}

export interface Script {
  readonly options: ReadonlyMap<string, string>
  readonly init: CommandSpec | null
  readonly events: readonly ScriptEvent[]
  readonly cleanup: CommandSpec | null
}
