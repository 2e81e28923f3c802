import t from 'tap'
import { addressesOf, complaintOf, ManagementReader, type VpnEvent } from '../../../src/detour/openvpn-management.js'

/** As openvpn 2.6 sent it, in one connection. */
const DIALOGUE = `>INFO:OpenVPN Management Interface Version 5 -- type 'help' for more info
>HOLD:Waiting for hold release:0
SUCCESS: real-time state notification set to ON
SUCCESS: hold release succeeded
>STATE:1795519892,WAIT,,,,,,
>STATE:1795519892,AUTH,,,,,,
>UPDOWN:UP
>UPDOWN:ENV,dev=ovpn0
>UPDOWN:ENV,tun_mtu=1500
>UPDOWN:ENV,route_network_1=10.77.0.0
>UPDOWN:ENV,ifconfig_local=10.8.0.2
>UPDOWN:ENV,tls_id_0=CN=server
>UPDOWN:ENV,trusted_ip=10.9.4.2
>UPDOWN:ENV,END
>STATE:1795519892,CONNECTED,SUCCESS,10.8.0.2,10.9.4.2,1194,,
>BYTECOUNT:2136,1977
>STATE:1795519901,RECONNECTING,ping-restart,,,,,
>HOLD:Waiting for hold release:8
>PASSWORD:Need 'Auth' username/password
>PASSWORD:Verification Failed: 'Auth'
>FATAL:Cannot open TUN/TAP dev
ERROR: command failed
>NEWS:of a later version
`

const shown = (event: VpnEvent): string =>
  'env' in event ? `${event.kind} ${[...event.env].map((pair) => pair.join('=')).join(' ')}` : Object.values(event).join(' ')

const EXPECTED = [
  'hold 0',
  'state WAIT ',
  'state AUTH ',
  'up dev=ovpn0 tun_mtu=1500 route_network_1=10.77.0.0 ifconfig_local=10.8.0.2 tls_id_0=CN=server trusted_ip=10.9.4.2',
  'state CONNECTED SUCCESS',
  'bytes 2136 1977',
  'state RECONNECTING ping-restart',
  'hold 8',
  'password Auth',
  'refused Auth',
  'fatal Cannot open TUN/TAP dev',
  'error command failed',
]

t.test('the dialogue becomes events, however the socket cuts it', (t) => {
  t.same(new ManagementReader().read(DIALOGUE).map(shown), EXPECTED)
  t.same(new ManagementReader().read(DIALOGUE.replaceAll('\n', '\r\n')).map(shown), EXPECTED)
  for (const len of [1, 2, 3, 7, 64]) {
    const reader = new ManagementReader()
    const events: VpnEvent[] = []
    for (let at = 0; at < DIALOGUE.length; at += len) events.push(...reader.read(DIALOGUE.slice(at, at + len)))
    t.same(events.map(shown), EXPECTED, `${len} bytes at a time`)
  }
  t.end()
})

t.test('nothing that is said makes it throw, or keep more than it needs', (t) => {
  const reader = new ManagementReader()
  for (const text of ['>\n', '>STATE\n', '>STATE:\n', '>BYTECOUNT:x,y\n', '>UPDOWN:ENV,END\n', '>UPDOWN:ENV,=\n', '\0\n', '>HOLD:x\n'])
    t.doesNotThrow(() => reader.read(text), JSON.stringify(text))
  for (let i = 0; i < 100; i++) reader.read('x'.repeat(10_000))
  t.ok((reader as unknown as { rest: string }).rest.length <= 16 << 10)
  reader.read('\n>UPDOWN:UP\n')
  for (let i = 0; i < 5000; i++) reader.read(`>UPDOWN:ENV,n${i}=1\n`)
  const [event] = reader.read('>UPDOWN:ENV,END\n')
  t.ok(event !== undefined && 'env' in event && event.env.size <= 1000)
  t.end()
})

t.test('addresses and MTU are taken only when they look like some', (t) => {
  const of = (pairs: Record<string, string>) => addressesOf(new Map(Object.entries(pairs)))
  t.same(of({ ifconfig_local: '10.8.0.2', ifconfig_ipv6_local: 'fd00::2', tun_mtu: '1400' }), {
    address4: '10.8.0.2',
    address6: 'fd00::2',
    mtu: 1400,
  })
  t.same(of({ ifconfig_local: '10.8.0.2 dev eth0', ifconfig_ipv6_local: '-6', tun_mtu: '99999999' }), {
    address4: null,
    address6: null,
    mtu: 0,
  })
  t.same(of({}), { address4: null, address6: null, mtu: 0 })
  t.end()
})

t.test('of its log the line that says what is wrong is kept', (t) => {
  t.equal(complaintOf('2026-11-24 11:31:00 TLS Error: TLS handshake failed'), 'TLS Error: TLS handshake failed')
  t.equal(
    complaintOf('Options error: In [CMD-LINE]:1: Error opening configuration file'),
    'Options error: In [CMD-LINE]:1: Error opening configuration file',
  )
  for (const line of [
    '2026-11-24 11:31:00 VERIFY OK: depth=1, CN=ca',
    'Initialization Sequence Completed',
    'UDPv4 link remote: [AF_INET]10.9.4.2:1194',
  ])
    t.equal(complaintOf(line), null, line)
  t.end()
})
