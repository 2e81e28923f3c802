/** Runs in a network namespace of its own: sets the host up, takes it back, prints the host's state before, during, after. */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readdirSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { dryRun } from '../../../src/host/dry-run.js'
import { HostKeeper } from '../../../src/host/keeper.js'
import { HostRunner } from '../../../src/host/runner.js'
import type { HostOptions } from '../../../src/host/wanted.js'
import { native } from '../../../src/tun/native.js'
import { TunDevice } from '../../../src/tun/tun-device.js'

const sh = (command: string) => execFileSync('sh', ['-c', command], { encoding: 'utf8' })

function state(): string {
  return sh(
    'ip rule; ip -6 rule; ip route show table all; ip -6 route show table all; nft list ruleset; ' +
      'sysctl -a 2>/dev/null | grep -E "net.ipv[46].conf.*(forwarding|accept_ra|rp_filter)"',
  )
}

sh(`ip link set lo up; ip link add v0 type veth peer name v1; ip link set v0 up; ip link set v1 up
ip link add w0 type veth peer name w1; ip link set w0 up; ip link set w1 up; ip addr add 10.1.0.1/24 dev w0
ip addr add 10.0.0.1/24 dev v0; ip -6 addr add 2001:db8::1/64 dev v0 nodad
ip route add default via 10.0.0.2 metric 100; ip route add 10.9.0.0/24 nexthop via 10.0.0.3 nexthop via 10.0.0.4
ip route add blackhole 192.0.2.0/24; ip -6 route add default via fe80::1 dev v0; sleep 2.5`)
const before = state()
const options: HostOptions = {
  tun: 'tun0',
  mtu: 65_535,
  families: [
    { family: 4, address: '198.18.0.1', prefixLen: 29, prefix: '198.18.0.0/29' },
    { family: 6, address: 'fd00:198:18::1', prefixLen: 64, prefix: 'fd00:198:18::/64' },
  ],
  egresses: [{ family: 4, source: '198.18.0.3', device: 'w0', gateway: null, index: 0 }],
  capture: { routes: ['203.0.113.0/24', '2001:db8:113::/48'], all: true, includeLocal: false, lan: [] },
  failClosed: true,
}
const stateDir = mkdtempSync(join(tmpdir(), 'mptcpd-round-'))
const planned = await dryRun(options, native(), stateDir)
const warnings: string[] = []
const device = new TunDevice({ name: 'tun0', exclusive: true })
const log = { info: () => {}, warn: (text: string) => warnings.push(text), error: (text: string) => warnings.push(text) }
const closeTun = () => device.close()
const keeper = await HostKeeper.start(options, { native: native(), runner: new HostRunner(), log, closeTun, stateDir })
await keeper.setCapturing(true)
const during = state()
const table = sh('nft list ruleset')
const failures = await keeper.stop()
const after = state()
// The printed commands, run by hand, lead to the same rules, routes and switches.
const commands = planned.filter((line) => !line.startsWith('nft '))
sh(commands.join('\n'))
const byHand = state()
const files = readdirSync(stateDir)
process.stdout.write(JSON.stringify({ before, during, after, failures, table, byHand, files, warnings }))
