import t from 'tap'
import { parseAddress, parsePrefix } from '../../../../src/config/address-text.js'
import { type DestinationRules, embeddedV4, mayReach, prefixContains } from '../../../../src/detour/daemon/destination.js'
import { ALL_PORTS } from '../../../../src/detour/daemon/key-file.js'

const rules = (over: { allow?: string[]; only?: string[]; ports?: DestinationRules['ports'] } = {}): DestinationRules => ({
  allow: (over.allow ?? []).map(parsePrefix),
  only: (over.only ?? []).map(parsePrefix),
  ports: over.ports ?? ALL_PORTS,
})
const OWN = parseAddress('198.41.0.4')
const own = (address: { equals(other: typeof OWN): boolean }) => address.equals(OWN)
const may = (text: string, port = 443, ...given: DestinationRules[]) =>
  mayReach(parseAddress(text), port, own, given.length ? given : [rules()])

/** Every textual and binary way to say an IPv4 address. */
function encodings(v4: string): string[] {
  const bytes = v4.split('.').map(Number)
  const hex = (n: number) => (((bytes[n] as number) << 8) | (bytes[n + 1] as number)).toString(16)
  const [hi, lo] = [hex(0), hex(2)]
  const inverted = bytes.map((byte) => 255 - byte)
  const inv = (n: number) => (((inverted[n] as number) << 8) | (inverted[n + 1] as number)).toString(16)
  const byte = (n: number) => (bytes[n] as number).toString(16).padStart(2, '0')
  return [
    v4,
    `::ffff:${v4}`, // v4-mapped
    `::ffff:${hi}:${lo}`,
    `0:0:0:0:0:FFFF:${hi}:${lo}`,
    `::${v4}`, // v4-compatible
    `::${hi}:${lo}`,
    `::ffff:0:${v4}`, // IPv4-translated
    `2002:${hi}:${lo}::1`, // 6to4
    `2002:${hi}:${lo}:ffff::${v4}`,
    `64:ff9b::${v4}`, // NAT64
    `64:ff9b::${hi}:${lo}`,
    `64:ff9b:1::${v4}`, // local NAT64, of /96, /48, /56 and /64
    `64:ff9b:1:${hi}:${byte(2)}:${byte(3)}00::`,
    `64:ff9b:1:00${byte(0)}:${byte(1)}${byte(2)}:00${byte(3)}::`,
    `64:ff9b:1:0:00${byte(0)}:${byte(1)}${byte(2)}:${byte(3)}00:0`,
    `2001:0:${hi}:${lo}::`, // Teredo: server
    `2001:0:4136:e378:8000:63bf:${inv(0)}:${inv(2)}`, // Teredo: client
    `fe80::5efe:${v4}`, // ISATAP
    `2600::200:5efe:${v4}`,
    `2600::5efe:${hi}:${lo}`,
  ]
}

t.test('a denied destination stays denied in every encoding', (t) => {
  const denied = [
    '10.0.0.1',
    '127.0.0.1',
    '169.254.169.254',
    '172.31.255.255',
    '192.168.1.1',
    '100.64.0.1',
    '0.0.0.0',
    '224.0.0.1',
    '255.255.255.255',
  ]
  denied.push('192.0.2.1', '198.18.0.1', '198.51.100.1', '203.0.113.1', '192.0.0.8', '240.0.0.1', '192.88.99.1', OWN.toString())
  for (const v4 of denied) for (const text of encodings(v4)) t.notOk(may(text), `${v4} as ${text}`)
  t.end()
})

t.test('control: a host of the Internet may be reached, and by NAT64 and 6to4 too', (t) => {
  for (const text of [
    '8.8.8.8',
    '::ffff:8.8.8.8',
    '1.0.0.0',
    '172.15.255.255',
    '172.32.0.0',
    '100.63.255.255',
    '100.128.0.0',
    '223.255.255.255',
  ])
    t.ok(may(text), text)
  for (const text of ['2606:4700::1111', '2a00::1', '64:ff9b::8.8.8.8', '2002:808:808::1', '2600::5efe:8.8.8.8']) t.ok(may(text), text)
  t.end()
})

t.test('IPv6 that is no host of the Internet is denied', (t) => {
  const denied = [
    '::',
    '::1',
    'fe80::1',
    'febf::1',
    'fec0::1',
    'fc00::1',
    'fdff::1',
    'ff02::1',
    'ff0e::1',
    '2001:db8::1',
    '2001:2::1',
    '2001:20::1',
  ]
  for (const text of [...denied, '3fff::1', '5f00::1', '100::1', '4000::1', '::ffff:0:0:0', '64:ff9b:1::808:808', '::8.8.8.8'])
    t.notOk(may(text), text)
  t.end()
})

t.test('what the operator or the key allows is admitted, and no more; never the detour itself', (t) => {
  const lab = rules({ allow: ['10.20.0.0/16', 'fd00:1::/32'] })
  t.ok(may('10.20.255.1', 443, lab))
  t.ok(may('fd00:1:ffff::1', 443, lab))
  for (const text of ['10.21.0.1', '10.19.255.255', 'fd00:2::1', '192.168.0.1', '::10.20.0.1']) t.notOk(may(text, 443, lab), text)
  t.ok(may('10.20.0.1', 443, rules(), lab), "by the key's rule alone")
  t.ok(may('2002:a14:1::1', 443, lab), 'a form whose host is allowed')
  t.notOk(mayReach(OWN, 443, own, [rules({ allow: ['0.0.0.0/0'] })]))
  t.notOk(may('64:ff9b::198.41.0.4', 443, rules({ allow: ['0.0.0.0/0', '::/0'] })), 'in no form')
  t.end()
})

t.test('ports and exclusive destinations of operator and key must both hold', (t) => {
  const web = rules({
    ports: [
      { from: 80, to: 80 },
      { from: 443, to: 444 },
    ],
  })
  t.same(
    [80, 81, 443, 444, 445].filter((port) => may('8.8.8.8', port, rules(), web)),
    [80, 443, 444],
  )
  t.same(
    [0, 65_536, -1].filter((port) => may('8.8.8.8', port)),
    [],
  )
  t.notOk(may('8.8.8.8', 443, web, rules({ ports: [{ from: 1, to: 100 }] })))
  const only = rules({ only: ['8.8.8.0/24'] })
  t.ok(may('8.8.8.8', 443, rules(), only))
  t.notOk(may('8.8.4.4', 443, rules(), only))
  t.notOk(may('2606:4700::1111', 443, rules(), only))
  t.notOk(may('10.0.0.1', 443, rules({ only: ['10.0.0.0/8'] })), 'exclusive does not admit')
  t.end()
})

t.test('prefixes end where they say, in both families', (t) => {
  for (const [prefix, address, is] of [
    ['10.0.0.0/8', '10.255.255.255', true],
    ['10.0.0.0/8', '11.0.0.0', false],
    ['0.0.0.0/0', '255.1.2.3', true],
    ['0.0.0.0/0', '2600::', false],
    ['192.0.2.7/32', '192.0.2.7', true],
    ['192.0.2.7/32', '192.0.2.6', false],
    ['2001:db8::/33', '2001:db8:7fff::', true],
    ['2001:db8::/33', '2001:db8:8000::', false],
    ['2001:db8::1/128', '2001:db8::1', true],
    ['2001:db8::1/128', '2001:db8::', false],
    ['::/0', '10.0.0.1', false],
  ] as const)
    t.equal(prefixContains(parsePrefix(prefix), parseAddress(address)), is, `${prefix} ${address}`)
  t.same(embeddedV4(parseAddress('8.8.8.8')), [])
  t.end()
})
