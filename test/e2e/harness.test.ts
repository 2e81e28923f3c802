import { spawn } from 'node:child_process'
import { once } from 'node:events'
import t from 'tap'
import { ADDRESS, Lab, listNamespaces, removeStale } from './lib/lab.js'
import { curlDownload, curlUpload, PORT, runClient, startServers } from './lib/peers.js'
import { PAYLOAD_LEN, payloadSha256 } from './lib/payload.js'
import { counter, errorsIn, nstat, ssTcp } from './lib/stats.js'

t.test('control: kernel to kernel, the lab carries every transfer that the daemon is tested with', async (t) => {
  const lab = await Lab.create()
  t.teardown(() => lab.close())
  const servers = await startServers(lab)
  for (const host of [ADDRESS.server4, ADDRESS.server6]) {
    const down = await curlDownload(lab.client, host, PORT.http, lab.dir, PAYLOAD_LEN)
    t.equal(down.sha256, payloadSha256(PAYLOAD_LEN), `download from ${host}`)
    const up = await curlUpload(lab.client, host, PORT.http, servers.payloadPath)
    t.equal(up.sha256, payloadSha256(PAYLOAD_LEN), `upload to ${host}`)
    t.comment(`${host}: ${(down.bitsPerSecond / 1e9).toFixed(1)} Gbit/s down, ${(up.bitsPerSecond / 1e9).toFixed(1)} up`)
  }
  t.equal(counter(await nstat(lab.server), 'MPTcpExtMPCapableSYNRX'), 0, 'curl by itself does not speak MPTCP')
})
