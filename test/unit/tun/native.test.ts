import { execFile, spawn } from 'node:child_process'
import dgram from 'node:dgram'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { Worker } from 'node:worker_threads'
import t from 'tap'
import { native } from '../../../src/tun/native.js'
import { naiveSum } from '../../oracle/naive-checksum.js'
import { forSeeds } from '../../oracle/seeds.js'
import { addonPath, inNamespace, isRoot } from './namespace.js'

const { Timer, Tun, nowUs, sum, setMark, sendUnixDatagram } = native()

function openDescriptors(): number {
  return readdirSync('/proc/self/fd').length
}

/** Resolves when a timer armed for `span` microseconds fires; how long it took. */
async function fires(arm: (timer: InstanceType<typeof Timer>) => void): Promise<number> {
  const from = nowUs()
  return new Promise((resolve) => {
    const timer = new Timer(() => {
      timer.close()
      resolve(nowUs() - from)
    })
    arm(timer)
  })
}

t.test('the clock counts whole microseconds and does not run backwards', async (t) => {
  const first = nowUs()
  t.ok(Number.isSafeInteger(first) && first > 0)
  let last = first
  for (let i = 0; i < 10_000; i++) {
    const now = nowUs()
    if (now < last) t.fail(`${now} after ${last}`)
    last = now
  }
  const hr = Number(process.hrtime.bigint() / 1000n)
  t.ok(Math.abs(nowUs() - hr) < 1e6, 'it is the clock of process.hrtime')
})

t.test('sum agrees with the naive twin at any offset and length', async (t) => {
  await forSeeds(t, [1, 2], (rng) => {
    const mem = new Uint8Array(70_000)
    rng.fill(mem, 0, mem.length)
    if (rng.chance(0.3)) mem.fill(0xff)
    for (let i = 0; i < 2000; i++) {
      const off = rng.below(100)
      const len = rng.chance(0.9) ? rng.below(400) : rng.below(66_000)
      if (sum(mem, off, len) !== naiveSum(mem, off, len)) throw new Error(`offset ${off}, length ${len}`)
    }
  })
  const mem = new Uint8Array(10)
  t.throws(() => sum(mem, 5, 6), { code: 'ERR_OUT_OF_RANGE' })
  t.throws(() => sum(mem, -1, 2), { code: 'ERR_OUT_OF_RANGE' })
  t.throws(() => sum(new Int32Array(4) as unknown as Uint8Array, 0, 2), { code: 'ERR_INVALID_ARG_TYPE' })
})

t.test('a timer fires once, not before its time; arming again moves it', async (t) => {
  const relative = await fires((timer) => timer.armIn(3000))
  t.ok(relative >= 3000, `${relative} us`)
  const absolute = await fires((timer) => timer.arm(nowUs() + 2000))
  t.ok(absolute >= 2000, `${absolute} us`)
  t.ok((await fires((timer) => timer.arm(1))) >= 0, 'a deadline in the past fires at once')
  const moved = await fires((timer) => {
    timer.armIn(1000)
    timer.armIn(5000)
  })
  t.ok(moved >= 5000, `${moved} us`)

  let fired = 0
  const disarmed = new Timer(() => fired++)
  disarmed.armIn(1000)
  disarmed.disarm()
  await fires((timer) => timer.armIn(4000))
  t.equal(fired, 0)
  disarmed.armIn(100)
  await fires((timer) => timer.armIn(4000))
  t.equal(fired, 1, 'once')
  disarmed.close()
  disarmed.close()
  t.throws(() => disarmed.armIn(1), { code: 'EBADF' }, 'not after close')
})

t.test('an exception in a callback is an uncaught exception, and the loop goes on', async (t) => {
  const script = `
    const { Timer } = require(process.argv[1])
    process.on('uncaughtException', (error) => console.log('caught', error.message))
    const timer = new Timer(() => { timer.armIn(100); if (timer.n++ < 2) throw new Error('no ' + timer.n); timer.close() })
    timer.n = 0
    timer.armIn(100)`
  const { stdout, status } = await node(script)
  t.equal(status, 0, 'an open handle keeps the process, a closed one lets it go')
  t.equal(stdout, 'caught no 1\ncaught no 2\n')
})

t.test('unref lets the process end although the timer is armed; callbacks run promises', async (t) => {
  const unref = await node(`const { Timer } = require(process.argv[1]); const t = new Timer(() => {}); t.armIn(60e6); t.unref()`)
  t.equal(unref.status, 0)
  const micro = await node(`
    const { Timer } = require(process.argv[1])
    const t = new Timer(() => { Promise.resolve().then(() => { console.log('microtask'); t.close() }) })
    t.armIn(100)`)
  t.equal(micro.stdout, 'microtask\n')
})

t.test('closing gives descriptors back', async (t) => {
  const before = openDescriptors()
  for (let i = 0; i < 200; i++) new Timer(() => {}).close()
  await new Promise((resolve) => setImmediate(resolve))
  t.equal(openDescriptors(), before)
})

t.test('works in workers, and a worker may end with everything open', async (t) => {
  const before = openDescriptors()
  for (let i = 0; i < 5; i++) {
    const worker = new Worker(
      `const { parentPort, workerData } = require('node:worker_threads')
       const { Timer } = require(workerData)
       const open = [new Timer(() => parentPort.postMessage('fired')), new Timer(() => {})]
       open[0].armIn(1000)
       open[1].armIn(60e6)`,
      { eval: true, workerData: addonPath() },
    )
    t.same(await once(worker, 'message'), ['fired'])
    t.equal(await worker.terminate(), 1)
  }
  t.ok(openDescriptors() <= before + 1, 'descriptors of ended workers are closed')
})

t.test('errors carry their system name', async (t) => {
  t.throws(() => setMark(-1, 1), { code: 'EBADF' })
  t.throws(() => sendUnixDatagram('/nonexistent/socket', 'READY=1'), { code: 'ENOENT' })
  t.throws(() => sendUnixDatagram(`/${'x'.repeat(200)}`, ''), { code: 'ENAMETOOLONG' })
  t.throws(() => new Tun('name-that-is-too-long-for-linux', 0, '', () => {}), { code: 'ENAMETOOLONG' })
  t.throws(() => new Tun('tun0', 0, '/nonexistent/namespace', () => {}), { code: /ENOENT|EPERM/ })
  t.throws(() => new Timer(null as unknown as () => void), { code: 'ERR_INVALID_ARG_TYPE' })
})

t.test('a unix datagram arrives, at a path and in the abstract namespace', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'mptcpnet-'))
  t.teardown(() => rmSync(dir, { recursive: true }))
  for (const path of [join(dir, 'notify'), `@mptcpnet-test-${process.pid}`]) {
    const receiver = python(
      `
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1].replace('@', '\\0', 1))
print('bound', flush=True)
print(s.recv(100).decode(), flush=True)`,
      [path],
    )
    await receiver.line()
    sendUnixDatagram(path, 'READY=1\nSTATUS=x')
    t.equal(await receiver.line(), 'READY=1')
    receiver.end()
  }
})

t.test('SO_MARK is set on the socket', { skip: !isRoot && 'needs CAP_NET_ADMIN' }, async (t) => {
  const socket = dgram.createSocket('udp4')
  socket.bind(0, '127.0.0.1')
  await once(socket, 'listening')
  const state = Object.getOwnPropertySymbols(socket).find((symbol) => symbol.description === 'state symbol') as symbol
  const { fd } = (socket as unknown as Record<symbol, { handle: { fd: number } }>)[state]?.handle ?? { fd: -1 }
  t.doesNotThrow(() => setMark(fd, 0x77))
  socket.close()
})

t.test('a TUN with rings attached ends with its worker', { skip: !isRoot && 'needs CAP_NET_ADMIN' }, async (t) => {
  await inNamespace(async (ns) => {
    const worker = new Worker(
      `const { parentPort, workerData } = require('node:worker_threads')
       const { Tun } = require(workerData.addon)
       const tun = new Tun('worker0', 0, workerData.netns, () => {})
       tun.attachRx(new ArrayBuffer(4096), 0, 1024, new Int32Array(4))
       tun.attachTx(new ArrayBuffer(4096), new Int32Array(64), 16)
       tun.attachStats(new Float64Array(12))
       tun.watch(1)
       tun.readBatch()
       parentPort.postMessage(tun.name)`,
      { eval: true, workerData: { addon: addonPath(), netns: ns.path } },
    )
    t.same(await once(worker, 'message'), ['worker0'])
    t.doesNotThrow(() => ns.ip('link show worker0'))
    await worker.terminate()
    t.throws(() => ns.ip('link show worker0'), 'gone')
  })
})

t.test('the addon refuses rings that lie outside of the arena', { skip: !isRoot && 'needs CAP_NET_ADMIN' }, async (t) => {
  await inNamespace(async (ns) => {
    const tun = new Tun('tun%d', 0, ns.path, () => {})
    t.match(tun.name, /^tun\d+$/)
    const arena = new ArrayBuffer(4096)
    t.throws(() => tun.attachRx(arena, 0, 2048, new Int32Array(3)), { code: 'ERR_OUT_OF_RANGE' })
    t.throws(() => tun.attachRx(arena, -1, 2048, new Int32Array(1)), { code: 'ERR_OUT_OF_RANGE' })
    t.throws(() => tun.attachRx(arena, 0, 1, new Uint8Array(3) as unknown as Int32Array), { code: 'ERR_INVALID_ARG_TYPE' })
    t.throws(() => tun.attachTx(arena, new Int32Array(64), 99), { code: 'ERR_OUT_OF_RANGE' })
    t.equal(tun.readBatch(), 0, 'nothing attached, nothing read')
    const stats = new Float64Array(12)
    tun.attachStats(stats)
    tun.attachTx(arena, Int32Array.of(0, 10, 1, 10, 4090, 10, 0, 0, 0, 10, 9, 0, 0, 0, 0, 0), 8)
    t.equal(tun.writeBatch(0, 2), 2, 'entries that point outside are taken and lost')
    t.equal(stats[8], 2, 'and counted')
    t.throws(() => tun.writeBatch(0, 3), { code: 'ERR_OUT_OF_RANGE' })
    t.throws(() => tun.writeBatch(2, 1), { code: 'ERR_OUT_OF_RANGE' })
    tun.close()
    t.throws(() => tun.readBatch(), { code: 'EBADF' })
  })
})

/** Runs a script in a process of its own; its argument is the addon's path. */
function node(script: string): Promise<{ stdout: string; status: number | null }> {
  return new Promise((resolve) => {
    const child = execFile(process.execPath, ['-e', script, addonPath()], { timeout: 20_000 }, (_error, stdout) => {
      resolve({ stdout, status: child.exitCode })
    })
  })
}

/** A python script, read line by line. */
function python(script: string, args: string[]): { line(): Promise<string>; end(): void } {
  const child = spawn('/usr/bin/python3', ['-c', script, ...args], { stdio: ['ignore', 'pipe', 'inherit'] })
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  return {
    line: async () => String((await lines.next()).value),
    end: () => void child.kill('SIGKILL'),
  }
}
