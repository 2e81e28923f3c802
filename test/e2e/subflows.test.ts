import t from 'tap'
import * as check from './lib/checks.js'
import { Daemon } from './lib/daemon.js'
import { becomes } from './lib/exec.js'
import { ADDRESS, Lab, SERVER_DEVICES } from './lib/lab.js'
import { PORT, spawnClient, startServers } from './lib/peers.js'
import { PAYLOAD_LEN, payloadSha256 } from './lib/payload.js'
import { counter, linkStats } from './lib/stats.js'
import { assertCleanMptcp } from './lib/verdict.js'

/** Bytes of the server's two links, sent and received. */
async function bytesOnLinks(lab: Lab): Promise<number[]> {
  const links = await Promise.all(SERVER_DEVICES.map((device) => linkStats(lab.server, device)))
  return links.flatMap(({ rxBytes, txBytes }) => [rxBytes, txBytes])
}

t.test('a second path given by hand: both links carry bytes, both ways, byte-exact', async (t) => {
  const lab = await Lab.create()
  t.teardown(() => lab.close())
  const servers = await startServers(lab)
  const daemon = await Daemon.start(lab, { args: ['--path', `default,${ADDRESS.serverLink4[1]}`] })
  const before = await bytesOnLinks(lab)
  await check.checkCurl(t, lab, servers, ADDRESS.server4, PORT.http)
  const moved = (await bytesOnLinks(lab)).map((bytes, i) => bytes - (before[i] ?? 0))
  for (const [i, bytes] of moved.entries()) {
    const name = `link ${(i >> 1) + 1} ${i % 2 === 0 ? 'up' : 'down'}`
    t.ok(bytes > 2_000_000, `${name} carried more than acknowledgements`, { bytes })
    t.comment(`${name}: ${(bytes / 1e6).toFixed(1)} MB`)
  }
  const counters = await assertCleanMptcp(t, lab)
  t.ok(counter(counters, 'MPTcpExtMPJoinAckRx') >= 2, 'each connection was joined')
  t.ok(daemon.process.isRunning)
})

t.test('a second egress given by its device: the join leaves by that link', async (t) => {
  const lab = await Lab.create()
  t.teardown(() => lab.close())
  await startServers(lab)
  const daemon = await Daemon.start(lab, { args: ['--path', `wan2@${ADDRESS.serverLink4[1]}`] })
  const client = spawnClient(lab.client, ['stall', ADDRESS.server4, PORT.http, PAYLOAD_LEN, 6])
  await client.waitLine(/"stalled"/)
  const isJoined = async (): Promise<boolean> => (await daemon.status()).connections[0]?.subflows.length === 2
  t.ok(await becomes(isJoined, 5_000), 'the status shows two subflows')
  t.same(JSON.parse(await client.waitLine(/"received"/, 20_000)), { received: PAYLOAD_LEN, sha256: payloadSha256(PAYLOAD_LEN) })
  const { rxBytes } = await linkStats(lab.client, 'wan2')
  // Linux sends by the faster one: on a busy machine that can be the first one nearly all the time.
  t.ok(rxBytes > 200_000, 'the second link carried bytes', { rxBytes })
  const counters = await assertCleanMptcp(t, lab)
  t.ok(counter(counters, 'MPTcpExtMPJoinAckRx') >= 1)
})
