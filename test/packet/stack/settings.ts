import type { IpAddress } from '../../../src/base/address.js'
import { US_PER_MS, US_PER_S } from '../../../src/base/time.js'
import { type MptcpConfig, mptcpConfig } from '../../../src/mptcp/env.js'
import { bbr } from '../../../src/tcp/cc/bbr.js'
import { cubic } from '../../../src/tcp/cc/cubic.js'
import { newReno } from '../../../src/tcp/cc/newreno.js'
import { type TcpConfig, tcpConfig } from '../../../src/tcp/config.js'
import { type FileReader, readShell } from '../language/shell.js'
import { FastOpen } from './fast-open.js'
import { ScriptPaths } from './paths.js'

const CONGESTION: Readonly<Record<string, TcpConfig['congestion']>> = { reno: newReno, cubic, bbr }

/** Congestion control by its name in Linux, which paces BBR alone; null: none of ours. */
export function congestionOf(name: string): Pick<TcpConfig, 'congestion' | 'pacing'> | null {
  const congestion = CONGESTION[name]
  return congestion === undefined ? null : { congestion, pacing: name === 'bbr' }
}

/** Window scale that Linux announces for a window of at most `bytes`. */
export function scaleOf(bytes: number): number {
  return Math.max(0, Math.min(14, Math.floor(Math.log2(bytes)) - 15))
}

/** Values of `sysctl` lines that set something of ours; the rest of a command is noted. */
type Setter = (settings: Settings, value: string) => boolean

const isOn: (value: string) => boolean = (value) => Number(value) !== 0

/** The documented list (docs/packet-scripts.md). A setter returns false for a value that we do not have. */
const SYSCTLS: Readonly<Record<string, Setter>> = {
  'net.ipv4.tcp_timestamps': (s, v) => s.tcp({ timestamps: isOn(v) }),
  'net.ipv4.tcp_sack': (s, v) => s.tcp({ sack: isOn(v) }),
  'net.ipv4.tcp_syn_retries': (s, v) => s.tcp({ synRetries: Number(v) }),
  'net.ipv4.tcp_rto_max_ms': (s, v) => s.tcp({ rtoMaxUs: Number(v) * US_PER_MS, rtoInitUs: Math.min(US_PER_S, Number(v) * US_PER_MS) }),
  'net.ipv4.tcp_rto_min_us': (s, v) => s.tcp({ rtoMinUs: Number(v) }),
  'net.ipv4.tcp_notsent_lowat': (s, v) => {
    s.notSentMax = Number(v)
    return true
  },
  'net.ipv4.tcp_retries2': (s, v) => s.tcp({ dataRetries: Number(v) }),
  'net.ipv4.tcp_slow_start_after_idle': (s, v) => s.tcp({ idleRestart: isOn(v) }),
  'net.ipv4.tcp_early_retrans': (s, v) => s.tcp({ tailProbes: Number(v) >= 3 }), // 0-2 are without probes
  'net.ipv4.tcp_mtu_probing': (s, v) => s.tcp({ mtuProbing: isOn(v) }),
  'net.ipv4.tcp_congestion_control': (s, v) => {
    const congestion = congestionOf(v)
    return congestion !== null && s.tcp(congestion)
  },
  'net.ipv4.tcp_ecn': (s, v) => {
    const ecn = (['off', 'request', 'accept'] as const)[Number(v)]
    return ecn !== undefined && s.tcp({ ecn })
  },
  'net.ipv4.tcp_rmem': (s, v) => {
    const [, middle = 0, largest = 0] = v.trim().split(/\s+/).map(Number)
    s.isScaleGiven = true
    s.receiveBuffer = middle / 2 // Linux: half of the memory is window (tcp_adv_win_scale 1)
    return s.tcp({ windowScale: scaleOf(largest) })
  },
  'net.ipv4.tcp_wmem': (s, v) => {
    s.sendBuffer = Number(v.trim().split(/\s+/)[2])
    return true
  },
  'net.ipv4.tcp_fastopen': (s, v) => s.fastOpen.setFlags(v),
  'net.ipv4.tcp_fastopen_key': (s, v) => s.fastOpen.setKeys(v),
  'net.mptcp.enabled': (s, v) => s.mptcp({ isEnabled: isOn(v) }),
  'net.mptcp.checksum_enabled': (s, v) => s.mptcp({ checksum: isOn(v) }),
  'net.mptcp.allow_join_initial_addr_port': (s, v) => s.mptcp({ denyJoinInitial: !isOn(v) }),
  'net.mptcp.close_timeout': (s, v) => s.mptcp({ breakBeforeMakeUs: Number(v) * US_PER_S }),
}

/** Names of the documented list. */
export const KNOWN_SYSCTLS: readonly string[] = Object.keys(SYSCTLS)

/** Configuration of the stack under test, as `sysctl` lines of a script change it; sockets take it over when they are opened. */
export class Settings {
  /** Bytes; Linux with tcp_rmem "4096 131072 16777215". */
  receiveBuffer = 65_536
  sendBuffer = 4 << 20
  isScaleGiven = false
  /** Bytes that were written and not sent, up to which more may be written. */
  notSentMax = Number.POSITIVE_INFINITY
  /** What no line of ours stands for. */
  readonly noted: string[] = []
  private tcpValues: TcpConfig
  private mptcpValues: MptcpConfig

  readonly fastOpen = new FastOpen()
  /** What `ip mptcp` sets. */
  readonly paths: ScriptPaths

  /** @param local address of the stack under test */
  constructor(mtu: number, local: IpAddress) {
    this.paths = new ScriptPaths(local)
    // Linux paces BBR only, unless the queueing discipline fq does it, and looks for black holes only when told to
    this.tcpValues = tcpConfig({ mss4: mtu - 40, mss6: mtu - 60, windowScale: 8, nagle: true, pacing: false, mtuProbing: false })
    this.mptcpValues = mptcpConfig({ tcp: this.tcpValues })
  }

  get tcpConfig(): TcpConfig {
    return this.tcpValues
  }

  get mptcpConfig(): MptcpConfig {
    return this.mptcpValues
  }

  tcp(over: Partial<TcpConfig>): true {
    this.tcpValues = { ...this.tcpValues, ...over }
    return this.mptcp({})
  }

  mptcp(over: Partial<MptcpConfig>): true {
    this.mptcpValues = { ...this.mptcpValues, ...over, tcp: this.tcpValues }
    return true
  }

  /** The scale that a script shows, which counts unless `tcp_rmem` gives one. */
  showScale(windowScale: number): void {
    if (!this.isScaleGiven) this.tcp({ windowScale })
  }

  /** A backquoted command: settings that we know act, everything else is noted. @param read files that it runs */
  command(text: string, read: FileReader): void {
    const { assignments, rest } = readShell(text, read)
    for (const line of rest) {
      if (/^ip tcp_metrics flush\b/.test(line)) this.fastOpen.forget()
      else if (/^tc qdisc .*\broot fq\b/.test(line))
        this.tcp({ pacing: true }) // that discipline spreads what a flow sends
      else if (!this.paths.command(line)) this.noted.push(line)
    }
    for (const { name, value } of assignments) {
      if (SYSCTLS[name]?.(this, value) !== true) this.noted.push(`sysctl ${name}=${value}`)
    }
  }
}
