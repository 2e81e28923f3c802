import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Test } from 'tap'
import { ADDRESS, type Lab } from './lab.js'
import { startIperfServer, iperf } from './iperf.js'
import { curlDownload, curlUpload, PORT, runClient, type Servers, spawnClient } from './peers.js'
import { PAYLOAD_LEN, payloadSha256 } from './payload.js'
import { startSsh } from './ssh.js'

/**
 * What an application sees of a transfer, as checks that do not know what lies between client and server: they run kernel to
 * kernel as controls of the lab, and then through the daemon.
 */

const MIB = 1 << 20

function gbps(bps: number): string {
  return `${(bps / 1e9).toFixed(2)} Gbit/s`
}

/** curl downloads and uploads `PAYLOAD_LEN` bytes, byte-exact. */
export async function checkCurl(t: Test, lab: Lab, servers: Servers, host: string, port: number): Promise<void> {
  const down = await curlDownload(lab.client, host, port, lab.dir, PAYLOAD_LEN)
  t.equal(down.bytes, PAYLOAD_LEN, 'download complete')
  t.equal(down.sha256, payloadSha256(PAYLOAD_LEN), 'download byte-exact')
  const up = await curlUpload(lab.client, host, port, servers.payloadPath)
  t.equal(up.bytes, PAYLOAD_LEN, 'upload complete')
  t.equal(up.sha256, payloadSha256(PAYLOAD_LEN), 'upload byte-exact')
  t.comment(`curl ${host}:${port}: ${gbps(down.bitsPerSecond)} down, ${gbps(up.bitsPerSecond)} up`)
}

/** iperf3 there, back and both at once; each direction must have moved a sensible amount. */
export async function checkIperf(t: Test, lab: Lab, host: string, seconds: number): Promise<void> {
  const server = await startIperfServer(lab, true)
  const atLeastBps = 100e6
  for (const mode of ['up', 'down', 'both'] as const) {
    const { upBps, downBps } = await iperf(lab.client, host, mode, seconds)
    for (const [name, bps] of Object.entries({ up: upBps, down: downBps })) {
      if (bps === null) continue
      t.ok(bps >= atLeastBps, `iperf3 ${mode}: ${name} moves at least ${gbps(atLeastBps)}`, { bps })
      t.comment(`iperf3 ${mode}: ${name} ${gbps(bps)}`)
    }
  }
  await server.stop()
}

/** ssh: the exit code, bulk data in both directions, byte-exact. */
export async function checkSsh(t: Test, lab: Lab, servers: Servers, host: string): Promise<void> {
  const ssh = await startSsh(lab)
  t.equal((await ssh(host, 'exit 7')).code, 7, 'the exit code comes back')
  const len = 20 * MIB
  const expected = payloadSha256(len)
  const up = await ssh(host, 'sha256sum', { input: readFileSync(servers.payloadPath).subarray(0, len) })
  t.equal(up.stdout.slice(0, 64), expected, 'standard input arrives byte-exact')
  const down = await ssh(host, `head -c ${len} ${servers.payloadPath} | base64 -w 0`)
  t.equal(down.stdout, readFileSync(servers.payloadPath).subarray(0, len).toString('base64'), 'standard output arrives byte-exact')
}

/** `count` connections open at once, each downloading `len` bytes of its own. */
export async function checkMany(t: Test, lab: Lab, host: string, port: number, count: number, len: number): Promise<void> {
  const { results, seconds } = (await runClient(lab.client, ['many', host, port, count, len], { timeoutMs: 120_000 })) as {
    results: { received?: number; sha256?: string; error?: string }[]
    seconds: number
  }
  const expected = Array.from({ length: count }, (_, i) => ({ received: len, sha256: payloadSha256(len, Math.floor((i * len) / 4)) }))
  const bad = results.filter((result, i) => result.sha256 !== expected[i]?.sha256 || result.received !== len)
  t.same(bad, [], `${count} concurrent connections of ${len} bytes are byte-exact`)
  t.comment(`${count} connections: ${gbps((count * len * 8) / seconds)} together`)
}

/** A closed port is refused, and at once. */
export async function checkRefused(t: Test, lab: Lab, host: string): Promise<void> {
  const { outcome, seconds } = await runClient(lab.client, ['connect', host, PORT.closed, 10])
  t.equal(outcome, 'ECONNREFUSED', `a closed port of ${host} is refused`)
  t.ok(Number(seconds) < 2, 'without waiting', { seconds })
  t.comment(`${host}: ${outcome} after ${seconds} s`)
}

/** An address that the network reports as unreachable. `expected` is the error that the kernel makes of the router's message. */
export async function checkUnreachable(t: Test, lab: Lab, host: string, expected: string): Promise<void> {
  const { outcome, seconds } = await runClient(lab.client, ['connect', host, PORT.http, 10])
  t.equal(outcome, expected, `${host} is unreachable`)
  t.ok(Number(seconds) < 5, 'well before a time-out', { seconds })
  t.comment(`${host}: ${outcome} after ${seconds} s`)
}

/** The server ends its direction first and keeps reading; then the client does. */
export async function checkHalfClose(
  t: Test,
  lab: Lab,
  servers: Servers,
  host: string,
  ports: { halfClose: number; digest: number },
): Promise<void> {
  const len = 4 * MIB
  const input = readFileSync(servers.payloadPath).subarray(0, len)
  const skip = servers.process.lines.length
  const got = await runClient(lab.client, ['read-then-write', host, ports.halfClose, len], { input })
  t.same(got, { received: MIB, sha256: payloadSha256(MIB) }, 'the client reads to the end of the server that closes first')
  const report = await servers.event('halfclose', skip)
  t.match(report, { received: len, sha256: payloadSha256(len) }, 'and its own bytes arrive after that')
  const { answer } = await runClient(lab.client, ['write-then-read', host, ports.digest], { input })
  t.equal(answer, `${len} ${payloadSha256(len)}`, 'a client that closes its direction first still gets the answer')
}

/**
 * A client stops reading for `seconds`: the server must be held back by what the buffers in between hold, and the rest follows.
 * @param maxBuffered bytes beyond those read that the server may get rid of meanwhile
 */
export async function checkStall(t: Test, lab: Lab, host: string, port: number, seconds: number, maxBuffered: number): Promise<void> {
  const client = spawnClient(lab.client, ['stall', host, port, PAYLOAD_LEN, seconds])
  await client.waitLine(/"stalled"/, 20_000)
  await sleep((seconds - 1) * 1000)
  const progress = Number((await lab.server.ok(['curl', '-s', '--noproxy', '*', `http://127.0.0.1:${PORT.httpTcp}/progress`])).stdout)
  t.ok(progress < MIB + maxBuffered, 'the server is held back', { progress })
  t.comment(`after ${seconds - 1} s without reading the server had handed over ${(progress / 1e6).toFixed(1)} MB`)
  const line = await client.waitLine(/"received"/, 30_000)
  t.same(JSON.parse(line), { received: PAYLOAD_LEN, sha256: payloadSha256(PAYLOAD_LEN) }, 'the rest arrives byte-exact')
}

/** A server that resets in mid-transfer: the client sees an error, never a short file that looks complete. */
export async function checkReset(t: Test, lab: Lab, host: string, port: number): Promise<void> {
  const url = `http://${host.includes(':') ? `[${host}]` : host}:${port}/reset/${MIB}`
  const { code } = await lab.client.exec(['curl', '-s', '--noproxy', '*', '-o', '/dev/null', url], { timeoutMs: 15_000 })
  t.ok(code === 56 || code === 18, 'curl reports the reset', { code })
}

/** Connects that must fail, each as it does kernel to kernel. */
export async function checkConnectErrors(t: Test, lab: Lab): Promise<void> {
  await checkRefused(t, lab, ADDRESS.server4)
  await checkRefused(t, lab, ADDRESS.server6)
  await checkUnreachable(t, lab, ADDRESS.unreachable4, 'EHOSTUNREACH')
  // Linux: the router's answer for an IPv6 `unreachable` route is "no route", not "address unreachable".
  await checkUnreachable(t, lab, ADDRESS.unreachable6, 'ENETUNREACH')
}
