import { US_PER_S } from '../base/time.js'
import type { DaemonConfig } from '../config/daemon-config.js'
import type { CoupledFactory } from '../mptcp/cc/coupled.js'
import { lia } from '../mptcp/cc/lia.js'
import { olia } from '../mptcp/cc/olia.js'
import type { MptcpConfig } from '../mptcp/env.js'
import { SPARSE_AUTO } from '../mptcp/sparse.js'
import type { PathLimits, PathManagerFactory } from '../pathmgr/path-manager.js'
import { PATH_MANAGERS } from '../pathmgr/registry.js'
import { schedulerFactory } from '../scheduler/registry.js'
import { bbr } from '../tcp/cc/bbr.js'
import type { CongestionFactory } from '../tcp/cc/controller.js'
import { cubic } from '../tcp/cc/cubic.js'
import { newReno } from '../tcp/cc/newreno.js'
import type { TcpConfig } from '../tcp/config.js'

/** As `ip mptcp limits set add_addr_accepted`: addresses of a server that a connection joins beyond its own. */
const ADD_ADDR_ACCEPTED = 2
const CONGESTION: Readonly<Record<DaemonConfig['congestion'], CongestionFactory>> = { cubic, newreno: newReno, bbr }
const COUPLED: Readonly<Record<DaemonConfig['coupled'], CoupledFactory | null>> = { none: null, lia, olia }

/** What a configuration says about path managers, for the engine. */
export function pathOptions(config: DaemonConfig): { pathManager: PathManagerFactory; pathLimits: PathLimits } {
  return {
    pathManager: PATH_MANAGERS[config.pathManager],
    pathLimits: {
      extraSubflows: config.extraSubflows,
      addAddrAccepted: ADD_ADDR_ACCEPTED,
      replaceUs: config.replace ? config.replaceInterval * US_PER_S : 0,
    },
  }
}

/** What of the configuration concerns connections towards servers. @param tcp what their subflows have in common */
export function mptcpOptions(config: DaemonConfig, tcp: TcpConfig): Partial<MptcpConfig> {
  return {
    tcp: {
      ...tcp,
      congestion: CONGESTION[config.congestion],
      keepaliveUs: config.keepalive * US_PER_S,
      userTimeoutUs: config.userTimeout * US_PER_S,
    },
    isEnabled: config.mptcp,
    checksum: config.checksum,
    sparse: config.sparseDss === 'auto' ? SPARSE_AUTO : null,
    scheduler: schedulerFactory(config.scheduler),
    coupled: COUPLED[config.coupled],
  }
}
