import t from 'tap'
import { createHash } from 'node:crypto'
import { fileURLToPath } from 'node:url'
import { ADDRESS, Lab } from './lib/lab.js'
import { counter, errorsIn, FALLBACK_COUNTERS, nstat } from './lib/stats.js'

// A program that embeds the stack is the Fast Open client (RFC 7413, RFC 8684 appendix B), stock Linux the server.

const PROGRAM = fileURLToPath(new URL('lib/fast-open.mjs', import.meta.url))
const PORTS = { mptcp: 9999, tcp: 9998 } as const

/** Answers what it got by its SHA-256 and length, at the end of the stream. Arguments: port, protocol number. */
const SERVER = `
import hashlib, socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_STREAM, int(sys.argv[2]))
s.setsockopt(socket.SOL_TCP, socket.TCP_FASTOPEN, 16)
s.bind(("0.0.0.0", int(sys.argv[1])))
s.listen()
print("ready", flush=True)
while True:
    c, _ = s.accept()
    got = b""
    while piece := c.recv(65536):
        got += piece
    c.sendall(f"{hashlib.sha256(got).hexdigest()} {len(got)}".encode())
    c.close()
`

interface Outcome {
  readonly replies: readonly { readonly reply: string; readonly isPlain: boolean }[]
  readonly counters: Readonly<Record<string, number>>
}

t.test('rfc7413, rfc8684 B: Linux takes the data of our SYN, over MPTCP with and without checksums and over TCP', async (t) => {
  const lab = await Lab.create()
  t.teardown(() => lab.close())
  await lab.server.ok(['sysctl', '-qw', 'net.ipv4.tcp_fastopen=3'])
  await lab.client.ok(['sysctl', '-qw', 'net.ipv4.ip_forward=1'])
  await lab.server.ip(`route add 198.18.9.0/30 via ${ADDRESS.clientLink4[0]}`)
  for (const [name, port] of Object.entries(PORTS)) {
    const server = lab.server.spawn(['/usr/bin/python3', '-c', SERVER, String(port), name === 'mptcp' ? '262' : '0'])
    await server.waitLine(/ready/)
  }
  const expected = Buffer.concat([Buffer.alloc(700, 'a'), Buffer.alloc(20_000, 'b')])
  const reply = `${createHash('sha256').update(expected).digest('hex')} ${expected.length}`
  let [passive, joined] = [0, 0]
  for (const [port, checksum] of [[PORTS.mptcp, 0] as const, [PORTS.mptcp, 1] as const, [PORTS.tcp, 0] as const]) {
    await lab.server.ok(['sysctl', '-qw', `net.mptcp.checksum_enabled=${checksum}`])
    const args = [`${lab.tun}f`, '198.18.9.1', '198.18.9.2', ADDRESS.server4, String(port)]
    const { stdout } = await lab.client.ok(['node', PROGRAM, ...args], { timeoutMs: 20_000 })
    const { replies, counters } = JSON.parse(stdout) as Outcome
    const isPlain = port === PORTS.tcp
    t.same(
      replies,
      Array.from({ length: 3 }, () => ({ reply, isPlain })),
      'byte-exact, each of them',
    )
    t.equal(counters.TcpExtTCPFastOpenActive, 2, 'the first asks for the cookie, the others use it')
    t.equal(counters.TcpExtTCPFastOpenActiveFail, 0)
    const kernels = await nstat(lab.server)
    passive += 2
    t.equal(counter(kernels, 'TcpExtTCPFastOpenPassive'), passive, 'Linux took the data of both')
    if (!isPlain) joined += 3
    t.equal(counter(kernels, 'MPTcpExtMPCapableACKRX'), joined)
    t.same(errorsIn(kernels), {})
    t.same(errorsIn(kernels, FALLBACK_COUNTERS), {})
  }
})
