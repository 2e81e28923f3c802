import t from 'tap'
import { buildIcmpUnreachable, buildPacketTooBig, UNREACH_HOST } from '../../../src/wire/icmp.js'
import { FORM_ACK, FORM_SYN, FORM_SYNACK, type OptionForm } from '../../../src/wire/mptcp-options.js'
import { formatFlags, formatOptions, formatPacket, type SeqBase } from '../../../src/wire/pretty.js'
import { forSeeds } from '../../oracle/seeds.js'
import { hex, optionLikeBytes } from '../../oracle/wire-bytes.js'
import { A4, A6, B4, B6, segment, type SegmentSpec } from './packet-support.js'

function line(spec: SegmentSpec, base?: SeqBase): string {
  const bytes = segment(spec)
  return formatPacket(bytes, 0, bytes.length, base)
}

t.test('a line a packet', async (t) => {
  const linuxSyn = hex('020405b4 0402 080a 00000001 00000000 01 030307 1e040101')
  t.equal(
    line({ flags: 2, seq: 7, window: 64240, options: linuxSyn }),
    'IP 10.0.0.1.4000 > 192.0.2.2.80: Flags [S], seq 7, win 64240, ' +
      'options [mss 1460,sackOK,TS val 1 ecr 0,nop,wscale 7,mptcp 4 capable v1 [H]], length 0',
  )
  t.equal(
    line({ src: A6, dst: B6, flags: 0x18, seq: -1, ack: -2, payload: hex('0102030405') }),
    'IP6 2001:db8::1.4000 > 2001:db8:0:ffff:8000::2.80: Flags [P.], seq 4294967295:4, ack 4294967294, win 65535, length 5',
  )
  t.equal(
    line({ seq: 1000, ack: 2000, payload: new Uint8Array(3000), gsoSize: 1448 }, { seq: 999, ack: 1999 }),
    'IP 10.0.0.1.4000 > 192.0.2.2.80: Flags [.], seq 1:3001, ack 1, win 65535, length 3000, gso 1448',
    'relative numbers',
  )
  const forms: [number, string, string][] = [
    [0x12, '1e0c010100000000000000ff', 'mptcp 12 capable v1 [H] {0x00000000000000ff}'],
    [0x10, '1e14010100000000000000ff0000000000000001', 'mptcp 20 capable v1 [H] {0x00000000000000ff,0x0000000000000001}'],
    [0x02, '1e0c010100000000000000ff', 'mptcp 12 bad 0x010100000000000000ff'],
  ]
  for (const [flags, options, text] of forms) t.match(line({ flags, options: hex(options) }), `options [${text}], length 0`)
  t.equal(line({ flags: 0x21 }), 'IP 10.0.0.1.4000 > 192.0.2.2.80: Flags [FU], seq 1000, win 65535, urg 0, length 0')
})

t.test('flags as tcpdump writes them', async (t) => {
  t.equal(formatFlags(0x12), 'S.')
  t.equal(formatFlags(0xff), 'FSRP.UEW')
  t.equal(formatFlags(0), 'none')
})

t.test('packets that are no good TCP', async (t) => {
  const bad = segment({ payload: hex('01'), isSummed: true })
  bad[bad.length - 1] = 2
  t.match(formatPacket(bad, 0, bad.length), /^IP 10\.0\.0\.1\.4000 > 192\.0\.2\.2\.80: \[bad checksum\] Flags \[\.\]/)
  t.equal(formatPacket(bad, 0, 20), 'IP? short')
  t.equal(formatPacket(new Uint8Array(60), 0, 60), 'IP? bad-header')
  const other = segment({ src: A6, dst: B6 })
  other[16] = 50
  t.equal(formatPacket(other, 0, other.length), 'IP6 2001:db8::1 > 2001:db8:0:ffff:8000::2: proto 50, length 20')
  other[16] = 17
  t.equal(formatPacket(other, 0, other.length), 'IP6 2001:db8::1.4000 > 2001:db8:0:ffff:8000::2.80: UDP, length 12')
  other[16] = 44
  other.set(hex('0600 0008 00000001'), 50)
  t.equal(formatPacket(other, 0, other.length), 'IP6 2001:db8::1 > 2001:db8:0:ffff:8000::2: fragment, proto 6, length 12')
})

t.test('ICMP errors name what they are about', async (t) => {
  const mem = new Uint8Array(300)
  const orig = segment({ flags: 2, seq: 5 })
  const len = buildIcmpUnreachable(mem, 0, UNREACH_HOST, null, orig, 10, orig.length - 10)
  t.equal(
    formatPacket(mem, 0, len),
    'IP 192.0.2.2 > 10.0.0.1: ICMP type 3 code 1, for 10.0.0.1.4000 > 192.0.2.2.80 proto 6 seq 5, length 48',
  )
  const orig6 = segment({ src: A6, dst: B6 })
  const len6 = buildPacketTooBig(mem, 0, 1280, null, orig6, 10, orig6.length - 10)
  t.match(formatPacket(mem, 0, len6), /ICMP6 type 2 code 0, mtu 1280, for 2001:db8::1\.4000 > .*\.80 proto 6 seq 1000, length 68$/)
})

t.test('options', async (t) => {
  const cases: [string, OptionForm, string][] = [
    ['0101080a 00000001 ffffffff', FORM_ACK, 'nop,nop,TS val 1 ecr 4294967295'],
    ['0101050a 0000000a 00000014', FORM_ACK, 'nop,nop,sack 1 {10:20}'],
    ['2202 220a0102030405060708', FORM_SYN, 'tfo cookiereq,tfo cookie 0x0102030405060708'],
    ['fe04f989 00 0204', FORM_SYN, 'opt-254 0xf989,eol'],
    ['02030501 080900000001000000', FORM_SYN, 'opt-2 0x05,nop,opt-8 0x00000001000000'],
    ['0204', FORM_SYN, 'bad opt-2'],
    ['1e', FORM_SYN, 'bad opt-30'],
    ['1e0c01010102030405060708', FORM_SYNACK, 'mptcp 12 capable v1 [H] {0x0102030405060708}'],
    [
      '1e180181 0102030405060708 1112131415161718 05b4 ffee',
      FORM_ACK,
      'mptcp 24 capable v1 [AH] {0x0102030405060708,0x1112131415161718} len 1460 csum 0xffee',
    ],
    ['1e0c1107deadbeef01020304', FORM_SYN, 'mptcp 12 join backup id 7 token 0xdeadbeef nonce 0x01020304'],
    ['1e101007a0a1a2a3a4a5a6a701020304', FORM_SYNACK, 'mptcp 16 join id 7 hmac 0xa0a1a2a3a4a5a6a7 nonce 0x01020304'],
    ['1e181000a0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3', FORM_ACK, 'mptcp 24 join hmac 0xa0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3'],
    ['1e082001 00000009', FORM_ACK, 'mptcp 8 dss ack 0x00000009'],
    [
      '1e1c201f 0000000100000002 0000000300000004 80000005 0006 0007',
      FORM_ACK,
      'mptcp 28 dss fin ack 0x0000000100000002 seq 0x0000000300000004 subseq 2147483653 len 6 csum 0x0007',
    ],
    ['1e0e2004 00000003 00000001 0006', FORM_ACK, 'mptcp 14 dss seq 0x00000003 subseq 1 len 6'],
    ['1e103005c0000201a0a1a2a3a4a5a6a7', FORM_ACK, 'mptcp 16 add-addr id 5 192.0.2.1 hmac 0xa0a1a2a3a4a5a6a7'],
    ['1e163105 20010db8000000000000000000000007 1f90', FORM_ACK, 'mptcp 22 add-addr id 5 [2001:db8::7]:8080 echo'],
    ['1e0a3105 c0000201 1f90', FORM_ACK, 'mptcp 10 add-addr id 5 192.0.2.1:8080 echo'],
    ['1e054009 07', FORM_ACK, 'mptcp 5 rem-addr id 9 7'],
    ['1e0351 1e0350', FORM_ACK, 'mptcp 3 prio backup,mptcp 3 prio'],
    ['1e0c6000 0123456789abcdef', FORM_ACK, 'mptcp 12 fail seq 0x0123456789abcdef'],
    ['1e0c7000 0123456789abcdef', FORM_ACK, 'mptcp 12 fast-close key 0x0123456789abcdef'],
    ['1e048103 1e048006', FORM_ACK, 'mptcp 4 tcprst reason 3 transient,mptcp 4 tcprst reason 6'],
    ['1e052001 00', FORM_ACK, 'mptcp 5 bad 0x200100'],
    ['1e02', FORM_ACK, 'mptcp 2 bad 0x'],
    ['1e0490ff', FORM_ACK, 'mptcp 4 bad 0x90ff'],
  ]
  for (const [bytes, form, text] of cases) {
    const mem = hex(bytes)
    t.equal(formatOptions(mem, 0, mem.length, form), text, bytes)
  }
})

t.test('any bytes can be formatted', async (t) => {
  await forSeeds(t, [1], (rng) => {
    for (let i = 0; i < 2_000; i++) {
      const options = optionLikeBytes(rng, 4 * rng.below(11))
      const bytes = segment({ src: rng.chance(0.5) ? A4 : A6, dst: B4, options, flags: rng.below(256) })
      for (let n = rng.below(4); n > 0; n--) bytes[rng.below(bytes.length)] = rng.int32()
      const text = formatPacket(bytes, 0, rng.between(0, bytes.length))
      if (text === '' || text.includes('\n') || text.includes('undefined') || text.includes('NaN')) t.fail(text)
    }
    t.pass('all cases agree')
  })
})
