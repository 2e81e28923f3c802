/** The demonstration behind scripts/demo; exit code 0 only when every claim it prints was checked. */
import { existsSync } from 'node:fs'
import { controlPath } from '../src/engine/control.js'
import { Daemon } from '../test/e2e/lib/daemon.js'
import { ADDRESS, Lab } from '../test/e2e/lib/lab.js'
import { curlDownload, curlUpload, PORT, spawnClient, startServers, type Transfer } from '../test/e2e/lib/peers.js'
import { PAYLOAD_LEN, payloadSha256 } from '../test/e2e/lib/payload.js'
import { counter, errorsIn, FALLBACK_COUNTERS, nstat } from '../test/e2e/lib/stats.js'

const PICTURE = `
  namespace client                                            namespace server
  curl -> kernel TCP -> tun0 -> mptcpd-user -> tun0 -> wan1 ======== net1 -> kernel MPTCP -> HTTP server at ${ADDRESS.server4}
`

let failures = 0

function say(text: string): void {
  process.stdout.write(`${text}\n`)
}

function claim(isTrue: boolean, text: string): void {
  if (!isTrue) failures++
  say(`${isTrue ? 'ok    ' : 'FAILED'} ${text}`)
}

function report(name: string, transfer: Transfer): void {
  const sound = transfer.bytes === PAYLOAD_LEN && transfer.sha256 === payloadSha256(PAYLOAD_LEN)
  const rate = `${(transfer.bitsPerSecond / 1e9).toFixed(2)} Gbit/s`
  claim(sound, `${name} ${transfer.bytes} bytes in ${transfer.seconds.toFixed(2)} s, ${rate}, SHA-256 ${transfer.sha256.slice(0, 16)}...`)
}

async function demonstrate(lab: Lab): Promise<void> {
  say(PICTURE)
  const servers = await startServers(lab)
  // The control socket is named after the TUN: leave that of a daemon that this host may be running alone.
  const tun = existsSync(controlPath('tun0')) ? lab.tun : 'tun0'
  const daemon = await Daemon.start(lab, { tun })
  say(`mptcpd-user: ${daemon.process.lines.find((line) => line.includes('ready'))}`)
  say(`$ ip route add ${ADDRESS.serverPrefix4} dev ${tun}`)
  say(`$ curl http://${ADDRESS.server4}:${PORT.http}/...`)
  report('download', await curlDownload(lab.client, ADDRESS.server4, PORT.http, lab.dir, PAYLOAD_LEN))
  report('upload  ', await curlUpload(lab.client, ADDRESS.server4, PORT.http, servers.payloadPath))

  const counters = await nstat(lab.server)
  const shown = [...counters].filter(([name, value]) => name.startsWith('MPTcpExt') && value !== 0)
  say("\ncounters of the server's kernel (nstat):")
  for (const [name, value] of shown) say(`  ${name.padEnd(36)} ${value}`)
  claim(counter(counters, 'MPTcpExtMPCapableACKRX') >= 2, 'the server took both connections as MPTCP')
  claim(Object.keys(errorsIn(counters, FALLBACK_COUNTERS)).length === 0, 'none fell back to TCP')
  claim(Object.keys(errorsIn(counters)).length === 0, 'no protocol error counted')

  const reader = spawnClient(lab.client, ['stall', ADDRESS.server4, PORT.http, PAYLOAD_LEN, 2])
  await reader.waitLine(/"stalled"/)
  say(`\n$ mptcpd-user status      (one more download is under way)\n${await daemon.statusText()}`)
  claim(
    (await reader.waitLine(/"received"/)).includes(payloadSha256(PAYLOAD_LEN)),
    'that download, which paused for 2 s, is byte-exact too',
  )
  claim((await daemon.stop()) === 0, 'mptcpd-user ended well')
}

const lab = await Lab.create('mptcpd-demo')
try {
  await demonstrate(lab)
} catch (error) {
  failures++
  say(`FAILED ${error instanceof Error ? error.message : error}`)
} finally {
  await lab.close()
}
process.exitCode = failures === 0 ? 0 : 1
