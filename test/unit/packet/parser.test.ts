import t from 'tap'
import { Unsupported } from '../../packet/errors.js'
import type { Action, CallSpec, TcpSpec } from '../../packet/language/ast.js'
import { parseScript } from '../../packet/language/parser.js'
import { ACK, CWR, ECE, FIN, PSH, SYN } from '../../../src/wire/tcp.js'

const action = (source: string): Action => (parseScript(source).events[0] as { action: Action }).action
const tcp = (source: string): TcpSpec => action(`0 ${source}`) as TcpSpec
const call = (source: string): CallSpec => action(`0 ${source}`) as CallSpec

t.test('times: absolute, relative, ranges, any', async (t) => {
  const times = parseScript('1.5 < . 1:1(0)\n+.01 < . 1:1(0)\n0~.2 > . 1:1(0)\n+0~+.2 > . 1:1(0)\n* > . 1:1(0)').events.map((e) => e.time)
  t.same(times, [
    { kind: 'at', isRelative: false, us: 1_500_000 },
    { kind: 'at', isRelative: true, us: 10_000 },
    { kind: 'range', isRelative: false, fromUs: 0, toUs: 200_000 },
    { kind: 'range', isRelative: true, fromUs: 0, toUs: 200_000 },
    { kind: 'any' },
  ])
})

t.test('packets: flags, numbers, window, urgent pointer, options', async (t) => {
  const spec = tcp('> FP. 1:101(100) ack 7 win 500 urg 3 <nop,nop,TS val 1 ecr 2>')
  t.match(spec, { isInbound: false, flags: FIN | PSH | ACK, seq: 1, len: 100, ack: 7, window: 500, urgent: 3 })
  t.same(spec.options, [{ kind: 'nop' }, { kind: 'nop' }, { kind: 'TS', val: 1, ecr: 2 }])
  t.match(tcp('> - 1:1(0)'), { flags: 0, ack: null, window: null, options: [] })
  t.match(tcp('< SEW 0:0(0) <...>'), { isInbound: true, flags: SYN | ECE | CWR, options: null })
  t.match(tcp('< [ect0] . 1:1(0)'), { ip: { ecn: 2 } })
  t.match(tcp('< (tos 0x3) . 1:1(0)'), { ip: { tos: 3 } })
  t.match(tcp('< 5000 > 8080 S 0:0(0)'), { tuple: { source: { port: 5000 }, destination: { port: 8080 } } })
})

t.test('options of a SYN and SACK blocks', async (t) => {
  t.same(tcp('< S 0:0(0) <mss 1460, sackOK, eol, wscale 7, FO abcd1234, sack 1:2 3:4>').options, [
    { kind: 'mss', value: 1460 },
    { kind: 'sackOK' },
    { kind: 'eol' },
    { kind: 'wscale', value: 7 },
    { kind: 'FO', cookie: 'abcd1234' },
    {
      kind: 'sack',
      blocks: [
        [1, 2],
        [3, 4],
      ],
    },
  ])
})

t.test('MPTCP options', async (t) => {
  const one = (text: string) => tcp(`< . 1:1(0) <${text}>`).options?.[0]
  t.same(one('mpcapable v1 flags[flag_a, flag_h] key[ckey=2, skey] mpcdatalen 9'), {
    kind: 'mp_capable',
    version: 1,
    flags: 0x81,
    keys: [
      { name: 'ckey', value: 2n },
      { name: 'skey', value: null },
    ],
    dataLen: 9,
    checksum: 'none',
  })
  t.match(one('mpcapable v1 flags[flag_a] key[ckey, skey] mpcdatalen 9 cksum'), { dataLen: 9, checksum: 'computed' })
  t.match(one('dss dack8=5 dsn4=1 ssn=2 dll=3 nocs fin'), {
    kind: 'dss',
    ack: { len: 8, value: 5n },
    dsn: { len: 4, value: 1n },
    ssn: 2,
    dll: 3,
    checksum: 'none',
    fin: true,
  })
  t.match(one('dss dack4'), { ack: { len: 4, value: null }, dsn: null })
  t.same(one('mp_reset 1 flags[flag_t]'), { kind: 'mp_tcprst', reason: 1, isTransient: true })
  t.match(one('mp_join_syn backup=1 address_id=2 token=sha256_32(skey) rand=7'), { backup: true, id: 2, token: 'skey', nonce: 7 })
  t.match(one('mp_join_ack sender_hmac=auto'), { kind: 'mp_join_ack' })
  t.match(one('add_address address_id=3 addr[a=inet_addr("192.0.2.9")] port=8 hmac=auto'), {
    id: 3,
    address: '192.0.2.9',
    port: 8,
    isEcho: false,
  })
  t.match(one('add_address addr[a] addr_echo'), { id: -1, address: null, name: 'a', isEcho: true })
  t.match(one('mp_prio backup=1 address_id=4'), { backup: true, id: 4 })
  t.same(one('remove_address address_id=[1,2]'), { kind: 'remove_address', ids: [1, 2] })
  t.match(one('mp_prio backup=1'), { backup: true })
  t.match(one('mp_fail dsn8=7'), { dsn: { len: 8, value: 7n } })
  t.match(one('mp_fastclose ckey+1'), { key: { name: 'ckey' }, add: 1n })
})

t.test('ICMP', async (t) => {
  t.same(action('0 < icmp unreachable frag_needed mtu 1200 [1:1461(1460)]'), {
    kind: 'icmp',
    isInbound: true,
    tuple: null,
    type: 'unreachable',
    code: 'frag_needed',
    mtu: 1200,
    quoted: { seq: 1, len: 1460 },
  })
})

t.test('calls: arguments, results, errno, notes, end times', async (t) => {
  t.match(call('connect(3, ..., ...) = -1 EINPROGRESS (Operation now in progress)'), {
    name: 'connect',
    endUs: null,
    args: [{ value: 3 }, { kind: 'any' }, { kind: 'any' }],
    result: { value: -1 },
    errno: 'EINPROGRESS',
  })
  t.match(call('...0.5 read(4, ..., 1000) = 1000'), { endUs: 500_000 })
  t.match(call('fcntl(3, F_GETFL) = 0x2 (flags O_RDWR)'), { result: { value: 2 } })
  t.match(call('fcntl(3, F_SETFL, O_RDWR|O_NONBLOCK) = 0').args[2], { kind: 'or' })
  const poll = call('poll([{fd=3, events=POLLIN, revents=POLLIN}], 1, 0) = 1').args[0]
  t.equal(poll?.kind, 'list')
  t.match(call('sendmsg(4, {msg_name(...)=..., msg_iov(1)=[{..., 100}], msg_flags=0}, 0) = 100').args[1], { kind: 'struct' })
})

t.test('options of the script, definitions, and commands before, between and behind', async (t) => {
  const script = parseScript('--mtu=1400 --define=N=abcd --define=C="x"\n`init`\n0 < S 0:0(0) <FO N>\n+0 `middle`\n`end`')
  t.same([...script.options], [['mtu', '1400']])
  t.equal(script.init?.text, 'init')
  t.match(script.events[0]?.action, { options: [{ kind: 'FO', cookie: 'abcd' }] })
  t.match(script.events[1]?.action, { kind: 'command', text: 'middle' })
  t.equal(script.cleanup?.text, 'end')
})

t.test('what is not known is unsupported, with its line', async (t) => {
  const cases: readonly (readonly [string, string])[] = [
    ['0 > udp (100)', 'packets with udp'],
    ['0 > gre: . 1:1(0)', 'packets with gre'],
    ['0 > . 1:5(3)', '1:5 are not 3 bytes'],
    ['0 > Q. 1:1(0)', 'flag Q'],
    ['0 > . 1:1(0) <md5 abcd>', 'TCP option md5'],
    ['0 > . 1:1(0) <mss>', "expected int, found '>'"],
    ['--wire_client\n0 > . 1:1(0)', 'option --wire_client'],
    ['0 > . 1:1(0', "expected ')', found end of script"],
    ['', 'a script without events'],
  ]
  for (const [source, why] of cases) t.throws(() => parseScript(source), new Unsupported(1, why), source)
  t.throws(() => parseScript('0 > . 1:1(0)\n+0 > . 1:1(0) <zzz>'), new Unsupported(2, 'TCP option zzz'))
})
