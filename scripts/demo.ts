/** The demonstration behind scripts/demo; exit code 0 only when every claim it prints was checked. */
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type DetourKind, Evaluation, VIA_DAEMON } from '../bench/lab/evaluation.js'
import type { Status } from '../src/engine/status.js'
import { curlFor, PORT, startServers, type Transfer } from '../test/e2e/lib/peers.js'
import { payloadSha256 } from '../test/e2e/lib/payload.js'
import { counter, errorsIn, FALLBACK_COUNTERS } from '../test/e2e/lib/stats.js'

const SECONDS = 20
/** Between two looks at the paths; without a terminal every fifth one is printed. */
const LOOK_MS = 1000
const PRINT_EVERY = process.stdout.isTTY ? 1 : 5

const PICTURE = `
  client --- r1 ---------------- r2 --- server        every link 5 ms; r1-r2, r1-r3 and r2-r3 10 Mbit/s, the others 20
               \\                /                     server: stock Linux MPTCP
                ------ r3 ------                      client: no MPTCP, no second address; mptcpd-user and curl
                        |
                      detour                          address translation (mptcpd-user detour) and a VPN (OpenVPN)
`

/** What of a transfer one path carried so far, and how. */
interface Share {
  readonly path: string
  readonly bytes: number
  readonly rttMs: number
}

interface Outcome {
  readonly name: string
  readonly transfer: Transfer
  readonly shares: readonly Share[]
  readonly joins: number
}

let failures = 0

function say(text: string): void {
  process.stdout.write(`${text}\n`)
}

function claim(isTrue: boolean, text: string): void {
  if (!isTrue) failures++
  say(`${isTrue ? 'ok    ' : 'FAILED'} ${text}`)
}

/** Received payload by path, most used first; subflows that are over count with what they last had. */
class Meter {
  private readonly seen = new Map<string, Share>()

  take(status: Status): void {
    for (const connection of status.connections) {
      for (const subflow of connection.subflows) {
        const key = `${connection.id}.${subflow.id}`
        this.seen.set(key, { path: subflow.path, bytes: subflow.bytesReceived, rttMs: subflow.rttUs / 1000 })
      }
    }
  }

  get shares(): Share[] {
    const byPath = new Map<string, Share>()
    for (const one of this.seen.values()) {
      const bytes = (byPath.get(one.path)?.bytes ?? 0) + one.bytes
      byPath.set(one.path, { path: one.path, bytes, rttMs: one.rttMs })
    }
    return [...byPath.values()].sort((a, b) => b.bytes - a.bytes)
  }
}

function line(share: Share, before: number, total: number, ms: number): string {
  const rate = ((share.bytes - before) * 8) / ms / 1000
  const part = total === 0 ? 0 : (100 * share.bytes) / total
  return `    ${share.path.padEnd(12)} ${rate.toFixed(2).padStart(6)} Mbit/s  RTT ${share.rttMs.toFixed(0).padStart(4)} ms  ${part.toFixed(0).padStart(3)} %`
}

/** Prints a line per path again and again until `done`. */
async function watch(evaluation: Evaluation, meter: Meter, done: Promise<unknown>): Promise<void> {
  let isOver = false
  void done.finally(() => {
    isOver = true
  })
  let before = new Map<string, number>()
  let at = performance.now()
  let drawn = 0
  for (let n = 1; !isOver; n++) {
    await Promise.race([sleep(LOOK_MS), done])
    if (isOver) return
    meter.take(await evaluation.status())
    if (n % PRINT_EVERY !== 0) continue
    const { shares } = meter
    const total = shares.reduce((sum, share) => sum + share.bytes, 0)
    const now = performance.now()
    if (drawn > 0 && process.stdout.isTTY) process.stdout.write(`\x1b[${drawn}A\x1b[J`)
    for (const share of shares) say(line(share, before.get(share.path) ?? 0, total, now - at))
    drawn = shares.length
    before = new Map(shares.map((share) => [share.path, share.bytes]))
    at = now
  }
}

async function download(evaluation: Evaluation, name: string, kinds: readonly DetourKind[]): Promise<Outcome> {
  await evaluation.useDetours(kinds)
  say(`\n${name}:  $ curl --max-time ${SECONDS} http://${VIA_DAEMON}:${PORT.http}/...`)
  const joinsBefore = counter(await evaluation.serverCounters(), 'MPTcpExtMPJoinAckRx')
  const client = { exec: evaluation.lab.exec.bind(evaluation.lab, 'client') }
  const path = join(evaluation.dir, 'download')
  const transfer = curlFor(client, VIA_DAEMON, PORT.http, path, SECONDS)
  const meter = new Meter()
  await watch(evaluation, meter, transfer)
  const joins = counter(await evaluation.serverCounters(), 'MPTcpExtMPJoinAckRx') - joinsBefore
  return { name, transfer: await transfer, shares: meter.shares, joins }
}

function table(outcomes: readonly Outcome[]): void {
  say(`\n${''.padEnd(20)} goodput          share of each path                          joins  SHA-256 of what came`)
  for (const { name, transfer, shares, joins } of outcomes) {
    const total = shares.reduce((sum, share) => sum + share.bytes, 0)
    const parts = shares.map((share) => `${share.path} ${((100 * share.bytes) / total).toFixed(0)} %`).join(', ')
    const rate = `${(transfer.bitsPerSecond / 1e6).toFixed(2)} Mbit/s`
    say(`${name.padEnd(20)} ${rate.padEnd(16)} ${parts.padEnd(43)} ${String(joins).padStart(5)}  ${transfer.sha256.slice(0, 16)}...`)
  }
  say('')
}

async function demonstrate(evaluation: Evaluation): Promise<void> {
  say(PICTURE)
  const { lab, dir } = evaluation
  await startServers({ dir, server: { spawn: (argv) => lab.spawn('server', argv) } })
  const alone = await download(evaluation, 'default route alone', [])
  const nat = await download(evaluation, 'with a NAT detour', ['nat'])
  const both = await download(evaluation, 'with NAT and VPN', ['nat', 'openvpn'])
  table([alone, nat, both])

  for (const { name, transfer } of [alone, nat, both])
    claim(
      transfer.bytes > 1e6 && transfer.sha256 === payloadSha256(transfer.bytes),
      `${name}: ${transfer.bytes} bytes, each as the server has it`,
    )
  const gain = nat.transfer.bitsPerSecond / alone.transfer.bitsPerSecond
  claim(gain > 1.8, `one NAT detour: ${gain.toFixed(2)} times the goodput of the default route`)
  claim(nat.joins >= 1 && both.joins >= 2, `the server's kernel counted the joins: ${nat.joins} and ${both.joins}`)
  claim(both.shares.length >= 3, 'with both detours three paths carried bytes')
  const counters = await evaluation.serverCounters()
  claim(counter(counters, 'MPTcpExtMPCapableACKRX') >= 3, 'the server took all connections as MPTCP')
  claim(Object.keys(errorsIn(counters, FALLBACK_COUNTERS)).length === 0, 'none fell back to TCP')
  claim(Object.keys(errorsIn(counters)).length === 0, 'no protocol error counted')
  await evaluation.stopDaemon()
  claim(true, 'mptcpd-user ended well')
}

let evaluation: Evaluation | null = null
try {
  evaluation = await Evaluation.up('core-limited')
  await demonstrate(evaluation)
} catch (error) {
  failures++
  say(`FAILED ${error instanceof Error ? error.message : error}`)
} finally {
  await evaluation?.down()
}
process.exitCode = failures === 0 ? 0 : 1
