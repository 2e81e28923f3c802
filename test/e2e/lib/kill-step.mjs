/**
 * Sets the host up over and over, kills itself at another step each time, and cleans up after it. Runs in a network namespace;
 * in plain JavaScript, so that a process starts in 50 ms:
 *
 *     kill-step.mjs run N      sets up and dies by SIGKILL before change N (in-process children: nft ends with it)
 *     kill-step.mjs            the loop: one JSON object with what was found at each step
 */
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const dist = (path) => fileURLToPath(new URL(`../../../dist/src/${path}`, import.meta.url))
const { HostKeeper } = await import(dist('host/keeper.js'))
const { cleanUp } = await import(dist('host/leftovers.js'))
const { HostRunner } = await import(dist('host/runner.js'))
const { native } = await import(dist('tun/native.js'))
const { TunDevice } = await import(dist('tun/tun-device.js'))

const quiet = { info: () => {}, warn: () => {}, error: () => {} }

/** A runner that counts single changes, lines of a batch too, and dies before change `at`. */
class DyingRunner extends HostRunner {
  count = 0
  #at

  constructor(at) {
    super()
    this.#at = at
  }

  step() {
    if (++this.count === this.#at) process.kill(process.pid, 'SIGKILL')
  }

  async ipBatch(family, lines) {
    const left = this.#at - this.count - 1
    if (left < lines.length) {
      await super.ipBatch(family, lines.slice(0, left))
      process.kill(process.pid, 'SIGKILL')
    }
    this.count += lines.length
    return super.ipBatch(family, lines)
  }

  exec(argv) {
    this.step()
    return super.exec(argv)
  }

  writeSysctl(key, value) {
    this.step()
    return super.writeSysctl(key, value)
  }

  nft(lines) {
    this.step()
    return super.nft(lines)
  }
}

async function setUp(at, stateDir) {
  const device = new TunDevice({ name: 'tun0', exclusive: true })
  const options = {
    tun: 'tun0',
    mtu: 65_535,
    families: [
      { family: 4, address: '198.18.0.1', prefixLen: 29, prefix: '198.18.0.0/29' },
      { family: 6, address: 'fd00:198:18::1', prefixLen: 64, prefix: 'fd00:198:18::/64' },
    ],
    egresses: [{ family: 4, source: '198.18.0.3', device: 'wan2', gateway: '10.99.2.2', index: 0 }],
    capture: { routes: ['203.0.113.0/24'], all: true, includeLocal: false, lan: [] },
    failClosed: false,
  }
  const runner = new DyingRunner(at)
  const keeper = await HostKeeper.start(options, { native: native(), runner, log: quiet, closeTun: () => device.close(), stateDir })
  await keeper.setCapturing(true)
  await keeper.stop()
  process.stdout.write('done\n')
}

function state() {
  const commands = ['ip -4 rule', 'ip -6 rule', 'ip -4 route show table all', 'ip -6 route show table all', 'nft list ruleset']
  const sysctls = 'sysctl -a --pattern "forwarding|accept_ra|rp_filter" 2>/dev/null'
  return execFileSync('sh', ['-c', [...commands, sysctls].join('; ')], { encoding: 'utf8' })
}

async function loop() {
  const stateDir = mkdtempSync(join(tmpdir(), 'mptcpd-kill-'))
  const before = state()
  const wrong = []
  let leftovers = 0
  let step = 1
  for (; step < 200; step++) {
    const child = spawnSync(process.execPath, [fileURLToPath(import.meta.url), 'run', String(step), stateDir], {
      encoding: 'utf8',
    })
    if (child.stdout.includes('done')) break
    if (child.signal !== 'SIGKILL') wrong.push({ step, what: `it did not die: ${child.stderr}` })
    // Rules, tables of ours and the switches of the state file may be left, the TUN and the nft table may not: they go with their process.
    const outlives = (text) => /\bdev tun0\b|mptcpd_user/.test(text)
    let left = state()
    for (let i = 0; i < 20 && outlives(left); i++) left = state()
    if (left !== before) leftovers++
    if (outlives(left)) wrong.push({ step, what: `the TUN or the nft table outlived it:\n${left}` })
    // Every third one is converged by the next start instead.
    if (step % 3 === 0) continue
    const report = await cleanUp(native(), new HostRunner(), quiet, false, [], stateDir)
    if (report.failures.length > 0) wrong.push({ step, what: report.failures.join('; ') })
    if (state() !== before) wrong.push({ step, what: `left:\n${state()}` })
  }
  const after = state()
  rmSync(stateDir, { recursive: true, force: true })
  process.stdout.write(`${JSON.stringify({ steps: step - 1, leftovers, wrong, isSame: after === before })}\n`)
}

if (process.argv[2] === 'run') await setUp(Number(process.argv[3]), process.argv[4])
else await loop()
