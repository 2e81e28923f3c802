import { spawn } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import { join } from 'node:path'
import { type Dropper, chainsOf, dropperOf, policyDropper, traceLines } from './firewall.js'
import { legacyDropper, legacyDrops } from './legacy.js'
import type { HostRunner } from './runner.js'
import { run } from './runner.js'

/** `nft monitor` says nothing when it is ready. */
const MONITOR_START_MS = 300
/** The last lines of a trace come this much after the packet. */
const MONITOR_END_MS = 200

/**
 * Lets `probe` send one packet while the kernel reports every rule that it meets. @returns who dropped it (or its answer), null: nobody
 * among the rules of nftables and iptables-legacy, or no trace is to be had.
 */
export async function traceProbe(
  runner: HostRunner,
  tun: string,
  family: 4 | 6,
  prefix: string,
  port: number,
  probe: () => Promise<unknown>,
): Promise<Dropper | null> {
  const { start, stop } = traceLines(tun, family, prefix, port)
  await runner.nft(start)
  const legacyBefore = await legacyDrops(family)
  const monitor = spawn('nft', ['monitor', 'trace'], { stdio: ['ignore', 'pipe', 'ignore'] })
  let text = ''
  monitor.stdout.setEncoding('utf8').on('data', (part: string) => {
    text += part
  })
  monitor.on('error', () => {})
  const ended = new Promise((resolve) => monitor.on('close', resolve))
  await pause(MONITOR_START_MS)
  await probe()
  await pause(MONITOR_END_MS)
  monitor.kill()
  await ended
  await runner.nft(stop)
  return (
    dropperOf(text, tun) ??
    legacyDropper(legacyBefore, await legacyDrops(family), family) ??
    policyDropper(await foreignChains(), family, tun)
  )
}

/** The host's chains; none when nft cannot list them. */
export async function foreignChains(): Promise<ReturnType<typeof chainsOf>> {
  try {
    return chainsOf(await run(['nft', '-j', 'list', 'chains']))
  } catch {
    return []
  }
}

/** Whether `program` stands in a folder of PATH. */
export function hasProgram(program: string): boolean {
  return (process.env.PATH ?? '').split(':').some((dir) => {
    try {
      accessSync(join(dir, program), constants.X_OK)
      return true
    } catch {
      return false
    }
  })
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
