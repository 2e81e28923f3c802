import { existsSync, readdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { Laboratory, type UpOptions } from '../../bench/lab/laboratory.js'
import { Background, exec } from './lib/exec.js'
import { listNamespaces } from './lib/lab.js'

const LAB_DIR = '/run/mptcpd-lab'
const MAIN = fileURLToPath(new URL('../../bench/lab/main.ts', import.meta.url))
const OWNER = fileURLToPath(new URL('lib/lab-owner.ts', import.meta.url))
const SENDER = fileURLToPath(new URL('../../bench/lab/udp-send.py', import.meta.url))
const CORE_LIMITED = fileURLToPath(new URL('../../bench/lab/topologies/core-limited.toml', import.meta.url))
const LINE = fileURLToPath(new URL('../../bench/lab/topologies/line.toml', import.meta.url))
const NAME = `e2e-${process.pid}`
const SERVER = '10.9.2.2'

/** 5 ms on each of three links, and 84 bytes of ping with an Ethernet header at 20, 10 and 20 Mbit/s, there and back. */
const RTT_MS = 30 + (2 * (84 + 14) * 8 * (1 / 20 + 1 / 10 + 1 / 20)) / 1e3

/** Runs `body` in a laboratory of its own. */
async function inLab(t: Test, file: string, options: UpOptions, body: (lab: Laboratory) => Promise<void>): Promise<void> {
  const lab = await Laboratory.up(file, { name: NAME, ...options })
  try {
    await body(lab)
  } finally {
    await lab.down()
  }
  t.same(left(), [], 'nothing is left behind')
}

/** Namespaces and files of laboratories of this test. */
function left(): string[] {
  const files = existsSync(LAB_DIR) ? readdirSync(LAB_DIR) : []
  return [...listNamespaces(), ...files].filter((name) => name.includes(NAME))
}

async function ping(lab: Laboratory, node: string, host: string, count: number): Promise<number[]> {
  const { stdout } = await lab.exec(node, ['ping', '-n', '-c', String(count), '-i', '0.02', '-W', '1', host])
  return [...stdout.matchAll(/time=([\d.]+) ms/g)].map(([, ms]) => Number(ms)).toSorted((a, b) => a - b)
}

const median = (sorted: readonly number[]): number => sorted[sorted.length >> 1] ?? Number.NaN

const cli = (...args: string[]) => exec([process.execPath, '--import', 'tsx', MAIN, ...args])

t.test('the evaluation topology: delays, rate, loss and cuts as set, and counted', (t) =>
  inLab(t, CORE_LIMITED, { seed: 5 }, async (lab) => {
    await t.test('the round trip takes what the links take', async (t) => {
      const rtts = await ping(lab, 'client', SERVER, 60)
      t.equal(rtts.length, 60, 'no packet is lost')
      t.comment(`RTT ${rtts[0]} / ${median(rtts)} / ${rtts.at(-1)} ms, nominal ${RTT_MS.toFixed(3)}`)
      t.ok((rtts[0] ?? 0) > RTT_MS - 0.6 && median(rtts) < RTT_MS + 1, 'about 30.3 ms', { rtts })
      await lab.set('r1-r2', { delay: '50ms' })
      const longer = median(await ping(lab, 'client', SERVER, 20))
      t.ok(Math.abs(longer - RTT_MS - 90) < 1, '90 ms more on the middle link', { longer })
      await lab.set('r1-r2', { delay: '5ms' })
    })

    await t.test('TCP gets what 10 Mbit/s of Ethernet frames carry', async (t) => {
      await lab.spawn('server', ['iperf3', '--server', '--forceflush']).waitLine(/listening/i)
      const before = await lab.direction('r1-r2', 'r1')
      await lab.stats({ reset: true })
      const argv = ['iperf3', '--client', SERVER, '--time', '5', '--omit', '1', '--congestion', 'cubic', '--json']
      const { end } = JSON.parse((await lab.ok('client', argv)).stdout) as {
        end: { sum_received: { bits_per_second: number }; sender_tcp_congestion: string }
      }
      const report = await lab.stats()
      const mbit = end.sum_received.bits_per_second / 1e6
      t.comment(
        `TCP ${mbit.toFixed(3)} of 9.564 Mbit/s, worst stall ${report.timing.worstStallUs} µs, CPU ${report.timing.cpuShare.toFixed(2)}`,
      )
      t.equal(end.sender_tcp_congestion, 'cubic')
      t.ok(Math.abs(mbit - 9.564) < 0.1, '9.56 Mbit/s', { mbit })
      const after = await lab.direction('r1-r2', 'r1')
      const packets = after.packetsOut - before.packetsOut
      const bytes = after.bytesOut - before.bytesOut
      t.ok(bytes / packets <= 1500 && bytes / packets > 1400, 'super-segments were cut before the link', { packets, bytes })
      t.ok(report.timing.departures > 10_000 && report.timing.lateP50Us < 1000, 'it knows how late it was', report.timing)
      t.same(report.droppedAtEntrance, {})
      t.equal(after.droppedLoss, 0, 'no loss was set')
    })

    await t.test('losses hit one direction, as many as set and as the receiver misses', async (t) => {
      await lab.set('r1-r2', { loss: '5%' }, 'r1')
      const arrivedBefore = await arrived(lab)
      const before = await lab.direction('r1-r2', 'r1')
      await lab.ok('client', ['python3', SENDER, SERVER, '9', '100', '4000', '4000'])
      await ping(lab, 'client', SERVER, 3) // the last ones have arrived
      await lab.set('r1-r2', { loss: '0' })
      const after = await lab.direction('r1-r2', 'r1')
      const [sent, lost] = [after.packetsIn - before.packetsIn, after.droppedLoss - before.droppedLoss]
      t.ok(sent >= 4000, 'all were sent')
      t.ok(Math.abs(lost - sent * 0.05) < 4 * Math.sqrt(sent * 0.05 * 0.95), 'about 200', { sent, lost })
      t.equal((await arrived(lab)) - arrivedBefore, sent - lost, 'the rest arrived')
      t.equal((await lab.direction('r1-r2', 'r2')).droppedLoss, 0, 'none the other way')
      await t.rejects(lab.set('r1-r2', { loss: 'much' }), { code: 'ERR_LAB_VALUE' })
    })

    await t.test('a cut link carries nothing, the detour goes on', async (t) => {
      await lab.set('r1-r2', { up: 'false' })
      t.same(await ping(lab, 'client', SERVER, 3), [])
      t.equal((await ping(lab, 'client', '10.9.3.2', 3)).length, 3, 'the detour is reached by another way')
      t.ok((await lab.direction('r1-r2', 'r1')).droppedCut >= 3)
      await lab.set('r1-r2', { up: 'true' })
      t.equal((await ping(lab, 'client', SERVER, 3)).length, 3)
    })
  }),
)

t.test('both families over one link, at 100 Mbit/s', (t) =>
  inLab(t, LINE, {}, async (lab) => {
    await lab.set('line', { delay: '2ms', rate: '100mbit' })
    t.ok(Math.abs(median(await ping(lab, 'left', 'fd09::2', 20)) - 4) < 1, 'IPv6 too')
    await lab.spawn('right', ['iperf3', '--server', '--forceflush']).waitLine(/listening/i)
    const argv = ['iperf3', '--client', 'fd09::2', '--time', '3', '--omit', '1', '--congestion', 'cubic', '--json']
    const { end } = JSON.parse((await lab.ok('left', argv)).stdout) as { end: { sum_received: { bits_per_second: number } } }
    const mbit = end.sum_received.bits_per_second / 1e6
    t.comment(`TCP ${mbit.toFixed(1)} of 94.3 Mbit/s`)
    t.ok(mbit < 95 && mbit > 85, 'about 94.3 Mbit/s', { mbit })
  }),
)

t.test('the commands: up, exec, set, stats, down', async (t) => {
  t.teardown(() => cli('down', '--name', NAME))
  t.match(await cli('up', LINE, '--name', NAME, '--seed', '7'), { code: 0, stdout: /left, right/ })
  t.match(await cli('up', LINE, '--name', NAME), { code: 1, stderr: /is up already/ })
  t.equal((await cli('exec', '--name', NAME, 'left', 'sh', '-c', 'exit 7')).code, 7, 'the exit code of the command')
  t.match(await cli('exec', '--name', NAME, 'middle', 'true'), { code: 2, stderr: /no node 'middle'/ })
  t.equal((await cli('set', '--name', NAME, 'line', 'left:loss=1%', 'rate=5mbit')).code, 0)
  t.match(await cli('set', '--name', NAME, 'line', 'loss=1'), { code: 2, stderr: /no share/ })
  const report = JSON.parse((await cli('stats', '--name', NAME, '--json')).stdout) as unknown
  t.match(report, {
    version: 1,
    name: NAME,
    seed: 7,
    links: { line: [{ settings: { loss: 0.01, rate: 5e6 } }, { settings: { loss: 0 } }] },
  })
  t.match((await cli('stats', '--name', NAME)).stdout, /late departures: p50/)
  t.match(await cli('down', '--name', NAME), { code: 0, stdout: /is down/ })
  t.same(left(), [], 'nothing is left behind')
  t.match(await cli('down', '--name', NAME), { code: 1, stderr: /no laboratory/ })
})

t.test('what a killed laboratory left goes with the next command', async (t) => {
  const lab = await Laboratory.up(LINE, { name: NAME })
  t.teardown(() => cli('down', '--name', NAME))
  const sleeper = lab.spawn('left', ['sleep', '1000'])
  const { pid } = JSON.parse((await exec(['cat', `${LAB_DIR}/${NAME}.json`])).stdout) as { pid: number }
  process.kill(pid, 'SIGKILL')
  t.ok(left().length > 2, 'the namespaces are still there')
  t.match(await cli('down', '--name', NAME), { code: 0, stdout: /leftovers removed/ })
  t.same(left(), [])
  await sleeper.exited // and what ran in it
})

t.test('a laboratory ends with the process that started it, whatever ends that', async (t) => {
  const child = new Background([process.execPath, '--import', 'tsx', OWNER, LINE, NAME])
  await child.waitLine(/^up$/, 20_000)
  t.ok(left().length > 2)
  child.kill('SIGKILL')
  const deadline = performance.now() + 10_000
  while (left().length > 0 && performance.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 50))
  t.same(left(), [])
})

/** Packets that the server's kernel got from its link. */
async function arrived(lab: Laboratory): Promise<number> {
  const { stdout } = await lab.ok('server', ['ip', '-s', '-j', 'link', 'show', 'dev', 'r2'])
  const [link] = JSON.parse(stdout) as { stats64: { rx: { packets: number } } }[]
  return link?.stats64.rx.packets ?? Number.NaN
}
