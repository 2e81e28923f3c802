import t, { type Test } from 'tap'
import { Daemon } from './lib/daemon.js'
import { becomes } from './lib/exec.js'
import { bytesOnLinks, limitLinks, liveConnection, widenReceiveBuffer } from './lib/interop.js'
import { ADDRESS, Lab } from './lib/lab.js'
import { curlDownload, curlUpload, PORT, runClient, type Servers, spawnClient, startServers } from './lib/peers.js'
import { PAYLOAD_LEN, payloadSha256 } from './lib/payload.js'
import { type Counters, counter, errorsIn, FALLBACK_COUNTERS, nstat } from './lib/stats.js'

// The daemon is the MPTCP client, stock Linux the server. The second subflow leaves by link 2.

/** Flags that give the daemon a path by link 2, in both families. */
const SECOND = [`wan2@${ADDRESS.serverLink4[1]}`, `wan2@${ADDRESS.serverLink6[1]}`].flatMap((path) => ['--path', path])
/** Kernel counters of the server and ours that count the two sides of one thing. */
const AGREEING: readonly (readonly [ours: string, kernels: string])[] = [
  ['MPTcpExtMPCapableSYNTX', 'MPTcpExtMPCapableSYNRX'],
  ['MPTcpExtMPCapableSYNACKRX', 'MPTcpExtMPCapableSYNRX'],
  ['MPTcpExtMPJoinSynTx', 'MPTcpExtMPJoinSynRx'],
  ['MPTcpExtMPPrioRx', 'MPTcpExtMPPrioTx'],
  ['MPTcpExtAddAddr', 'MPTcpExtAddAddrTx'],
  ['MPTcpExtEchoAddTx', 'MPTcpExtEchoAdd'],
  ['MPTcpExtRmAddr', 'MPTcpExtRmAddrTx'],
]

async function start(t: Test, sysctls: readonly string[] = [], ...args: string[]): Promise<{ lab: Lab; servers: Servers; daemon: Daemon }> {
  const lab = await Lab.create()
  t.teardown(() => lab.close())
  const servers = await startServers(lab)
  await widenReceiveBuffer(lab.server)
  await limitLinks(lab)
  if (sysctls.length > 0) await lab.server.ok(['sysctl', '-qw', ...sysctls])
  const daemon = await Daemon.start(lab, { args: [...SECOND, ...args] })
  return { lab, servers, daemon }
}

async function assertAgreement(t: Test, lab: Lab, daemon: Daemon): Promise<Counters> {
  const kernels = await nstat(lab.server)
  const ours = await daemon.counters()
  t.ok(counter(kernels, 'MPTcpExtMPCapableACKRX') > 0, 'Linux completed MPTCP handshakes')
  for (const [who, counters] of [['Linux', kernels] as const, ['the daemon', ours] as const]) {
    t.same(errorsIn(counters), {}, `${who} counts no protocol error`)
    t.same(errorsIn(counters, FALLBACK_COUNTERS), {}, `${who}: no connection fell back`)
  }
  for (const [mine, theirs] of AGREEING) t.equal(counter(ours, mine), counter(kernels, theirs), `${mine} is the peer's ${theirs}`)
  return kernels
}

async function checkBothWays(t: Test, lab: Lab, servers: Servers, host: string): Promise<void> {
  const before = await bytesOnLinks(lab)
  const down = await curlDownload(lab.client, host, PORT.http, lab.dir, PAYLOAD_LEN)
  t.equal(down.sha256, payloadSha256(PAYLOAD_LEN), 'download byte-exact')
  const up = await curlUpload(lab.client, host, PORT.http, servers.payloadPath)
  t.equal(up.sha256, payloadSha256(PAYLOAD_LEN), 'upload byte-exact')
  const moved = (await bytesOnLinks(lab)).map((bytes, i) => bytes - (before[i] as number))
  for (const [i, bytes] of moved.entries())
    t.ok(bytes > PAYLOAD_LEN / 50, `link ${(i >> 1) + 1} ${i % 2 === 0 ? 'down' : 'up'} carried more than acknowledgements`, { bytes })
}

/** A download that stops after the first MiB for so long. */
async function stalled(lab: Lab, len: number, seconds: number): Promise<() => Promise<Record<string, unknown>>> {
  const client = spawnClient(lab.client, ['stall', ADDRESS.server4, PORT.http, len, seconds])
  await client.waitLine(/"stalled"/)
  return async () => JSON.parse(await client.waitLine(/sha256/)) as Record<string, unknown>
}

t.test('Linux as server: both families, two subflows, both ways, byte-exact', async (t) => {
  const { lab, servers, daemon } = await start(t)
  for (const host of [ADDRESS.server4, ADDRESS.server6]) await checkBothWays(t, lab, servers, host)
  const kernels = await assertAgreement(t, lab, daemon)
  t.equal(counter(kernels, 'MPTcpExtMPJoinAckRx'), 4, 'every connection was joined')
})

t.test('checksums and SYN cookies of Linux', async (t) => {
  const { lab, servers, daemon } = await start(t, ['net.mptcp.checksum_enabled=1', 'net.ipv4.tcp_syncookies=2'])
  await checkBothWays(t, lab, servers, ADDRESS.server4)
  const kernels = await assertAgreement(t, lab, daemon)
  t.ok(counter(kernels, 'TcpExtSyncookiesRecv') >= 2, 'cookies were used')
  t.equal(counter(kernels, 'MPTcpExtMPJoinAckRx'), 2, 'for joins too')
})

t.test('FASTCLOSE of ours and of Linux', async (t) => {
  const { lab, daemon } = await start(t)
  const finish = await stalled(lab, 30_000_000, 1.5)
  const { subflows } = await liveConnection(daemon, 2)
  t.equal(subflows.length, 2)
  t.match(await finish(), { received: 30_000_000, sha256: payloadSha256(30_000_000) })
  t.match(await runClient(lab.client, ['abort', ADDRESS.server4, PORT.http, 1_000_000]), { received: /\d+/ })
  t.ok(await becomes(async () => (await daemon.status()).connections.length === 0, 3000), 'the reset ends the connection')
  await assertAgreement(t, lab, daemon)
  t.ok(counter(await nstat(lab.server), 'MPTcpExtMPFastcloseRx') >= 1, 'Linux got our FASTCLOSE')
  t.equal(counter(await daemon.counters(), 'MPTcpExtMPFastcloseTx'), 1)
  const reset = await lab.client.exec(['curl', '-s', '-o', '/dev/null', `http://${ADDRESS.server4}:${PORT.http}/reset/1000000`])
  t.not(reset.code, 0, 'the server resets')
  t.ok(counter(await nstat(lab.server), 'MPTcpExtMPFastcloseTx') >= 1, 'Linux sent a FASTCLOSE')
  t.equal(counter(await daemon.counters(), 'MPTcpExtMPFastcloseRx'), 1)
})

/** TCP sockets of the server at `address` that wait for the end of their connection. */
async function closing(lab: Lab, address: string): Promise<string> {
  return (await lab.server.ok(['ss', '-Htn', 'state', 'fin-wait-1', 'src', address])).stdout
}

t.test('MP_PRIO and REMOVE_ADDR of ours: Linux leaves a backup alone and ends the subflow of an address that is gone', async (t) => {
  const { lab, daemon } = await start(t)
  const len = 60_000_000
  const linux = async (name: string): Promise<number> => counter(await nstat(lab.server), name)
  const finish = await stalled(lab, len, 2)
  await liveConnection(daemon, 2)
  const [wan2] = SECOND.filter((word) => word.startsWith('wan2')) as [string]
  t.match(await daemon.command('path', 'set', wan2, '--backup'), { code: 0 })
  t.ok(await becomes(async () => (await linux('MPTcpExtMPPrioRx')) >= 1, 2000), 'Linux gets MP_PRIO')
  const before = await bytesOnLinks(lab)
  t.match(await finish(), { received: len, sha256: payloadSha256(len) })
  const [down1, , down2] = (await bytesOnLinks(lab)).map((bytes, i) => bytes - (before[i] as number)) as [number, number, number]
  t.ok(down1 > len / 2 && down2 < len / 20, 'and sends by the other link', { down1, down2 })
  const finishSecond = await stalled(lab, len, 2)
  await liveConnection(daemon, 2)
  t.match(await daemon.command('path', 'remove', wan2), { code: 0 })
  t.ok(await becomes(async () => (await linux('MPTcpExtRmAddr')) >= 1, 2000), 'Linux gets REMOVE_ADDR')
  await liveConnection(daemon, 1)
  const ofLink2 = async (): Promise<string> =>
    (await lab.server.ok(['ss', '-HtnO', 'state', 'established', 'dst', ADDRESS.clientLink4[1]])).stdout
  t.ok(await becomes(async () => (await ofLink2()) === '', 2000), 'it has no subflow by link 2 any more')
  t.match(await finishSecond(), { received: len, sha256: payloadSha256(len) })
  const kernels = await nstat(lab.server)
  t.same(errorsIn(kernels), {})
  t.same(errorsIn(kernels, FALLBACK_COUNTERS), {})
})

t.test('flag C, ADD_ADDR, MP_PRIO and REMOVE_ADDR of Linux: its announced address is joined', async (t) => {
  const lab = await Lab.create()
  t.teardown(() => lab.close())
  await startServers(lab)
  await widenReceiveBuffer(lab.server)
  const address = ADDRESS.serverLink4[1]
  await lab.server.ok(['sysctl', '-qw', 'net.mptcp.allow_join_initial_addr_port=0'])
  await lab.server.ok(['ip', 'mptcp', 'endpoint', 'add', address, 'dev', 'net2', 'id', '7', 'signal'])
  const daemon = await Daemon.start(lab, { args: ['--path-manager', 'full-mesh'] })
  const finish = await stalled(lab, 30_000_000, 3)
  const { subflows } = await liveConnection(daemon, 2)
  t.match(subflows[1]?.remote, address, 'the join ends at the announced address')
  await lab.server.ok(['ip', 'mptcp', 'endpoint', 'change', 'id', '7', 'backup'])
  const isBackup = async (): Promise<boolean> => (await daemon.status()).connections.some((c) => c.subflows.some((s) => s.isBackup))
  t.ok(await becomes(isBackup, 2000), 'MP_PRIO: it is a backup')
  await lab.server.ok(['ip', 'mptcp', 'endpoint', 'delete', 'id', '7'])
  const isWithdrawn = async (): Promise<boolean> => counter(await daemon.counters(), 'MPTcpExtRmAddr') === 1
  t.ok(await becomes(isWithdrawn, 3000), 'REMOVE_ADDR arrives')
  t.equal((await daemon.status()).connections[0]?.subflows.length, 2, 'Linux has shut it down, but its FIN waits for our window')
  t.match(await finish(), { received: 30_000_000, sha256: payloadSha256(30_000_000) })
  t.ok(await becomes(async () => (await closing(lab, address)) === '', 2000), 'and then the FINs are exchanged')
  const kernels = await assertAgreement(t, lab, daemon)
  for (const name of ['MPTcpExtAddAddrTx', 'MPTcpExtMPPrioTx', 'MPTcpExtRmAddrTx']) t.equal(counter(kernels, name), 1, name)
})
