import t from 'tap'
import { Daemon } from './lib/daemon.js'
import { ADDRESS, Lab } from './lib/lab.js'
import { curlDownload, PORT, spawnClient, startServers } from './lib/peers.js'
import { PAYLOAD_LEN } from './lib/payload.js'
import { snapshot } from './lib/snapshot.js'

for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  t.test(`${signal}: the program ends well and the host is as before`, async (t) => {
    const lab = await Lab.create()
    t.teardown(() => lab.close())
    await startServers(lab)
    const before = await snapshot(lab.client)
    const daemon = await Daemon.start(lab)
    const during = await snapshot(lab.client)
    t.not(during.join('\n'), before.join('\n'), 'the snapshot sees what the daemon changes')
    await curlDownload(lab.client, ADDRESS.server4, PORT.http, lab.dir, 1_000_000)
    t.equal(await daemon.stop(signal), 0, 'exit code 0')
    t.same(await snapshot(lab.client), before)
  })
}

t.test('SIGTERM under load: the host is as before, and the client sees an error or the end, no hang', async (t) => {
  const lab = await Lab.create()
  t.teardown(() => lab.close())
  await startServers(lab)
  const before = await snapshot(lab.client)
  const daemon = await Daemon.start(lab)
  const client = spawnClient(lab.client, ['stall', ADDRESS.server4, PORT.http, PAYLOAD_LEN, 60])
  await client.waitLine(/"stalled"/)
  t.equal(await daemon.stop(), 0, 'exit code 0')
  t.same(await snapshot(lab.client), before)
  await client.stop('SIGKILL')
})

t.test('a second start after a kill -9 works and converges', async (t) => {
  const lab = await Lab.create()
  t.teardown(() => lab.close())
  await startServers(lab)
  const before = await snapshot(lab.client)
  const killed = await Daemon.start(lab)
  await killed.stop('SIGKILL')
  const daemon = await Daemon.start(lab)
  t.equal((await curlDownload(lab.client, ADDRESS.server4, PORT.http, lab.dir, 1_000_000)).bytes, 1_000_000)
  t.equal(await daemon.stop(), 0)
  t.same(await snapshot(lab.client), before)
})
