import { readFileSync } from 'node:fs'
import type { Test } from 'tap'
import { ask, controlPath } from '../../../src/engine/control.js'
import type { Status } from '../../../src/engine/status.js'
import { PROGRAM } from './daemon.js'
import { type Background, becomes, type ExecResult } from './exec.js'
import { ADDRESS, CLIENT_DEVICES, SERVER_DEVICES, type Lab, type Namespace } from './lab.js'
import { PORT, runClient, type Servers } from './peers.js'
import { payloadSha256 } from './payload.js'
import { type Counters, counter, errorsIn, FALLBACK_COUNTERS, linkStats, nstat } from './stats.js'

/** Ports that `serve` takes up for the lab's plain TCP servers. */
export const SERVE_PORT = { http: 9080, digest: 9003 } as const

/** `mptcpd-user serve`, running in the server's namespace, in front of the lab's servers that speak only TCP. */
export class Serving {
  readonly process: Background
  private readonly lab: Lab

  private constructor(lab: Lab, process: Background) {
    this.lab = lab
    this.process = process
  }

  static async start(lab: Lab, ...args: string[]): Promise<Serving> {
    const listen = [ADDRESS.server4, `[${ADDRESS.server6}]`].flatMap((host) => [
      ['--listen', `${host}:${SERVE_PORT.http}`, '--to', `127.0.0.1:${PORT.httpTcp}`],
      ['--listen', `${host}:${SERVE_PORT.digest}`, '--to', `127.0.0.1:${PORT.digestTcp}`],
    ])
    const process = lab.server.spawn(['node', PROGRAM, 'serve', '--tun', lab.tun, ...listen.flat(), ...args])
    await process.waitLine(/\bready\b/)
    return new Serving(lab, process)
  }

  async status(): Promise<Status> {
    return (await ask(controlPath(this.lab.tun), 'status')) as Status
  }

  async counters(): Promise<Counters> {
    const { counters } = (await ask(controlPath(this.lab.tun), 'counters')) as { counters: Record<string, number> }
    return new Map(Object.entries(counters))
  }

  command(...words: string[]): Promise<ExecResult> {
    return this.lab.server.exec(['node', PROGRAM, ...words, '--tun', this.lab.tun], { timeoutMs: 20_000 })
  }
}

/**
 * Linux 6.18: on two fast subflows a receiving MPTCP socket may stop giving back the memory of what was read; when that reaches the
 * receive buffer, the window stays closed for ever (`ss -M`: Recv-Q, nothing readable), kernel to kernel too. In a buffer several times
 * as long as a transfer it does not get there.
 */
export async function widenReceiveBuffer(ns: Namespace): Promise<void> {
  await ns.ok(['sysctl', '-qw', 'net.ipv4.tcp_rmem=4096 536870912 1073741824'])
}

/** Gives every link a rate: on links without one the first subflow alone may be all that a scheduler needs. */
export async function limitLinks(lab: Lab): Promise<void> {
  for (const [ns, devices] of [[lab.client, CLIENT_DEVICES] as const, [lab.server, SERVER_DEVICES] as const]) {
    for (const device of devices) {
      await ns.ok(['tc', 'qdisc', 'add', 'dev', device, 'root', 'tbf', 'rate', '1gbit', 'burst', '256k', 'latency', '10ms'])
    }
  }
}

/** Linux as an MPTCP client in the client's namespace. @param withSecond it opens subflows from its address on link 2 */
export async function setUpKernelClient(lab: Lab, withSecond = true): Promise<void> {
  const { client } = lab
  await client.ok(['sysctl', '-qw', 'net.mptcp.enabled=1'])
  await widenReceiveBuffer(client)
  await client.ok(['ip', 'mptcp', 'limits', 'set', 'subflows', '8', 'add_addr_accepted', '8'])
  const [, link4] = ADDRESS.clientLink4
  const [, link6] = ADDRESS.clientLink6
  await client.ip(`rule add from ${link4} lookup 55\nroute add default via ${ADDRESS.serverLink4[1]} table 55 congctl cubic`)
  await client.ip(`rule add from ${link6} lookup 55\nroute add default via ${ADDRESS.serverLink6[1]} table 55 congctl cubic`, 6)
  if (!withSecond) return
  for (const address of [link4, link6]) await client.ok(['ip', 'mptcp', 'endpoint', 'add', address, 'dev', CLIENT_DEVICES[1], 'subflow'])
}

/** Bytes of the client's links, received and sent. */
export async function bytesOnLinks(lab: Lab): Promise<number[]> {
  const links = await Promise.all(CLIENT_DEVICES.map((device) => linkStats(lab.client, device)))
  return links.flatMap(({ rxBytes, txBytes }) => [rxBytes, txBytes])
}

/** Linux downloads and uploads `len` bytes through `serve`: byte-exact, on both links. */
export async function checkKernelTransfers(t: Test, lab: Lab, servers: Servers, host: string, len: number): Promise<void> {
  const before = await bytesOnLinks(lab)
  await checkKernelDownload(t, lab, host, len)
  const input = readFileSync(servers.payloadPath).subarray(0, len)
  const up = await runClient(lab.client, ['write-then-read', host, SERVE_PORT.digest], { mptcp: true, input })
  t.equal(up.answer, `${len} ${payloadSha256(len)}`, 'upload byte-exact')
  const moved = (await bytesOnLinks(lab)).map((bytes, i) => bytes - (before[i] as number))
  t.comment(`${host}: link 1 ${mb(moved[0])} down, ${mb(moved[1])} up; link 2 ${mb(moved[2])} down, ${mb(moved[3])} up`)
  for (const [i, bytes] of moved.entries())
    t.ok(bytes > len / 50, `link ${(i >> 1) + 1} ${i % 2 === 0 ? 'down' : 'up'} carried more than acknowledgements`, { bytes })
}

export async function checkKernelDownload(t: Test, lab: Lab, host: string, len: number): Promise<void> {
  const { results } = await runClient(lab.client, ['many', host, SERVE_PORT.http, 1, len], { mptcp: true })
  t.match(results, [{ received: len, sha256: payloadSha256(len) }], 'download byte-exact')
}

function mb(bytes = 0): string {
  return `${(bytes / 1e6).toFixed(1)} MB`
}

/** Counters of the kernel and ours that count the two sides of one thing. */
const AGREEING: readonly (readonly [ours: string, kernels: string])[] = [
  ['MPTcpExtMPCapableSYNRX', 'MPTcpExtMPCapableSYNTX'],
  ['MPTcpExtMPJoinSynRx', 'MPTcpExtMPJoinSynTx'],
  ['MPTcpExtMPPrioRx', 'MPTcpExtMPPrioTx'],
  ['MPTcpExtMPPrioTx', 'MPTcpExtMPPrioRx'],
  ['MPTcpExtAddAddrTx', 'MPTcpExtAddAddr'],
  ['MPTcpExtEchoAdd', 'MPTcpExtEchoAddTx'],
  ['MPTcpExtRmAddr', 'MPTcpExtRmAddrTx'],
]

/** The kernel spoke MPTCP, counts no error and no fallback, and what it counts is what we count. @returns the kernel's counters */
export async function assertAgreement(t: Test, lab: Lab, serving: Serving): Promise<Counters> {
  const kernels = await nstat(lab.client)
  const ours = await serving.counters()
  t.ok(counter(kernels, 'MPTcpExtMPCapableSYNACKRX') > 0, 'Linux completed MPTCP handshakes')
  t.same(errorsIn(kernels), {}, 'Linux counts no protocol error')
  t.same(errorsIn(kernels, FALLBACK_COUNTERS), {}, 'no connection fell back')
  t.same(errorsIn(ours), {}, 'nor do we')
  t.same(errorsIn(ours, FALLBACK_COUNTERS), {}, 'nor with us')
  for (const [mine, theirs] of AGREEING) t.equal(counter(ours, mine), counter(kernels, theirs), `${mine} is the peer's ${theirs}`)
  return kernels
}

/** The connection of which a transfer is in progress. */
export async function liveConnection(serving: { status(): Promise<Status> }, subflows: number): Promise<Status['connections'][number]> {
  let found: Status['connections'][number] | undefined
  const isThere = async (): Promise<boolean> => {
    found = (await serving.status()).connections.find((c) => c.subflows.length === subflows)
    return found !== undefined
  }
  if (!(await becomes(isThere, 5000)) || found === undefined) throw new Error(`no connection with ${subflows} subflows`)
  return found
}
