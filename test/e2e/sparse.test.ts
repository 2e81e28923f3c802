import { spawnSync } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { Capture } from './lib/capture.js'
import { Daemon } from './lib/daemon.js'
import { ADDRESS, CLIENT_DEVICES, Lab } from './lib/lab.js'
import { curlUpload, PORT, startServers } from './lib/peers.js'
import { counter } from './lib/stats.js'
import { assertCleanMptcp } from './lib/verdict.js'

const MBIT = 40
const LEN = 10_000_000

/** CI has it, or fails. */
const mayRead = process.env.CI === 'true' || spawnSync('tshark', ['--version']).status === 0

t.test('sparse DSS over two slow links to Linux, with loss: byte-exact, and Linux finds nothing wrong', async (t) => {
  const lab = await Lab.create()
  t.teardown(() => lab.close())
  await startServers(lab)
  for (const [i, device] of CLIENT_DEVICES.entries()) {
    // link 1 carries single segments, which Linux may put together again, link 2 the super-segments as they are
    if (i === 0) await lab.client.ok(['ethtool', '-K', device, 'tso', 'off', 'gso', 'off'])
    await lab.client.ok(['tc', 'qdisc', 'add', 'dev', device, 'root', 'tbf', 'rate', `${MBIT}mbit`, 'burst', '64kb', 'latency', '30ms'])
  }
  await lab.server.ok(['ethtool', '-K', 'net1', 'gro', 'on'])
  const drop = 'iifname { net1, net2 } meta length > 1000 numgen random mod 100 < 1 counter drop'
  const rules = `table inet loss { chain c { type filter hook prerouting priority -300; ${drop}; }; }`
  await lab.server.ok(['nft', rules])
  const daemon = await Daemon.start(lab, { args: ['--path', `wan2@${ADDRESS.serverLink4[1]}`] })
  const captures = await Promise.all(CLIENT_DEVICES.map((device) => Capture.start(lab, lab.client, device, '', 120)))

  const bytes = randomBytes(LEN)
  const path = `${lab.dir}/random`
  writeFileSync(path, bytes)
  const up = await curlUpload(lab.client, ADDRESS.server4, PORT.http, path)
  t.same([up.bytes, up.sha256], [LEN, createHash('sha256').update(bytes).digest('hex')], 'byte-exact')
  t.comment(`${(up.bitsPerSecond / 1e6).toFixed(1)} Mbit/s`)

  const dropped = Number(/counter packets (\d+)/.exec((await lab.server.ok(['nft', 'list', 'table', 'inet', 'loss'])).stdout)?.[1])
  t.ok(dropped > 5, `${dropped} packets were dropped`)
  const ours = await daemon.counters()
  const mappings = counter(ours, 'MPTcpExtSparseMappings')
  t.ok(mappings > 50, `${mappings} mappings over several bursts`)
  t.equal(counter(ours, 'MPTcpExtSparseOff'), 0, 'and nothing spoke against them')
  t.ok(counter(await assertCleanMptcp(t, lab), 'MPTcpExtMPJoinAckRx') > 0)

  await sleep(200) // tcpdump writes what it has
  for (const capture of captures) {
    await capture.stop(lab.client)
    if (!mayRead) continue
    const count = async (filter: string): Promise<number> => {
      const { stdout } = await lab.client.ok(['tshark', '-r', capture.path, '-Y', filter, '-T', 'fields', '-e', 'frame.number'])
      return stdout.split('\n').length - 1
    }
    t.equal(await count('_ws.malformed'), 0, 'tshark finds nothing malformed')
    const data = `tcp.dstport == ${PORT.http} && tcp.len > 0`
    const bare = await count(`${data} && !tcp.options.mptcp.subtype`)
    t.ok(bare > 0.5 * (await count(data)), `${bare} segments without a DSS`)
  }
})
