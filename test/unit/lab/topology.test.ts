import { readdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { parseSetting } from '../../../bench/lab/link-settings.js'
import { loadTopology, parseTopology } from '../../../bench/lab/topology.js'

const FILES = new URL('../../../bench/lab/topologies/', import.meta.url)

const SMALL = `
[sysctl]
"net.ipv4.tcp_sack" = 1
[defaults]
delay = "5ms"
[node.a]
routes = ["default via 10.0.0.2"]
[node.b]
forward = true
sysctl = { "net.ipv4.tcp_sack" = 0 }
[link.ab]
ends = { a = "10.0.0.1/24", b = ["10.0.0.2/24", "fd00::2/64"] }
devices = { a = "eth0" }
rate = "1.5mbit"
loss = "1%"
from.b = { loss = 0, queue = 50 }
`

t.test('a file becomes nodes and links, with defaults, and settings of one direction', async (t) => {
  const topology = parseTopology(SMALL, 'small')
  t.match(topology, {
    name: 'small',
    hasIpv6: true,
    nodes: [
      { name: 'a', forward: false },
      { name: 'b', forward: true },
    ],
  })
  t.same(topology.nodes[1]?.sysctls, { 'net.ipv4.tcp_sack': '0' })
  const [link] = topology.links
  t.same(link?.ends, [
    { node: 'a', device: 'eth0', addresses: ['10.0.0.1/24'] },
    { node: 'b', device: 'a', addresses: ['10.0.0.2/24', 'fd00::2/64'] },
  ])
  t.match(link?.settings, [
    { rate: 1.5e6, delay: 5000, loss: 0.01, queue: 1000 },
    { rate: 1.5e6, delay: 5000, loss: 0, queue: 50 },
  ])
})

t.test('mistakes are told with their place', async (t) => {
  const broken: readonly [string, string, RegExp][] = [
    ['rate = "1.5mbit"', 'rate = "1.5"', /link\.ab: rate: '1\.5' is no rate/],
    ['rate = "1.5mbit"', 'speed = 3', /link\.ab\.speed: unknown key/],
    ['rate = "1.5mbit"', 'jitter = "6ms"', /link\.ab: jitter is larger than delay/],
    ['loss = "1%"', 'loss = "101%"', /link\.ab: loss: '101%' is no share/],
    ['delay = "5ms"', 'delay = 5', /defaults: delay: '5' is no time/],
    ['a = "10.0.0.1/24", b', 'b', /link\.ab: ends: a link has two/],
    ['[node.a]', '[node.c]', /link\.ab: there is no node 'a'/],
    ['"10.0.0.1/24"', '"10.0.0.1"', /link\.ab: '10\.0\.0\.1' needs a prefix length/],
    ['a = "eth0"', 'a = "lo"', /device name 'lo' is taken/],
    ['a = "eth0"', 'c = "eth0"', /link\.ab: 'c' is no end/],
    ['[node.a]', '[node.A]', /node\.A: must be/],
    ['[node.a]', '[node.a', /./],
  ]
  for (const [from, to, message] of broken) {
    t.ok(SMALL.includes(from))
    t.throws(() => parseTopology(SMALL.replace(from, to), 'broken'), message, to)
  }
  t.throws(() => loadTopology('/nowhere.toml'), { code: 'ERR_LAB_TOPOLOGY' })
})

t.test('the topologies that ship are sound', async (t) => {
  const files = readdirSync(FILES)
  t.ok(files.includes('core-limited.toml') && files.includes('symmetric.toml'))
  for (const file of files) t.doesNotThrow(() => loadTopology(fileURLToPath(new URL(file, FILES))), file)
  const rates = (file: string): number[] =>
    loadTopology(fileURLToPath(new URL(`${file}.toml`, FILES))).links.map(({ settings: [{ rate }] }) => rate / 1e6)
  t.same(rates('core-limited'), [20, 20, 20, 10, 10, 10])
  t.same(rates('symmetric'), [10, 10, 10, 10, 10, 10])
})

t.test('settings in all their units', async (t) => {
  t.same(parseSetting('rate', 'unlimited'), { rate: Number.POSITIVE_INFINITY })
  t.same(parseSetting('rate', '500kbit'), { rate: 500e3 })
  t.same(parseSetting('delay', '0.2ms'), { delay: 200 })
  t.same(parseSetting('delay', '0'), { delay: 0 })
  t.same(parseSetting('loss', '0.5%'), { loss: 0.005 })
  t.same(parseSetting('queue_bytes', 'unlimited'), { queueBytes: Number.POSITIVE_INFINITY })
  t.same(parseSetting('up', 'false'), { up: false })
  for (const [name, text] of [
    ['rate', '0'],
    ['rate', '-1mbit'],
    ['delay', '5'],
    ['loss', '0.5'],
    ['queue', '1.5'],
    ['up', 'yes'],
    ['colour', 'red'],
    ['constructor', '1'],
  ] as const) {
    t.throws(() => parseSetting(name, text), { code: 'ERR_LAB_VALUE' }, `${name}=${text}`)
  }
})
