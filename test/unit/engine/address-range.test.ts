import t from 'tap'
import type { IpAddress } from '../../../src/base/address.js'
import { parseAddress } from '../../../src/config/address-text.js'
import { AddressRange, isMartian } from '../../../src/engine/address-range.js'

const contains = (range: AddressRange, a: IpAddress) => range.contains(a.w0, a.w1, a.w2, a.w3)

t.test('a range contains its prefix and nothing else', (t) => {
  const v4 = new AddressRange(parseAddress('198.18.0.1'), 29)
  t.ok(contains(v4, parseAddress('198.18.0.0')))
  t.ok(contains(v4, parseAddress('198.18.0.7')))
  t.notOk(contains(v4, parseAddress('198.18.0.8')))
  const v6 = new AddressRange(parseAddress('fd00:198:18::1'), 64)
  t.ok(contains(v6, parseAddress('fd00:198:18::ffff')))
  t.notOk(contains(v6, parseAddress('fd00:198:18:1::')))
  t.ok(contains(new AddressRange(parseAddress('0.0.0.0'), 0), parseAddress('255.255.255.255')))
  t.notOk(contains(new AddressRange(parseAddress('0.0.0.0'), 0), parseAddress('2001:db8::1')), 'families do not mix')
  t.ok(contains(new AddressRange(parseAddress('10.0.0.1'), 32), parseAddress('10.0.0.1')))
  t.end()
})

t.test('martians: addresses that no TCP segment may have', (t) => {
  for (const text of [
    '0.0.0.0',
    '0.1.2.3',
    '127.0.0.1',
    '224.0.0.1',
    '239.255.255.255',
    '240.0.0.1',
    '255.255.255.255',
    '::',
    '::1',
    'ff02::1',
    'fe80::1',
    'febf::1',
    '::192.0.2.1',
  ]) {
    const a = parseAddress(text)
    t.ok(isMartian(a.w0, a.w1, a.w2, a.w3), text)
  }
  for (const text of ['1.0.0.1', '10.0.0.1', '169.254.1.1', '223.255.255.255', '2001:db8::1', 'fd00::1', 'fec0::1']) {
    const a = parseAddress(text)
    t.notOk(isMartian(a.w0, a.w1, a.w2, a.w3), text)
  }
  t.end()
})
