import type { DaemonConfig } from '../config/daemon-config.js'
import type { CoupledFactory } from '../mptcp/cc/coupled.js'
import { lia } from '../mptcp/cc/lia.js'
import { olia } from '../mptcp/cc/olia.js'
import type { MptcpConfig } from '../mptcp/env.js'
import { schedulerFactory } from '../scheduler/registry.js'
import { bbr } from '../tcp/cc/bbr.js'
import type { CongestionFactory } from '../tcp/cc/controller.js'
import { cubic } from '../tcp/cc/cubic.js'
import { newReno } from '../tcp/cc/newreno.js'
import type { TcpConfig } from '../tcp/config.js'

const CONGESTION: Readonly<Record<DaemonConfig['congestion'], CongestionFactory>> = { cubic, newreno: newReno, bbr }
const COUPLED: Readonly<Record<DaemonConfig['coupled'], CoupledFactory | null>> = { none: null, lia, olia }

/** What of the configuration concerns connections towards servers. @param tcp what their subflows have in common */
export function mptcpOptions(config: DaemonConfig, tcp: TcpConfig): Partial<MptcpConfig> {
  return {
    tcp: { ...tcp, congestion: CONGESTION[config.congestion] },
    isEnabled: config.mptcp,
    checksum: config.checksum,
    scheduler: schedulerFactory(config.scheduler),
    coupled: COUPLED[config.coupled],
  }
}
