import t from 'tap'
import { spawnSync } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import { Capture } from './lib/capture.js'
import { becomes } from './lib/exec.js'
import { ADDRESS, Lab } from './lib/lab.js'
import {
  assertAgreement,
  checkKernelDownload,
  checkKernelTransfers,
  limitLinks,
  liveConnection,
  SERVE_PORT,
  Serving,
  setUpKernelClient,
} from './lib/interop.js'
import { runClient, spawnClient, startServers } from './lib/peers.js'
import { PAYLOAD_LEN, payloadSha256 } from './lib/payload.js'
import { counter, nstat } from './lib/stats.js'

// Stock Linux is the MPTCP client, `mptcpd-user serve` the server in front of a plain TCP service.

t.test('Linux as client: both families, two subflows, both ways, byte-exact; everything is undone', async (t) => {
  const lab = await Lab.create()
  t.teardown(() => lab.close())
  const servers = await startServers(lab)
  await setUpKernelClient(lab)
  await limitLinks(lab)
  const before = (await lab.server.ok(['nft', 'list', 'ruleset'])).stdout
  const serving = await Serving.start(lab)
  for (const host of [ADDRESS.server4, ADDRESS.server6]) await checkKernelTransfers(t, lab, servers, host, PAYLOAD_LEN)
  const kernels = await assertAgreement(t, lab, serving)
  t.equal(counter(kernels, 'MPTcpExtMPJoinSynAckRx'), 4, 'every connection was joined')
  const { results } = await runClient(lab.client, ['many', ADDRESS.server4, SERVE_PORT.http, 4, 1_000_000])
  t.equal(
    (results as { received: number }[]).reduce((sum, r) => sum + r.received, 0),
    4_000_000,
    'plain TCP is served too',
  )
  const down = await serving.command('down', '--json')
  t.match(JSON.parse(down.stdout), { exitCode: 0, failures: [] })
  t.equal(await serving.process.exited, 0)
  t.equal((await lab.server.ok(['nft', 'list', 'ruleset'])).stdout, before, 'no rule is left')
  t.notMatch((await lab.server.ok(['ip', 'rule'])).stdout, /77\d\d/, 'and no routing rule')
})

t.test('Linux as client with checksums, and against SYN cookies', async (t) => {
  const lab = await Lab.create()
  t.teardown(() => lab.close())
  const servers = await startServers(lab)
  await setUpKernelClient(lab)
  await limitLinks(lab)
  await lab.client.ok(['sysctl', '-qw', 'net.mptcp.checksum_enabled=1'])
  const serving = await Serving.start(lab, '--backlog', '0')
  const client = spawnClient(lab.client, ['stall', ADDRESS.server4, SERVE_PORT.http, 20_000_000, 0.3], true)
  await client.waitLine(/"stalled"/)
  t.ok((await liveConnection(serving, 2)).isMptcp)
  t.match(JSON.parse(await client.waitLine(/sha256/)), { received: 20_000_000, sha256: payloadSha256(20_000_000) })
  await checkKernelTransfers(t, lab, servers, ADDRESS.server6, 20_000_000)
  const ours = await serving.counters()
  t.ok(counter(ours, 'TcpExtSyncookiesRecv') >= 3, 'the handshakes went without state')
  t.equal(counter(ours, 'TcpExtSyncookiesSent'), counter(ours, 'TcpExtSyncookiesRecv'))
  await assertAgreement(t, lab, serving)
})

t.test('flag C and ADD_ADDR: Linux joins at the announced address only', async (t) => {
  const lab = await Lab.create()
  t.teardown(() => lab.close())
  await startServers(lab)
  await setUpKernelClient(lab, false)
  const serving = await Serving.start(lab, '--deny-join-initial', '--announce', ADDRESS.serverLink4[1])
  const client = spawnClient(lab.client, ['stall', ADDRESS.server4, SERVE_PORT.http, 20_000_000, 0.3], true)
  const { subflows } = await liveConnection(serving, 2)
  t.not(subflows[1]?.local.split(':')[0], subflows[0]?.local.split(':')[0], 'it came to the other address')
  t.match(JSON.parse(await client.waitLine(/sha256/)), { received: 20_000_000, sha256: payloadSha256(20_000_000) })
  const kernels = await assertAgreement(t, lab, serving)
  t.equal(counter(kernels, 'MPTcpExtAddAddr'), 1)
  t.equal(counter(kernels, 'MPTcpExtMPJoinSynAckRx'), 1)
})

t.test('REMOVE_ADDR, MP_PRIO and FASTCLOSE of Linux', async (t) => {
  const lab = await Lab.create()
  t.teardown(() => lab.close())
  await startServers(lab)
  await setUpKernelClient(lab)
  const serving = await Serving.start(lab)
  const client = spawnClient(lab.client, ['stall', ADDRESS.server4, SERVE_PORT.http, 30_000_000, 1.5], true)
  await client.waitLine(/"stalled"/)
  await liveConnection(serving, 2)
  await lab.client.ok(['ip', 'mptcp', 'endpoint', 'change', ADDRESS.clientLink4[1], 'backup'])
  const isBackup = async (): Promise<boolean> => (await liveConnection(serving, 2)).subflows.some((s) => s.isBackup)
  t.ok(await becomes(isBackup, 3000), 'MP_PRIO: the subflow is a backup for us too')
  const show = (await lab.client.ok(['ip', 'mptcp', 'endpoint', 'show'])).stdout
  const id = new RegExp(`${ADDRESS.clientLink4[1].replaceAll('.', '\\.')} id (\\d+)`).exec(show)?.[1] ?? ''
  await lab.client.ok(['ip', 'mptcp', 'endpoint', 'delete', 'id', id])
  await liveConnection(serving, 1)
  t.match(JSON.parse(await client.waitLine(/sha256/)), { received: 30_000_000, sha256: payloadSha256(30_000_000) })
  t.match(await runClient(lab.client, ['abort', ADDRESS.server6, SERVE_PORT.http, 1_000_000], { mptcp: true }), { received: /\d+/ })
  t.ok(await becomes(async () => (await serving.status()).connections.length === 0, 3000), 'FASTCLOSE ends the connection')
  const kernels = await assertAgreement(t, lab, serving)
  for (const name of ['MPTcpExtMPPrioTx', 'MPTcpExtRmAddrTx']) t.equal(counter(kernels, name), 1, `Linux sent one: ${name}`)
  t.ok(counter(kernels, 'MPTcpExtMPFastcloseTx') >= 1, 'Linux counts each subflow that carries it')
  t.equal(counter(await serving.counters(), 'MPTcpExtMPFastcloseRx'), 1, 'we count the connection')
})

t.test('FASTCLOSE of ours: the service resets', async (t) => {
  const lab = await Lab.create()
  t.teardown(() => lab.close())
  await startServers(lab)
  await setUpKernelClient(lab)
  const serving = await Serving.start(lab)
  const script = `import socket\ns=socket.socket(socket.AF_INET,socket.SOCK_STREAM,262)\ns.connect(("${ADDRESS.server4}",${SERVE_PORT.http}))
s.sendall(b"GET /reset/3000000 HTTP/1.1\\r\\n\\r\\n")
try:
  while s.recv(1<<20): pass
  print("end")
except ConnectionResetError: print("reset")`
  t.equal((await lab.client.ok(['/usr/bin/python3', '-c', script])).stdout.trim(), 'reset')
  const kernels = await nstat(lab.client)
  t.ok(counter(kernels, 'MPTcpExtMPFastcloseRx') >= 1, 'Linux got it')
  t.equal(counter(await serving.counters(), 'MPTcpExtMPFastcloseTx'), 1)
  await assertAgreement(t, lab, serving)
  await checkKernelDownload(t, lab, ADDRESS.server4, 1_000_000)
})

/** CI has it, or fails. */
const mayRead = process.env.CI === 'true' || spawnSync('tshark', ['--version']).status === 0

t.test('tshark finds no malformed option and computes the same tokens', { skip: mayRead ? false : 'no tshark' }, async (t) => {
  const lab = await Lab.create()
  t.teardown(() => lab.close())
  await startServers(lab)
  await setUpKernelClient(lab)
  const serving = await Serving.start(lab, '--checksum')
  const capture = await Capture.start(lab, lab.server, lab.tun)
  const client = spawnClient(lab.client, ['stall', ADDRESS.server4, SERVE_PORT.http, 3_000_000, 0.3], true)
  await liveConnection(serving, 2)
  await client.waitLine(/sha256/)
  await sleep(200) // tcpdump writes what it has
  await capture.stop(lab.server)
  const fields = async (filter: string, ...names: readonly string[]): Promise<string[][]> => {
    const words = ['tshark', '-r', capture.path, '-Y', filter, '-T', 'fields', ...names.flatMap((name) => ['-e', name])]
    const { stdout } = await lab.server.ok(words)
    return stdout.split('\n').flatMap((line) => (line === '' ? [] : [line.split('\t')]))
  }
  const seen = await fields('tcp.options.mptcp.subtype == 2', 'frame.number')
  t.ok(seen.length > 20, 'it read our DSS options', { seen: seen.length })
  const wrong = '_ws.malformed || mptcp.connection.echoed_key_mismatch || mptcp.connection.unsupported_algorithm'
  t.same(await fields(wrong, 'frame.number', '_ws.expert.message'), [], 'and found nothing wrong with any')
  const [computed] = await fields('tcp.options.mptcp.subtype == 0 && tcp.flags.syn == 1 && tcp.flags.ack == 1', 'mptcp.expected_token')
  const [sent] = await fields('tcp.options.mptcp.subtype == 1 && tcp.flags.syn == 1 && tcp.flags.ack == 0', 'tcp.options.mptcp.recvtok')
  t.ok(Number(computed?.[0]) > 0)
  t.same(computed, sent, 'the token of our key is the one that Linux joined by')
})
