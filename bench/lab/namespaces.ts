import { existsSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { exec, execOk } from '../../test/e2e/lib/exec.js'
import type { NodeSpec, Topology } from './topology.js'

const NETNS_DIR = '/run/netns'
/** What waits for the emulator in a device: it must never be the bottleneck. */
const TXQUEUELEN = 10_000
const GRACE_MS = 2_000

/** Name of the network namespace of a node, unique to the laboratory. */
export function namespaceOf(lab: string, node: string): string {
  return `mptcpd-lab-${lab}-${node}`
}

export function netnsPath(namespace: string): string {
  return `${NETNS_DIR}/${namespace}`
}

/** Makes the namespaces of all nodes, without devices. */
export async function addNamespaces(lab: string, topology: Topology): Promise<void> {
  await Promise.all(
    topology.nodes.map(async (node) => {
      const ns = namespaceOf(lab, node.name)
      await execOk(['ip', 'netns', 'add', ns])
      const values = { ...defaultSysctls(topology, node), ...node.sysctls }
      await execOk(['ip', 'netns', 'exec', ns, 'sysctl', '-qw', ...Object.entries(values).map(([key, value]) => `${key}=${value}`)])
      await batch(ns, ['link set lo up'])
    }),
  )
}

/** Gives the devices that the emulator opened their addresses, and the nodes their routes. */
export async function configureNodes(lab: string, topology: Topology): Promise<void> {
  await Promise.all(
    topology.nodes.map(async (node) => {
      const lines: string[] = []
      for (const { ends, mtu } of topology.links) {
        for (const { device, addresses } of ends.filter((end) => end.node === node.name)) {
          for (const address of addresses) lines.push(`addr add ${address} dev ${device}${address.includes(':') ? ' nodad' : ''}`)
          // addrgenmode none: link-local addresses are of no use without neighbours, and bring packets of their own.
          lines.push(`link set dev ${device} mtu ${mtu} txqueuelen ${TXQUEUELEN} ${topology.hasIpv6 ? 'addrgenmode none ' : ''}up`)
        }
      }
      lines.push(...node.routes.map((route) => `${route.includes(':') ? '-6 ' : ''}route add ${route}`))
      const ns = namespaceOf(lab, node.name)
      await batch(
        ns,
        lines.filter((line) => !line.startsWith('-6 ')),
      )
      await batch(
        ns,
        lines.filter((line) => line.startsWith('-6 ')).map((line) => line.slice(3)),
        ['-6'],
      )
    }),
  )
}

/** Ends what runs in the namespaces, after two seconds by force, and removes them. Those that are gone do not matter. */
export async function removeNamespaces(names: readonly string[]): Promise<void> {
  const left = names.filter((name) => existsSync(netnsPath(name)))
  await signalAll(left, 'SIGTERM')
  const deadline = performance.now() + GRACE_MS
  while ((await pidsIn(left)).length > 0 && performance.now() < deadline) await sleep(20)
  await signalAll(left, 'SIGKILL')
  for (const name of left) await exec(['ip', 'netns', 'del', name])
}

/** Packets that the kernel dropped in front of the emulator because its device was full, by device. */
export async function droppedAtEntrance(namespace: string): Promise<Map<string, number>> {
  const { stdout } = await execOk(['ip', '-n', namespace, '-s', '-j', 'link', 'show'])
  const links = JSON.parse(stdout) as { ifname: string; stats64: { tx: { dropped: number } } }[]
  return new Map(links.map(({ ifname, stats64 }) => [ifname, stats64.tx.dropped]))
}

function defaultSysctls(topology: Topology, node: NodeSpec): Record<string, string> {
  const values: Record<string, string> = topology.hasIpv6
    ? { 'net.ipv6.conf.default.accept_dad': '0' }
    : { 'net.ipv6.conf.all.disable_ipv6': '1', 'net.ipv6.conf.default.disable_ipv6': '1' }
  if (node.forward) {
    values['net.ipv4.ip_forward'] = '1'
    if (topology.hasIpv6) values['net.ipv6.conf.all.forwarding'] = '1'
  }
  return values
}

async function batch(namespace: string, lines: readonly string[], flags: readonly string[] = []): Promise<void> {
  if (lines.length > 0) await execOk(['ip', '-n', namespace, ...flags, '-batch', '-'], { input: `${lines.join('\n')}\n` })
}

async function pidsIn(namespaces: readonly string[]): Promise<number[]> {
  const lists = await Promise.all(namespaces.map(async (name) => (await exec(['ip', 'netns', 'pids', name])).stdout))
  return lists.flatMap((text) => text.split('\n').filter(Boolean).map(Number))
}

async function signalAll(namespaces: readonly string[], signal: NodeJS.Signals): Promise<void> {
  for (const pid of await pidsIn(namespaces)) {
    try {
      process.kill(pid, signal)
    } catch {
      // It ended in between.
    }
  }
}
