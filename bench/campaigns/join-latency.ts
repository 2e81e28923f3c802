import { Evaluation, SERVER } from '../lab/evaluation.js'
import { Capture } from '../../test/e2e/lib/capture.js'
import { JOIN_FILTER, type JoinLatency, joinLatencies, quantile } from '../../test/e2e/lib/join-latency.js'
import { curlDownload, PORT, startServers } from '../../test/e2e/lib/peers.js'
import { payloadSha256 } from '../../test/e2e/lib/payload.js'
import type { Campaign } from './campaign.js'

const LEN = 250_000
/** Client to detour and back, and to the server and back, in this topology. */
const RTT_MS = 30
/** What is reordered is held back for that long; a round trip may take so much longer. */
const HOLD_MS = 12
/** Of the lab's nodes, the one that all control packets pass. */
const ROUTER = 'r3'
const CONTROL_LOSS = `table inet control {
  chain forward {
    type filter hook forward priority 0
    udp dport 45672 numgen random mod 100 < 10 counter drop
    udp sport 45672 numgen random mod 100 < 10 counter drop
  }
}
`

/** How long joining through a fresh mapping takes, from a capture on the TUN. */
export const campaign: Campaign = {
  summary:
    'first DSS to join SYN through fresh NAT mappings, also when control packets are lost and reordered [CONNECTIONS=100]: 1.5 min; root',
  async run([count = '100']) {
    const evaluation = await Evaluation.up('core-limited')
    try {
      const { lab } = evaluation
      const server = { spawn: (argv: readonly string[]) => lab.spawn('server', argv) }
      await lab.ok('server', ['ip', 'route', 'add', 'local', '10.9.64.0/18', 'dev', 'lo'])
      await lab.ok('r2', ['ip', 'route', 'add', '10.9.64.0/18', 'via', SERVER])
      await startServers({ dir: evaluation.dir, server })
      const sound = await measure(evaluation, 64, Number(count))
      const isSound = report('sound', sound) && quantile(synsOf(sound), 0.5) <= 1

      await lab.ok(ROUTER, ['nft', '-f', '-'], { input: CONTROL_LOSS })
      await lab.set('r3-detour', { reorder: '25%', reorder_hold: `${HOLD_MS}ms`, reorder_port: '45672' })
      const hurt = await measure(evaluation, 65, Number(count))
      const { stdout } = await lab.ok(ROUTER, ['nft', 'list', 'table', 'inet', 'control'])
      const lost = [...stdout.matchAll(/packets (\d+)/g)].map(([, n]) => Number(n))
      const reordered = ((await lab.stats()).links['r3-detour'] ?? []).map((direction) => direction.reordered)
      process.stdout.write(`control packets lost: ${lost.join(' towards the detour, ')} back; overtaken: ${sumOf(reordered)}\n`)
      const isJoined = report('10 % lost, 25 % held', hurt)
      const usualMs = quantile(answersOf(sound), 0.5)
      const lateMs = answersOf(hurt).map((ms) => ms - usualMs)
      process.stdout.write(`answers later than the usual ${usualMs.toFixed(2)} ms: ${quantilesOf(lateMs)}\n`)
      const isHurtFine = isJoined && Math.max(...synsOf(hurt)) <= RTT_MS && quantile(lateMs, 0.99) <= RTT_MS + HOLD_MS
      return isSound && isHurtFine && lost.every((n) => n > 0) && sumOf(reordered) > 0
    } finally {
      await evaluation.down()
    }
  },
}

const synsOf = (all: readonly JoinLatency[]): number[] => all.flatMap(({ synMs }) => synMs ?? [])
const answersOf = (all: readonly JoinLatency[]): number[] => all.flatMap(({ answerMs }) => answerMs ?? [])
const sumOf = (values: readonly number[]): number => values.reduce((sum, n) => sum + n, 0)
const quantilesOf = (values: readonly number[]): string => {
  const cells = [0.5, 0.9, 0.99, 1].map((q) => quantile(values, q).toFixed(2))
  return `p50 p90 p99 max ${cells.join(' ')} ms`
}

/** One connection after the other, each to an address that nobody has asked for before, with a daemon of its own. */
async function measure(evaluation: Evaluation, third: number, count: number): Promise<JoinLatency[]> {
  const { lab, dir, tun } = evaluation
  const client = {
    name: 'client',
    ok: (argv: readonly string[], options = {}) => lab.ok('client', argv, options),
    spawn: (argv: readonly string[]) => lab.spawn('client', argv),
  }
  await evaluation.useDetours(['nat'])
  await client.ok(['ip', 'route', 'replace', '10.9.64.0/18', 'dev', tun])
  const capture = await Capture.start({ dir }, client, tun, JOIN_FILTER)
  const sha256 = payloadSha256(LEN)
  for (let i = 0; i < count; i++) {
    const transfer = await curlDownload(client, `10.9.${third}.${i + 1}`, PORT.http, dir, LEN)
    if (transfer.sha256 !== sha256) throw new Error('the bytes that arrived are not those that were sent')
  }
  const found = await joinLatencies(capture, client)
  if (found.length !== count) throw new Error(`the capture shows ${found.length} connections of ${count}`)
  return found
}

/** @returns whether every connection was joined */
function report(name: string, all: readonly JoinLatency[]): boolean {
  const answers = answersOf(all)
  const repeated = all.filter(({ syns }) => syns > 1).length
  process.stdout.write(
    `${name}: ${all.length} connections, ${answers.length} joined; SYN ${quantilesOf(synsOf(all))}; its answer ${quantilesOf(answers)}; ` +
      `${repeated} SYNs were repeated\n`,
  )
  return synsOf(all).length === all.length
}
