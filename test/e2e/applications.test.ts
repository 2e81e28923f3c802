import t from 'tap'
import * as check from './lib/checks.js'
import { Daemon } from './lib/daemon.js'
import { ADDRESS, Lab } from './lib/lab.js'
import { PORT, runClient, startServers } from './lib/peers.js'
import { counter } from './lib/stats.js'
import { assertCleanMptcp } from './lib/verdict.js'

t.test('iperf3 up, down and both ways at once', async (t) => {
  const lab = await Lab.create()
  t.teardown(() => lab.close())
  await Daemon.start(lab)
  await check.checkIperf(t, lab, ADDRESS.server4, 3)
  await assertCleanMptcp(t, lab)
})

t.test('ssh: exit code, bulk input and output', async (t) => {
  const lab = await Lab.create()
  t.teardown(() => lab.close())
  const servers = await startServers(lab)
  await Daemon.start(lab)
  await check.checkSsh(t, lab, servers, ADDRESS.server4)
  await assertCleanMptcp(t, lab)
})

t.test('200 concurrent connections of 1 MB', async (t) => {
  const lab = await Lab.create()
  t.teardown(() => lab.close())
  await startServers(lab)
  await Daemon.start(lab)
  await check.checkMany(t, lab, ADDRESS.server4, PORT.http, 200, 1_000_000)
  const counters = await assertCleanMptcp(t, lab)
  t.equal(counter(counters, 'MPTcpExtMPCapableACKRX'), 200, 'all of them MPTCP')
})

t.test('small messages there and back, with and without MPTCP at the server', async (t) => {
  const lab = await Lab.create()
  t.teardown(() => lab.close())
  await startServers(lab)
  const direct = await runClient(lab.client, ['echo', ADDRESS.server4, PORT.echo, 500])
  await Daemon.start(lab)
  const mptcp = await runClient(lab.client, ['echo', ADDRESS.server4, PORT.echo, 500])
  const plain = await runClient(lab.client, ['echo', ADDRESS.server4, PORT.echoTcp, 500])
  for (const [name, { p50Us, p99Us }] of Object.entries({ direct, mptcp, plain })) {
    t.comment(`round trip ${name}: median ${Number(p50Us).toFixed(0)} µs, 99th percentile ${Number(p99Us).toFixed(0)} µs`)
  }
  t.ok(Number(mptcp.p50Us) < 5_000, 'no delay of a timer in the round trip')
  t.ok(Number(plain.p50Us) < 5_000, 'no delay of a timer in the round trip')
})
