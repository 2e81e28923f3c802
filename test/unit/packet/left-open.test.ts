import { readFileSync } from 'node:fs'
import t from 'tap'
import { runScript } from '../../packet/run/verdict.js'

// What scripts for Linux show one way and the stack does another, both of which are right (docs/packet-scripts.md).

/** A server with two subflows, whose ends have names; 1000 bytes came and were acknowledged. */
const JOINED = `0 socket(..., SOCK_STREAM, IPPROTO_MPTCP) = 3
+0 bind(3, ..., ...) = 0
+0 listen(3, 1) = 0
+0 < addr[c0] > addr[s0] S 0:0(0) win 65535 <mss 1460,nop,wscale 7,mpcapable v1 flags[flag_h] nokey>
+0 > S. 0:0(0) ack 1 <mss 1460,nop,wscale 8,mpcapable v1 flags[flag_h] key[skey]>
+0 < . 1:1(0) ack 1 win 256 <mpcapable v1 flags[flag_h] key[ckey=2,skey]>
+0 accept(3, ..., ...) = 4
+0 < P. 1:1001(1000) ack 1 win 256 <dss dack8=1 dsn8=1 ssn=1 dll=1000 nocs,nop,nop>
+0~+.045 > . 1:1(0) ack 1001 <dss dack8=1001 nocs>
+0 read(4, ..., 2000) = 1000
+.1 < addr[c1] > addr[s0] S 0:0(0) win 65535 <mss 1460,nop,wscale 7,mp_join_syn address_id=1 token=sha256_32(skey)>
+0 > S. 0:0(0) ack 1 <mss 1460,nop,wscale 8,mp_join_syn_ack address_id=9 sender_hmac=auto>
+0 < . 1:1(0) ack 1 win 256 <mp_join_ack sender_hmac=auto>
+0 > . 1:1(0) ack 1 <dss dack8=1001 nocs>
`
const right = JOINED.replace('address_id=9', 'address_id=0')

t.test('the address id of a SYN/ACK is compared only strictly', async (t) => {
  t.equal(runScript(JOINED).outcome, 'passed')
  t.match(runScript(JOINED, { isStrict: true }), { outcome: 'failed', why: 'backup flag or address id of mp_join_syn_ack' })
  t.equal(runScript(right, { isStrict: true }).outcome, 'passed')
})

t.test('a DATA_ACK beside data may be shown again, but not another one', async (t) => {
  const data = (ack: number) => `+0 write(4, ..., 100) = 100\n+0 > P. 1:101(100) <dss dack8=${ack} dsn8=1 ssn=1 dll=100 nocs,nop,nop>\n`
  t.equal(runScript(right + data(1001)).outcome, 'passed')
  t.match(runScript(right + data(1001), { isStrict: true }), { outcome: 'failed', why: 'DATA_ACK of 0 bytes' })
  t.match(runScript(right + data(1)), { outcome: 'failed', why: 'DATA_ACK of 0 bytes' })
})

t.test('packets of one instant on different subflows come in any order when the script names them', async (t) => {
  const first = '+0 > addr[s0] > addr[c0] . 1:1(0) ack 1001 <dss dack8=1002 nocs>\n'
  const second = '+0 > addr[s0] > addr[c1] . 1:1(0) ack 1 <dss dack8=1002 nocs>\n'
  const fin = '+.1 < addr[c1] > addr[s0] . 1:1(0) ack 1 win 256 <dss dack8=1 dsn8=1001 ssn=0 dll=1 nocs fin,nop,nop>\n'
  for (const order of [first + second, second + first]) t.equal(runScript(right + fin + order, { isStrict: true }).outcome, 'passed')
  t.match(runScript(right + fin + first + first), { outcome: 'failed', why: 'a packet of another connection' })
})

t.test('a packet without ends is of the newest flow', async (t) => {
  const prio = '+.1 < addr[c0] > addr[s0] . 1001:1001(0) ack 1 win 256 <mp_prio backup=1,nop>\n'
  const data = '+0 < P. 1:11(10) ack 1 win 256 <dss dack8=1 dsn8=1001 ssn=1 dll=10 nocs,nop,nop>\n'
  t.equal(runScript(`${right}${prio}${data}+0~+.045 > addr[s0] > addr[c1] . 1:1(0) ack 11 <dss dack8=1011 nocs>`).outcome, 'passed')
})

t.test('ip mptcp: what the script computes is the next address, a flush forgets, the rest is noted', async (t) => {
  const open = right.slice(0, right.indexOf('+0 < P. 1:1001'))
  const add = '+0 > . 1:1(0) ack 1 <add_address address_id=1 addr[x=inet_addr("192.168.0.2")] hmac=auto>\n'
  const run = (command: string, body: string) => runScript(`0 \`${command}\`\n+${open}${body}`, { isStrict: true })
  t.equal(run('ip mptcp endpoint add $host signal', add).outcome, 'passed')
  t.equal(run('ip mptcp endpoint add 192.168.0.2 signal; ip mptcp endpoint flush', '').outcome, 'passed')
  t.same(run('ip mptcp monitor', '').noted, ['ip mptcp monitor'])
})

t.test('the SYN of a join that the next line mentions is not let pass', async (t) => {
  const script = readFileSync(new URL('../../packet/scripts/mptcp/rfc8684-3.4.1-join-to-announced.pkt', import.meta.url), 'utf8')
  t.match(script, /addr_echo>\n\+0 {4}> > addr\[saddr2\] S /)
  t.equal(runScript(script).outcome, 'passed')
  t.match(runScript(script.replace('address_id=0 token', 'address_id=3 token')), { outcome: 'failed' })
})
