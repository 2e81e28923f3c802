import t from 'tap'
import { ADDRESS, Lab } from './lib/lab.js'
import { assertAgreement, SERVE_PORT, Serving, setUpKernelClient } from './lib/interop.js'
import { startServers } from './lib/peers.js'
import { counter, errorsIn, FALLBACK_COUNTERS, nstat } from './lib/stats.js'

// Stock Linux is the Fast Open client (RFC 7413, RFC 8684 appendix B), `mptcpd-user serve` the server.

/** Three connections, one after the other: a request by MSG_FASTOPEN, and the length of the body that it is answered by. Arguments: host, port, protocol. */
const CLIENT = `
import json, socket, sys
host, port, protocol = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
family = socket.AF_INET6 if ":" in host else socket.AF_INET
request = b"GET /bytes/50000 HTTP/1.1\\r\\nX: " + b"x" * 600 + b"\\r\\n\\r\\n"
lengths = []
for i in range(3):
    with socket.socket(family, socket.SOCK_STREAM, protocol) as s:
        sent = s.sendto(request, 0x20000000, (host, port))
        s.settimeout(10)
        s.sendall(request[sent:])
        got = b""
        while len(got.split(b"\\r\\n\\r\\n", 1)[-1]) < 50000 and (piece := s.recv(65536)):
            got += piece
        lengths.append(len(got.split(b"\\r\\n\\r\\n", 1)[1]))
print(json.dumps(lengths))
`

t.test('rfc7413, rfc8684 B: Linux sends data in its SYN, over TCP and MPTCP, with one cookie', async (t) => {
  const lab = await Lab.create()
  t.teardown(() => lab.close())
  await startServers(lab)
  await setUpKernelClient(lab, false)
  const { client } = lab
  await client.ok(['sysctl', '-qw', 'net.ipv4.tcp_fastopen=1'])
  const serving = await Serving.start(lab, '--fast-open')
  let taken = 0
  for (const [host, protocol] of [[ADDRESS.server4, 0] as const, [ADDRESS.server6, 262] as const]) {
    const { stdout } = await client.ok(['/usr/bin/python3', '-c', CLIENT, host, String(SERVE_PORT.http), String(protocol)])
    t.same(JSON.parse(stdout), [50_000, 50_000, 50_000])
    taken += 2
    const ours = await serving.counters()
    t.equal(counter(ours, 'TcpExtTCPFastOpenPassive'), taken, 'the data of the second and third SYN was taken')
    t.equal(counter(ours, 'TcpExtTCPFastOpenCookieReqd'), taken / 2)
    t.equal(counter(ours, 'TcpExtTCPFastOpenPassiveFail') + counter(ours, 'TcpExtTCPFastOpenListenOverflow'), 0)
    const kernels = await nstat(client)
    t.equal(counter(kernels, 'TcpExtTCPFastOpenActive'), taken, 'Linux saw it acknowledged')
    t.equal(counter(kernels, 'TcpExtTCPFastOpenActiveFail'), 0)
  }
  const kernels = await assertAgreement(t, lab, serving)
  t.equal(counter(kernels, 'MPTcpExtMPCapableSYNACKRX'), 3, 'each of the three speaks MPTCP')
  t.same(errorsIn(kernels), {})
  t.same(errorsIn(kernels, FALLBACK_COUNTERS), {})
  const url = `http://${ADDRESS.server4}:${SERVE_PORT.http}/bytes/1000`
  const curl = [
    'curl',
    '--silent',
    '--fail',
    '--noproxy',
    '*',
    '--output',
    '/dev/null',
    '--write-out',
    '%{size_download}',
    '--tcp-fastopen',
  ]
  t.equal((await client.ok([...curl, url])).stdout, '1000')
  t.equal(counter(await serving.counters(), 'TcpExtTCPFastOpenPassive'), taken + 1, 'curl too')
})
