import t from 'tap'
import { addressAfter, networkText, parseAddress, parsePrefix } from '../../../src/config/address-text.js'
import { daemonConfig, type DaemonInput } from '../../../src/config/daemon-config.js'
import { detourName, detourOfText, withoutTokens } from '../../../src/config/detour-config.js'
import { parsePathSpec } from '../../../src/config/path-spec.js'
import { schedulerNames } from '../../../src/scheduler/registry.js'

t.test('addresses: text to words and back', (t) => {
  for (const text of ['0.0.0.0', '198.18.0.1', '255.255.255.255', '2001:db8::1', 'fd00:198:18::1', '::', 'fe80::ffff:1']) {
    t.equal(parseAddress(text).toString(), text)
  }
  for (const text of ['', '1.2.3', '1.2.3.4/8', 'fe80::1%eth0', '2001:db8::1/64', 'host', '1.2.3.4.5', '300.1.1.1']) {
    t.throws(() => parseAddress(text), { code: 'ERR_ADDRESS' }, text)
  }
  t.end()
})

t.test('prefixes: network, and the addresses behind ours', (t) => {
  const v4 = parsePrefix('198.18.0.1/29')
  t.equal(networkText(v4), '198.18.0.0/29')
  t.equal(String(addressAfter(v4, 1)), '198.18.0.2')
  t.equal(String(addressAfter(v4, 5)), '198.18.0.6')
  t.equal(addressAfter(v4, 6), null, 'not the broadcast address')
  const v6 = parsePrefix('fd00:198:18::1/64')
  t.equal(networkText(v6), 'fd00:198:18::/64')
  t.equal(String(addressAfter(v6, 2)), 'fd00:198:18::3')
  t.equal(addressAfter(parsePrefix('2001:db8::1/128'), 1), null)
  for (const text of ['198.18.0.1', '198.18.0.1/33', '2001:db8::1/129', '198.18.0.1/-1', '198.18.0.1/2/3', '/24']) {
    t.throws(() => parsePrefix(text), { code: 'ERR_ADDRESS' }, text)
  }
  t.end()
})

t.test('paths by hand', (t) => {
  const show = (text: string) => {
    const spec = parsePathSpec(text)
    return [spec.source, spec.gateway?.toString() ?? null, spec.destination?.toString() ?? null, spec.destinationPort]
  }
  t.same(show('eth1'), ['eth1', null, null, 0])
  t.same(show('192.0.2.7@192.0.2.1'), ['192.0.2.7', '192.0.2.1', null, 0])
  t.same(show('2001:db8::7@fe80::1'), ['2001:db8::7', 'fe80::1', null, 0])
  t.same(show('default,198.51.100.9'), [null, null, '198.51.100.9', 0])
  t.same(show('default,198.51.100.9:443'), [null, null, '198.51.100.9', 443])
  t.same(show('vpn0,[2001:db8::9]:443'), ['vpn0', null, '2001:db8::9', 443])
  t.same(show('vpn0,[2001:db8::9]'), ['vpn0', null, '2001:db8::9', 0])
  for (const text of [
    '',
    ',1.2.3.4',
    'eth1,',
    'eth1,host',
    'eth1,1.2.3.4:0',
    'eth1,1.2.3.4:65536',
    'default@1.2.3.4',
    'a b',
    'eth1,1.2.3.4,5',
    'eth1@x',
  ]) {
    t.throws(() => parsePathSpec(text), { code: 'ERR_PATH_SPEC' }, text)
  }
  t.end()
})

t.test('the configuration has defaults, bounds, and names what is wrong', (t) => {
  t.match(daemonConfig({}), { tun: 'tun0', address4: '198.18.0.1/29', address6: 'fd00:198:18::1/64', mptcp: true, paths: [] })
  t.throws(() => daemonConfig({ tun: 'much-too-long-name' }), { code: 'ERR_CONFIG', message: /^tun = / })
  t.throws(() => daemonConfig({ address4: '::1/64' }), { message: /^address4 = / })
  t.throws(() => daemonConfig({ address4: null, address6: null }), { code: 'ERR_CONFIG' })
  t.throws(() => daemonConfig({ memory: 1 }), { message: /^memory = 1: must be at least/ })
  t.throws(() => daemonConfig({ paths: ['eth1', 'x,'] }), { message: /^paths\[1\] = / })
  t.throws(() => daemonConfig({ colour: 'red' } as object), { message: /unknown key 'colour'/ })
  t.end()
})

const TOKEN = `mptcp-detour://${'a'.repeat(11)}.${'S'.repeat(43)}@detour.example:4000`

t.test('detours: names, tokens, addresses', (t) => {
  const names = (...detour: DaemonInput['detour'] & object) => daemonConfig({ detour }).detour.map(detourName)
  t.same(
    names(
      { type: 'nat', token: TOKEN },
      { type: 'nat', address: '192.0.2.7' },
      { type: 'nat', address: '[2001:db8::7]:99' },
      { type: 'openvpn', file: '/etc/x/office.ovpn' },
      { type: 'interface', device: 'wlan0' },
      { type: 'interface', device: 'wlan1', name: 'second' },
    ),
    ['nat:detour.example:4000', 'nat:192.0.2.7', 'nat:[2001:db8::7]:99', 'office', 'wlan0', 'second'],
  )
  const wrong = (detour: object, message: RegExp) =>
    t.throws(() => daemonConfig({ detour: [detour] } as DaemonInput), { code: 'ERR_CONFIG', message })
  wrong({ type: 'nat' }, /needs a token, or the address/)
  wrong({ type: 'nat', token: TOKEN, address: '192.0.2.7' }, /one of them/)
  wrong({ type: 'nat', address: '192.0.2.7:0' }, /expected HOST or HOST:PORT/)
  wrong({ type: 'nat', address: 'a b' }, /expected HOST or HOST:PORT/)
  wrong({ type: 'nat', address: '1::2::3' }, /not an IPv4 or IPv6 address/)
  wrong({ type: 'openvpn' }, /^detour\[0\] needs file$/)
  wrong({ type: 'openvpn', file: 'a.ovpn' }, /absolute path/)
  wrong({ type: 'interface', device: 'w', gatway: '192.0.2.1' }, /^detour\[0\]: unknown key 'gatway': did you mean 'gateway'\?$/)
  wrong({ type: 'tunnel' }, /must have a type: "nat", "openvpn" or "interface"/)
  wrong({ type: 'interface', device: 'w', destinations: ['x'] }, /^detour\[0\]\.destinations\[0\] = "x": 'x' is not an IPv4/)
  const twice = [
    { type: 'interface', device: 'w' },
    { type: 'openvpn', file: '/w.ovpn' },
  ] as const
  t.throws(() => daemonConfig({ detour: [...twice] }), { message: /are called 'w'/ })
  t.throws(() => daemonConfig({ paths: ['w'], detour: [twice[0]] }), { message: /are called 'w'/ })
  t.end()
})

t.test('no message and no output repeats a token', (t) => {
  for (const token of [TOKEN.slice(0, -20), TOKEN.replace('mptcp-', 'mptpc-'), `${TOKEN}:5`, TOKEN.replace('.', '')]) {
    try {
      daemonConfig({ detour: [{ type: 'nat', token }] })
      t.fail('no token')
    } catch (error) {
      t.match(String(error), /is no token|expected HOST/)
      t.notMatch(String(error), /SSSS/)
    }
  }
  t.notMatch(JSON.stringify(withoutTokens(daemonConfig({ detour: [{ type: 'nat', token: TOKEN }] }).detour)), /SSSS/)
  t.end()
})

t.test('a detour from the text of `path add`', (t) => {
  t.match(detourOfText(TOKEN), { type: 'nat', token: TOKEN })
  t.match(detourOfText('/etc/a.ovpn'), { type: 'openvpn', file: '/etc/a.ovpn' })
  t.equal(detourOfText('eth1'), null)
  t.equal(detourOfText('default,198.51.100.9:443'), null)
  t.throws(() => detourOfText('mptcp-detour://x'), { code: 'ERR_CONFIG', message: /^token: is no token/ })
  t.end()
})

t.test('the names of schedulers are those that there are', (t) => {
  for (const scheduler of schedulerNames()) t.equal(daemonConfig({ scheduler } as DaemonInput).scheduler, scheduler)
  t.throws(() => daemonConfig({ scheduler: 'fastest' } as unknown as DaemonInput), { message: /must be min-rtt, / })
  t.end()
})
