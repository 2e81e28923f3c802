import t, { type Test } from 'tap'
import { Daemon } from './lib/daemon.js'
import { becomes } from './lib/exec.js'
import { limitLinks, widenReceiveBuffer } from './lib/interop.js'
import { ADDRESS, Lab } from './lib/lab.js'
import { curlDownload, curlUpload, PORT, spawnClient, startServers } from './lib/peers.js'
import { PAYLOAD_LEN, payloadSha256 } from './lib/payload.js'
import { type Counters, counter, nstat } from './lib/stats.js'

// RFC 8684 §3.7 with stock Linux: a box on link 1 changes one byte of the payload, long after the first valid mapping.

interface Case {
  readonly lab: Lab
  readonly daemon: Daemon
  readonly payloadPath: string
  /** Asserts that the byte was changed, and returns the kernel's counters and ours. */
  readonly end: () => Promise<{ kernels: Counters; ours: Counters }>
}

async function start(t: Test, direction: 'up' | 'down', args: readonly string[]): Promise<Case> {
  const lab = await Lab.create()
  t.teardown(() => lab.close())
  const { payloadPath } = await startServers(lab)
  await widenReceiveBuffer(lab.server)
  await limitLinks(lab)
  await lab.server.ok(['sysctl', '-qw', 'net.mptcp.checksum_enabled=1'])
  // Between namespaces the TCP checksum is not filled in and not looked at, so there is none to mend.
  const where =
    direction === 'up'
      ? `prerouting priority 0; iifname "net1" tcp dport ${PORT.http}`
      : `postrouting priority 0; oifname "net1" tcp sport ${PORT.http}`
  const rule = `type filter hook ${where} meta length > 1200 numgen inc mod 4000000000 40 @th,1600,8 set 0x5a counter`
  await lab.server.ok(['nft', '-f', '-'], { input: `table inet box { chain c { ${rule}; }; }` })
  const daemon = await Daemon.start(lab, { args })
  const end = async (): Promise<{ kernels: Counters; ours: Counters }> => {
    t.match((await lab.server.ok(['nft', 'list', 'table', 'inet', 'box'])).stdout, /counter packets 1 /, 'one segment was changed')
    return { kernels: await nstat(lab.server), ours: await daemon.counters() }
  }
  return { lab, daemon, payloadPath, end }
}

const counts = (counters: Counters, ...names: readonly string[]): number[] => names.map((name) => counter(counters, `MPTcpExt${name}`))

t.test('the only subflow, upload: MP_FAIL of Linux, MP_FAIL and the infinite mapping of ours, plain TCP', async (t) => {
  const { lab, payloadPath, end } = await start(t, 'up', [])
  const up = await curlUpload(lab.client, ADDRESS.server4, PORT.http, payloadPath)
  t.equal(up.bytes, PAYLOAD_LEN, 'the stream goes on to its end')
  t.not(up.sha256, payloadSha256(PAYLOAD_LEN), 'with the byte that the box changed: Linux takes it')
  const { kernels, ours } = await end()
  t.same(counts(kernels, 'DataCsumErr', 'MPFailTx', 'InfiniteMapRx'), [1, 1, 1])
  t.same(counts(ours, 'MPFailRx', 'MPFailTx', 'InfiniteMapTx'), [1, 1, 1])
})

t.test('the only subflow, download: MP_FAIL of ours, answered by MP_FAIL', async (t) => {
  const { lab, daemon, end } = await start(t, 'down', [])
  const client = spawnClient(lab.client, ['many', ADDRESS.server4, PORT.http, 1, PAYLOAD_LEN])
  const hasFallenBack = async (): Promise<boolean> => (await daemon.status()).connections.some((c) => c.fallback === 'MP_FAIL received')
  t.ok(await becomes(hasFallenBack, 5000), 'the connection is plain TCP')
  const { kernels, ours } = await end()
  t.same(counts(ours, 'DataCsumErr', 'DSSCorruptionFallback'), [1, 1])
  t.ok(Math.min(...counts(ours, 'MPFailTx', 'MPFailRx')) >= 1, 'MP_FAIL went both ways')
  // Linux 6.18 counts the infinite mapping and never sends it, nor anything else: kernel to kernel too. So it ends here.
  t.equal(counter(kernels, 'MPTcpExtInfiniteMapTx'), 1)
  client.kill('SIGKILL')
})

for (const direction of ['up', 'down'] as const) {
  t.test(`two subflows, ${direction}load: that subflow is reset with MP_FAIL, and everything is byte-exact`, async (t) => {
    const { lab, payloadPath, end } = await start(t, direction, ['--path', `wan2@${ADDRESS.serverLink4[1]}`])
    const done =
      direction === 'up'
        ? await curlUpload(lab.client, ADDRESS.server4, PORT.http, payloadPath)
        : await curlDownload(lab.client, ADDRESS.server4, PORT.http, lab.dir, PAYLOAD_LEN)
    t.equal(done.sha256, payloadSha256(PAYLOAD_LEN), 'byte-exact')
    const { kernels, ours } = await end()
    const [receiver, sender] = direction === 'up' ? [kernels, ours] : [ours, kernels]
    t.same(counts(receiver, 'DataCsumErr', 'MPFailTx', 'MPRstTx'), [1, 1, 1])
    t.same(counts(sender, 'MPFailRx', 'MPRstRx'), [1, 1])
    t.same(counts(kernels, 'InfiniteMapTx', 'InfiniteMapRx'), [0, 0], 'nobody fell back')
    t.same(counts(ours, 'InfiniteMapTx', 'InfiniteMapRx'), [0, 0])
  })
}
