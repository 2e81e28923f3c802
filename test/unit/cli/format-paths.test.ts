import t from 'tap'
import { formatPaths } from '../../../src/cli/format-paths.js'
import type { DetourStatus } from '../../../src/detour/provider.js'
import type { Status } from '../../../src/engine/status.js'

const shown = { source: null, destination: null, isBackup: false, cost: 0, remote: null, isTentative: false } as const

const PATHS: Status['paths'] = [
  { ...shown, id: 1, label: 'default', kind: 'default', subflows: 2, rttUs: 20_400, resent: 0.0125 },
  { ...shown, id: 2, label: 'vpn', kind: 'openvpn', source: '198.18.0.3', subflows: 1, rttUs: 61_000, resent: 0 },
  { ...shown, id: 3, label: 'nat', kind: 'nat', destination: '192.0.2.7:20443', subflows: 1, rttUs: 75_000, resent: 0, isBackup: true },
  { ...shown, id: 4, label: 'eth1', kind: 'interface', subflows: 0, rttUs: null, resent: null },
]

const detour = (name: string, type: DetourStatus['type'], rttUs: number | null): DetourStatus => {
  const measured = { rttUs, loss: rttUs === null ? null : 0.04 }
  return {
    name,
    type,
    state: 'up',
    device: name,
    peer: null,
    ...measured,
    leases: null,
    pid: null,
    isBackup: false,
    cost: 0,
    lastError: null,
  }
}

t.test('path list: each path as its subflows measure it, a detour by itself where it is asked, else by them', async (t) => {
  const text = formatPaths([detour('nat', 'nat', 30_000), detour('vpn', 'openvpn', null), detour('eth1', 'interface', null)], PATHS)
  t.same(text.split('\n'), [
    'nat: nat, up, rtt 30.0 ms, loss 4 %',
    'vpn: openvpn, up, rtt 61.0 ms to the servers, 0.0 % resent',
    'eth1: interface, up',
    '',
    'path     kind       from        to               subflows  rtt      resent',
    'default  default    default     the server       2         20.4 ms  1.3 %',
    'vpn      openvpn    198.18.0.3  the server       1         61.0 ms  0.0 %',
    'nat      nat        default     192.0.2.7:20443  1         75.0 ms  0.0 %   backup',
    'eth1     interface  default     the server       0         -        -',
    '',
  ])
})
