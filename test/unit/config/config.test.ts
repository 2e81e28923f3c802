import t from 'tap'
import { addressAfter, networkText, parseAddress, parsePrefix } from '../../../src/config/address-text.js'
import { daemonConfig } from '../../../src/config/daemon-config.js'
import { parsePathSpec } from '../../../src/config/path-spec.js'

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
