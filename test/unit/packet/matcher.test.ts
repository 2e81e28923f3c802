import t from 'tap'
import { runScript, totalText, verdictText } from '../../packet/run/verdict.js'

const OPEN = `0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3
+0 bind(3, ..., ...) = 0
+0 listen(3, 1) = 0
+0 < S 0:0(0) win 32792 <mss 1000,sackOK,TS val 700 ecr 0,nop,wscale 7>
+0 > S. 0:0(0) ack 1 <mss 1460,sackOK,TS val 100 ecr 700,nop,wscale 8>
+.1 < . 1:1(0) ack 1 win 257 <nop,nop,TS val 800 ecr 100>
+0 accept(3, ..., ...) = 4
`
const LINE = 8

/** Runs what follows an open connection. */
const after = (body: string, options = '') => runScript(options + OPEN + body, { isStrict: true })

t.test('a right script passes', async (t) => {
  t.equal(after('+0 write(4, ..., 1000) = 1000\n+0 > P. 1:1001(1000) ack 1 win 256 <nop,nop,TS val 200 ecr 800>').outcome, 'passed')
})

t.test('a packet that differs in one field fails, and both are shown', async (t) => {
  const write = '+0 write(4, ..., 1000) = 1000\n'
  const cases: readonly (readonly [string, string])[] = [
    ['+0 > . 1:1001(1000) ack 1 <...>', 'flags'],
    ['+0 > P. 2:1002(1000) ack 1 <...>', 'sequence number'],
    ['+0 > P. 1:1000(999) ack 1 <...>', 'payload length'],
    ['+0 > P. 1:1501(1500) ack 1 <...>', 'payload length'],
    ['+0 > P. 1:1001(1000) ack 2 <...>', 'acknowledgment number'],
    ['+0 > P. 1:1001(1000) ack 1 win 1 <...>', 'window'],
    ['+0 > P. 1:1001(1000) ack 1 urg 5 <...>', 'urgent pointer'],
    ['+0 > [ce] P. 1:1001(1000) ack 1 <...>', 'ECN codepoint 0'],
    ['+0 > (ttl 7) P. 1:1001(1000) ack 1 <...>', 'TTL 64'],
    ['+0 > P. 1:1001(1000) ack 1', 'option 1 is not expected'],
    ['+0 > P. 1:1001(1000) ack 1 <nop,nop,TS val 200 ecr 800,nop>', 'option nop is missing'],
    ['+0 > P. 1:1001(1000) ack 1 <nop,TS val 200 ecr 800,nop>', 'option TS'],
    ['+0 > P. 1:1001(1000) ack 1 <nop,nop,TS val 200 ecr 801>', 'timestamp echo 800'],
    ['+0 > P. 1:1001(1000) ack 1 <nop,nop,sack 1:2>', 'option sack'],
    ['+0 > P. 1:1001(1000) ack 1 <nop,nop,dss dack4=1 nocs>', 'option dss'],
  ]
  for (const [line, why] of cases) {
    const verdict = after(write + line)
    t.match(verdict, { outcome: 'failed', line: LINE + 1, why }, line)
    t.match(verdict.detail[0], /^expected: /)
    t.match(verdict.detail[1], /^actual: {3}P\. 1:1001\(1000\)/)
  }
})

t.test('timestamps have to advance as the script says when it names the tick', async (t) => {
  const body = '+0 write(4, ..., 1000) = 1000\n+0 > P. 1:1001(1000) ack 1 <nop,nop,TS val 150 ecr 800>'
  t.equal(after(body).outcome, 'passed', 'without tick any value goes')
  t.match(after(body, '--tcp_ts_tick_usecs=1000\n'), { outcome: 'failed', why: 'timestamp, which is off by 50 ticks' })
})

t.test('options of a SYN/ACK in another order fail', async (t) => {
  const text = OPEN.replace('<mss 1460,sackOK,TS val 100 ecr 700', '<sackOK,mss 1460,TS val 100 ecr 700')
  t.match(runScript(text), { outcome: 'failed', why: 'option sackOK' })
  t.match(runScript(OPEN.replace('mss 1460', 'mss 1461')), { outcome: 'failed', why: 'option mss' })
  // a script that sets no memory for sockets is taken at its word about the scale
  t.equal(runScript(OPEN.replace('wscale 8', 'wscale 9')).outcome, 'passed')
})

t.test('time: too early, too late, never, and within the tolerance', async (t) => {
  const write = '+0 write(4, ..., 1000) = 1000\n'
  const packet = 'P. 1:1001(1000) ack 1 <...>'
  t.match(after(`${write}+.005 > ${packet}`), { outcome: 'failed', why: 'sent at 0.100000, expected at 0.105000' })
  t.equal(after(`${write}+.004 > ${packet}`).outcome, 'passed')
  t.equal(after(`${write}+.5 > ${packet}`, '--tolerance_usecs=500000\n').outcome, 'passed')
  t.equal(after(`${write}+0~+.1 > ${packet}`).outcome, 'passed')
  t.match(after(`${write}+.1~+.2 > ${packet}`), { outcome: 'failed', why: /expected from 0.200000 to 0.300000/ })
  t.equal(after(`${write}* > ${packet}`).outcome, 'passed')
  t.match(after(`+.1 > ${packet}`), { outcome: 'failed', why: 'no packet, expected at 0.200000' })
})

t.test('a packet that the script does not mention', async (t) => {
  const write = '+0 write(4, ..., 500) = 500\n'
  t.match(after(write), { outcome: 'failed', why: 'a packet that the script does not expect' })
  t.equal(runScript(OPEN + write).outcome, 'passed', 'at the end it is let pass unless asked')
  t.match(
    after(
      `${write}+.1 < . 1:1(0) ack 501 win 257 <nop,nop,TS val 900 ecr 100>\n+0 write(4, ..., 500) = 500\n+0 > P. 501:1001(500) ack 1 <...>`,
    ),
    {
      outcome: 'failed',
      why: 'sequence number',
    },
  )
})

t.test('calls: results, errno, blocking', async (t) => {
  const cases: readonly (readonly [string, string])[] = [
    ['+0 write(4, ..., 1000) = 999', 'write() returned something else'],
    ['+0 write(4, ..., 1000) = -1 EPIPE', 'write() returned something else'],
    ['+0 read(9, ..., 1000) = -1 ENOTCONN', 'read() returned something else'],
    ['+0 read(4, ..., 1000) = 0', 'read() blocks'],
    ['+0...0.1 read(4, ..., 1000) = 0', 'read() still blocks'],
    ['+0 getsockopt(4, SOL_SOCKET, SO_ERROR, [ECONNRESET], [4]) = 0', 'getsockopt(): SO_ERROR is 0, not 104'],
    ['+0 poll([{fd=4, events=POLLIN|POLLOUT, revents=POLLIN}], 1, 0) = 1', 'poll(): revents are 0x4, not 0x1'],
    ['+0...0.3 poll([{fd=4, events=POLLOUT, revents=POLLOUT}], 1, -1) = 1', 'poll() returned at 0.100000, expected at 0.400000'],
  ]
  for (const [line, why] of cases) t.match(after(line), { outcome: 'failed', line: LINE, why }, line)
  t.equal(after('+0 read(9, ..., 1000) = -1 EBADF (Bad file descriptor)').outcome, 'passed')
  const data = '+.2 < P. 1:11(10) ack 1 win 257 <nop,nop,TS val 900 ecr 100>\n+0~+.05 > . 1:1(0) ack 11 <...>\n'
  t.equal(after(`+0...0.2 read(4, ..., 1000) = 10\n${data}`).outcome, 'passed')
  t.match(after(`+0...0.1 read(4, ..., 1000) = 10\n${data}`), { outcome: 'failed', why: /returned at 0.300000/ })
})

t.test('code: assertions, and what it may not say', async (t) => {
  const code = (text: string) => after(`+0 %{ ${text} }%`)
  for (const text of [
    'assert tcpi_snd_cwnd == 10',
    'assert 1 < tcpi_snd_cwnd <= 10 and not tcpi_unacked',
    'assert (tcpi_state == 1 or 0), tcpi_state',
    'x = 3; x += 4 * (1 + 1)\nassert (x == 11 and\n  x // 4 == 2 and x % 4 == 3 and (x & 6) == 2), "x=%d" % x',
    'print(tcpi_state); assert abs(-tcpi_snd_cwnd) == max(1, 10)  # a remark',
  ]) {
    t.equal(code(text).outcome, 'passed', text)
  }
  t.match(code('assert tcpi_snd_cwnd == 11'), { outcome: 'failed', detail: [/tcpi_snd_cwnd == 11/, /tcpi_snd_cwnd = 10/] })
  t.match(code('assert 0 or not tcpi_snd_cwnd'), { outcome: 'failed' })
  for (const text of ['import os', 'assert tcpi_nonsense == 1', 'if tcpi_state: x = 1', 'assert f(1)', 'assert 1 ==']) {
    t.equal(code(text).outcome, 'unsupported', text)
  }
})

t.test('commands: known sysctl lines act, others are noted', async (t) => {
  const script = (command: string) => runScript(`0 \`${command}\`\n${OPEN.replace('0 socket', '+0 socket')}`)
  t.match(script('sysctl -q net.ipv4.tcp_sack=0'), { outcome: 'failed', why: 'option sackOK' })
  t.match(script('sysctl -q net.ipv4.tcp_rmem=\\"4096 131072 6291456\\"'), { outcome: 'failed', why: 'option wscale' })
  const verdict = script('sysctl -q net.ipv4.tcp_sack=1 net.ipv4.tcp_unheard_of=1; ip link show\n../common/defaults.sh')
  t.match(verdict, { outcome: 'passed', noted: ['ip link show', '../common/defaults.sh', 'sysctl net.ipv4.tcp_unheard_of=1'] })
  // nothing is run: what a file sets counts as if it stood here
  const read = (path: string) => (path === '../common/defaults.sh' ? '#!/bin/sh\nsysctl -q net/ipv4/tcp_sack=0 # off' : null)
  const open = OPEN.replace('0 socket', '+0 socket')
  t.match(runScript(`0 \`../common/defaults.sh\`\n${open}`, { read }), { outcome: 'failed', why: 'option sackOK' })
  t.match(script('./set.py /proc/sys/net/ipv4/tcp_sack=0'), { outcome: 'failed', why: 'option sackOK' })
  t.match(script('echo 0 > /proc/sys/net/ipv4/tcp_sack'), { outcome: 'failed', why: 'option sackOK' })
})

t.test('epoll, ioctl and options of sockets', async (t) => {
  const lines = [
    '+0 epoll_create(1) = 5',
    '+0 epoll_ctl(5, EPOLL_CTL_ADD, 4, {events=EPOLLIN|EPOLLOUT|EPOLLET, fd=4}) = 0',
    '+0 epoll_wait(5, {events=EPOLLOUT, fd=4}, 1, 0) = 1',
    '+0 epoll_wait(5, {events=0, fd=0}, 1, 0) = 0',
    '+.1 < P. 1:11(10) ack 1 win 257 <nop,nop,TS val 900 ecr 100>',
    '+0 > . 1:1(0) ack 11 <...>',
    '+0 epoll_wait(5, {events=EPOLLIN|EPOLLOUT, fd=4}, 1, 0) = 1',
    '+0 ioctl(4, SIOCINQ, [10]) = 0',
    '+0 write(4, NULL, 10) = -1 EFAULT (Bad address)',
    '+0 setsockopt(4, SOL_SOCKET, SO_SNDBUF, [10000], 4) = 0',
    '+0 getsockopt(4, SOL_SOCKET, SO_SNDBUF, [20000], [4]) = 0',
    '+0 setsockopt(4, SOL_TCP, TCP_MAXSEG, [20], 4) = -1 EINVAL',
  ]
  t.match(after(lines.join('\n')), { outcome: 'passed', why: '' })
  t.match(after('+0 ioctl(4, SIOCINQ, [1]) = 0'), { outcome: 'failed', why: 'ioctl(): SIOCINQ is 0, not 1' })
})

t.test('unsupported is never passed', async (t) => {
  for (const line of [
    '+0 pipe([5, 6]) = 0',
    '+0 setsockopt(4, SOL_TCP, TCP_MD5SIG, [1], 4) = 0',
    '+0 send(4, ..., 10, MSG_OOB) = 10',
    '+0 > icmp unreachable port_unreachable [1:2(1)]',
  ]) {
    t.equal(after(line).outcome, 'unsupported', line)
  }
})

t.test('the report: a line for each script, the reason below, the total last', async (t) => {
  const bad = after('+0 write(4, ..., 1) = 2')
  t.equal(verdictText('a.pkt', bad), `failed a.pkt:${LINE}: write() returned something else\n    expected: 2\n    actual:   1`)
  const good = runScript(OPEN)
  t.equal(verdictText('b.pkt', good), 'passed b.pkt')
  t.equal(totalText([good, bad, after('+0 pipe([1,2]) = 0')]), '1 passed, 1 failed, 1 unsupported')
})
