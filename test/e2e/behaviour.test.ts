import t from 'tap'
import * as check from './lib/checks.js'
import { Daemon } from './lib/daemon.js'
import { becomes } from './lib/exec.js'
import { ADDRESS, Lab } from './lib/lab.js'
import { PORT, runClient, startServers } from './lib/peers.js'
import { assertCleanMptcp } from './lib/verdict.js'

/** Bytes by which the heap of the daemon may grow before it is collected, on a machine that is busy. */
const HEAP_ROOM = 40e6

t.test('connects fail as they do without the daemon: refused, unreachable', async (t) => {
  const lab = await Lab.create()
  t.teardown(() => lab.close())
  await startServers(lab)
  await Daemon.start(lab)
  await check.checkConnectErrors(t, lab)
})

t.test('a connect that nobody answers is held, and forgotten when the application gives up', async (t) => {
  const lab = await Lab.create()
  t.teardown(() => lab.close())
  const daemon = await Daemon.start(lab)
  await lab.server.ok(['nft', 'add table inet hole; add chain inet hole in { type filter hook input priority 0; }'])
  await lab.server.ok(['nft', 'add rule inet hole in tcp dport 4444 counter drop'])
  const { outcome } = await runClient(lab.client, ['connect', ADDRESS.server4, 4444, 2])
  t.equal(outcome, 'gave up', 'neither connected nor refused')
  t.match((await lab.server.ok(['nft', 'list', 'table', 'inet', 'hole'])).stdout, /packets [1-9]/, 'the hole swallowed something')
  // An application that gives up says nothing; that it does not repeat its SYN any more is how one knows.
  t.ok(await becomes(async () => (await daemon.status()).connections.length === 0, 20_000), 'nothing is left of it')
})

t.test('half-close in either direction', async (t) => {
  const lab = await Lab.create()
  t.teardown(() => lab.close())
  const servers = await startServers(lab)
  await Daemon.start(lab)
  await check.checkHalfClose(t, lab, servers, ADDRESS.server4, { halfClose: PORT.halfClose, digest: PORT.digest })
  await assertCleanMptcp(t, lab)
  await check.checkHalfClose(t, lab, servers, ADDRESS.server4, { halfClose: PORT.halfCloseTcp, digest: PORT.digestTcp })
})

t.test('a client that stops reading for 10 s holds back the server', async (t) => {
  const lab = await Lab.create()
  t.teardown(() => lab.close())
  await startServers(lab)
  const daemon = await Daemon.start(lab)
  const before = daemon.rss()
  await check.checkStall(t, lab, ADDRESS.server4, PORT.http, 10, 64e6)
  const rss = daemon.rss()
  const { memory } = await daemon.status()
  t.comment(`the daemon is ${(rss / 1e6).toFixed(0)} MB large, ${(before / 1e6).toFixed(0)} when it began`)
  // pages of the budget stay resident once they were used
  t.ok(rss < before + memory.total + HEAP_ROOM, 'the daemon holds no more than its budget', { rss, before, memory })
  await assertCleanMptcp(t, lab)
})

t.test('a reset by the server reaches the client', async (t) => {
  const lab = await Lab.create()
  t.teardown(() => lab.close())
  await startServers(lab)
  await Daemon.start(lab)
  await check.checkReset(t, lab, ADDRESS.server4, PORT.http)
  await check.checkReset(t, lab, ADDRESS.server4, PORT.httpTcp)
})
