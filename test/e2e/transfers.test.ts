import t from 'tap'
import * as check from './lib/checks.js'
import { Daemon } from './lib/daemon.js'
import { ADDRESS, Lab } from './lib/lab.js'
import { PORT, spawnClient, startServers } from './lib/peers.js'
import { PAYLOAD_LEN } from './lib/payload.js'
import { assertCleanMptcp } from './lib/verdict.js'
import { counter, linkStats, nstat } from './lib/stats.js'

for (const host of [ADDRESS.server4, ADDRESS.server6]) {
  t.test(`curl moves 100 MB each way through the TUN to kernel MPTCP at ${host}`, async (t) => {
    const lab = await Lab.create()
    t.teardown(() => lab.close())
    const servers = await startServers(lab)
    const daemon = await Daemon.start(lab)
    await check.checkCurl(t, lab, servers, host, PORT.http)
    const tun = await linkStats(lab.client, daemon.tun)
    t.ok(tun.rxBytes > 200e6 && tun.txBytes > 200e6, 'through the TUN: both legs, both ways', tun)
    const counters = await assertCleanMptcp(t, lab)
    t.ok(counter(counters, 'MPTcpExtMPCapableACKRX') >= 2, 'both connections were MPTCP')
  })
}

t.test('a server that does not speak MPTCP works as well, and the fallback is counted and explained', async (t) => {
  const lab = await Lab.create()
  t.teardown(() => lab.close())
  const servers = await startServers(lab)
  const daemon = await Daemon.start(lab)
  await check.checkCurl(t, lab, servers, ADDRESS.server4, PORT.httpTcp)
  const counters = await nstat(lab.server)
  t.equal(counter(counters, 'MPTcpExtMPCapableACKRX'), 0, 'the server saw no MPTCP connection')
  t.equal(counter(await daemon.counters(), 'MPTcpExtMPCapableFallbackSYNACK'), 2, 'the daemon counts both fallbacks')
  const client = spawnClient(lab.client, ['stall', ADDRESS.server4, PORT.httpTcp, PAYLOAD_LEN, 30])
  await client.waitLine(/"stalled"/)
  const { connections } = await daemon.status()
  t.match(connections, [{ isMptcp: false, fallback: /./ }], 'the status says that it is TCP, and why')
})
