import { once } from 'node:events'
import t from 'tap'
import { parseAddress } from '../../src/config/address-text.js'
import { AddressRange } from '../../src/engine/address-range.js'
import { EngineConfig } from '../../src/engine/config.js'
import { createEngine } from '../../src/engine/engine.js'
import { EngineLoop } from '../../src/engine/loop.js'
import { randomHost } from '../../src/engine/random-host.js'
import { MptcpStream } from '../../src/engine/stream.js'
import { mptcpConfig } from '../../src/mptcp/env.js'
import { tcpConfig } from '../../src/tcp/config.js'
import { TunDevice } from '../../src/tun/tun-device.js'
import { ADDRESS, Lab } from './lib/lab.js'

const COUNT = 1000
const LOCAL_PORT = 40_000
const SERVER_PORT = 7000
const STACK = '198.18.0.2'

/** Takes a byte, and closes first: Linux is the one in TIME-WAIT. */
const CLOSING_SERVER = `
import socket
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(('${ADDRESS.server4}', ${SERVER_PORT}))
s.listen(64)
print('ready', flush=True)
while True:
    c, _ = s.accept()
    c.recv(1)
    c.close()
`

t.test(`rfc6191, rfc6528: Linux in TIME-WAIT takes the next connection of the same tuple, ${COUNT} times`, async (t) => {
  const lab = await Lab.create()
  t.teardown(() => lab.close())
  const device = new TunDevice({ name: lab.tun, netns: `/run/netns/${lab.client.name}`, mtu: 1500 })
  t.teardown(() => device.close())
  await lab.client.ok(['sysctl', '-qw', 'net.ipv4.ip_forward=1'])
  await lab.client.ip(`addr add 198.18.0.1/30 dev ${lab.tun}\nlink set ${lab.tun} mtu 1500 up`)
  await lab.server.ip(`route add 198.18.0.0/30 via ${ADDRESS.clientLink4[0]}`)
  const server = lab.server.spawn(['python3', '-c', CLOSING_SERVER])
  await server.waitLine(/ready/)

  const address = parseAddress(STACK)
  const engine = createEngine(
    randomHost(),
    [device],
    new EngineConfig({
      intercept: false,
      ownRanges: [new AddressRange(address, 32)],
      stackAddresses: [{ address, isDefault: true }],
      mptcp: mptcpConfig({ isEnabled: false, tcp: tcpConfig({ gso: device.caps.gso }) }),
      portMin: LOCAL_PORT,
      portMax: LOCAL_PORT,
      onInternalError: (error) => {
        throw error
      },
    }),
  )
  const loop = new EngineLoop(engine)
  t.teardown(() => loop.stop())

  const remote = parseAddress(ADDRESS.server4)
  const startedAt = performance.now()
  let slowest = 0
  for (let i = 0; i < COUNT; i++) {
    const stream = new MptcpStream(engine)
    const at = performance.now()
    stream.open(remote, SERVER_PORT, loop.clock.now())
    await once(stream, 'connect')
    slowest = Math.max(slowest, performance.now() - at)
    stream.resume()
    stream.write('x')
    await once(stream, 'end')
    stream.end()
    while (engine.flowCount > 0) await new Promise((resolve) => setImmediate(resolve))
  }
  t.comment(`${Math.round((performance.now() - startedAt) * 1000) / COUNT} us each, the slowest connect ${slowest.toFixed(1)} ms`)
  t.ok(slowest < 900, 'no SYN had to be repeated')
  t.equal(engine.counters.TcpActiveOpens, COUNT)
  t.equal(engine.counters.TcpRetransSegs, 0)
  t.equal(engine.counters.TcpOutRsts, 0)
  const waiting = (await lab.server.ok(['ss', '-Htan', 'state', 'time-wait'])).stdout
  t.match(waiting, new RegExp(`${STACK.replaceAll('.', '\\.')}:${LOCAL_PORT}`), 'positive control: Linux is in TIME-WAIT')
})
