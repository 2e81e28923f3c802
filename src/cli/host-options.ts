import type { DaemonConfig } from '../config/daemon-config.js'
import type { HostReport, ProbeResult } from '../host/report.js'
import type { EgressPlan, HostOptions } from '../host/wanted.js'
import type { Setup } from './setup.js'

/** Largest MTU of a TUN: the application side speaks in packets of 64 KB even without offloads. */
export const TUN_MTU = 65_535

/** What of the configuration concerns the host. @param egresses those that are there from the start */
export function hostOptions(config: DaemonConfig, setup: Setup, egresses: readonly EgressPlan[] = []): HostOptions {
  return {
    tun: config.tun,
    mtu: TUN_MTU,
    families: setup.families,
    egresses,
    capture: { routes: config.routes, all: config.all, includeLocal: config.includeLocal, lan: config.lan },
    failClosed: config.failClosed,
  }
}

/** What `status` says about the host. */
export function hostReport(config: DaemonConfig, setup: Setup, probes: readonly ProbeResult[] | null): HostReport {
  const { capture, failClosed } = hostOptions(config, setup)
  return { capture: { ...capture, families: setup.families.map((f) => f.family), failClosed }, probes }
}
