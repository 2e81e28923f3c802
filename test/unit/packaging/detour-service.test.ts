import { readFileSync } from 'node:fs'
import t from 'tap'

const text = (name: string) => readFileSync(new URL(`../../../packaging/${name}`, import.meta.url), 'utf8')
const values = (unit: string, key: string): string[] =>
  [...unit.matchAll(new RegExp(`^${key}=(.*)$`, 'gm'))].map((match) => match[1] as string)

t.test('the unit of the detour daemon gives it no more than it needs', (t) => {
  const unit = text('mptcpd-user-detour.service')
  t.same(values(unit, 'ExecStart'), ['mptcpd-user detour serve'])
  t.same(values(unit, 'CapabilityBoundingSet'), ['CAP_NET_ADMIN'])
  t.same(values(unit, 'NoNewPrivileges'), ['yes'])
  t.same(values(unit, 'PrivateDevices'), ['yes'], 'it needs no /dev/net/tun')
  t.same(values(unit, 'NotifyAccess'), ['all'], 'systemd-notify speaks for it without the addon')
  for (const key of ['MemoryDenyWriteExecute', 'ProtectKernelTunables', 'PrivateNetwork']) t.same(values(unit, key), [], key)
  // The folder of sockets is the other daemon's too: what one of them leaves must not go with the other.
  for (const key of ['RuntimeDirectory', 'RuntimeDirectoryMode', 'RuntimeDirectoryPreserve'])
    t.same(values(unit, key), values(text('mptcpd-user.service'), key), key)
  t.end()
})
