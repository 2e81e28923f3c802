import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import * as v from 'valibot'
import { daemonConfig, DaemonSchema } from '../../../src/config/daemon-config.js'
import { diffConfig, reloadedConfig } from '../../../src/config/diff.js'
import { fileName, key, propertyName } from '../../../src/config/key.js'
import { locate } from '../../../src/config/locate.js'
import { ConfigSource } from '../../../src/config/source.js'
import { parseToml, readTomlFile } from '../../../src/config/toml-file.js'

const dir = mkdtempSync(join(tmpdir(), 'mptcpd-user-'))
t.teardown(() => rmSync(dir, { recursive: true }))

const messageOf = (toml: string): string => {
  try {
    parseToml(DaemonSchema, toml, 'f.toml')
    return 'accepted'
  } catch (error) {
    return (error as Error).message
  }
}

t.test('names in files and in the program', (t) => {
  t.equal(fileName('heldPerDestination'), 'held-per-destination')
  t.equal(propertyName('held-per-destination'), 'heldPerDestination')
  for (const name of Object.keys(DaemonSchema.entries)) t.equal(propertyName(fileName(name)), name)
  t.end()
})

t.test('a file sets keys, flags override it, the rest has defaults', (t) => {
  const path = join(dir, 'good.toml')
  writeFileSync(path, '# comment\ntun = "tun7"\naddress6 = "none"\nsend-buffer = 100_000\npaths = ["eth1",\n "eth2"]\nlog = "debug"\n')
  const config = new ConfigSource(path, { log: 'warn', paths: ['eth9'] }).load()
  t.match(config, { tun: 'tun7', address4: '198.18.0.1/29', address6: null, sendBuffer: 100_000, paths: ['eth9'], log: 'warn' })
  t.same(new ConfigSource(null, {}).load(), daemonConfig({}))
  t.end()
})

t.test('every mistake is named with its line and what to do, in the order of the lines', (t) => {
  const toml = `# a comment
tun = "a-name-that-is-too-long"

memory = 5
paths = [
  "eth1",   # fine
  "x,",
]
send-bufer = 70000
sendBuffer = 70000
colour = "red"
mptcp = "yes"
[limits]
a = 1
`
  t.same(messageOf(toml).split('\n'), [
    'f.toml:2: tun = "a-name-that-is-too-long": must be an interface name of at most 15 characters',
    'f.toml:4: memory = 5: must be at least 4194304',
    'f.toml:7: paths[1] = "x,": path \'x,\': not understood; expected SOURCE[@GATEWAY][,DST[:PORT]], like eth1 or default,198.51.100.9:443',
    "f.toml:9: unknown key 'send-bufer': did you mean 'send-buffer'?",
    "f.toml:10: unknown key 'sendBuffer': did you mean 'send-buffer'?",
    `f.toml:11: unknown key 'colour': the keys are ${Object.keys(DaemonSchema.entries).map(fileName).join(', ')}`,
    'f.toml:12: mptcp = "yes": must be true or false',
    `f.toml:13: unknown key 'limits': the keys are ${Object.keys(DaemonSchema.entries).map(fileName).join(', ')}`,
  ])
  t.end()
})

t.test('broken syntax is named with line and column', (t) => {
  t.match(messageOf('tun = "a"\nall = yes\n'), /^f\.toml:2:7: .*text stands in quotes.*at: all = \.\.\.$/)
  t.match(messageOf('tun = "a"\ntun = "b"\n'), /^f\.toml:2:\d+: .*redefine/)
  t.match(messageOf('tun = "a\n'), /^f\.toml:1:/)
  t.match(messageOf('memory = [1,\n'), /^f\.toml:\d+:/)
  t.end()
})

t.test('values that only together make no sense are refused', (t) => {
  const path = join(dir, 'both.toml')
  writeFileSync(path, 'address4 = "none"\naddress6 = "none"\n')
  t.throws(() => new ConfigSource(path, {}).load(), { code: 'ERR_CONFIG', message: /one of IPv4 and IPv6/ })
  t.throws(() => daemonConfig({ includeLocal: true }), { code: 'ERR_CONFIG' })
  t.end()
})

t.test('a file that cannot be read says why and what to do', (t) => {
  t.throws(() => readTomlFile(DaemonSchema, join(dir, 'missing.toml')), { code: 'ERR_CONFIG_FILE', message: /create it/ })
  t.throws(() => readTomlFile(DaemonSchema, dir), { code: 'ERR_CONFIG_FILE', message: /directory/ })
  const big = join(dir, 'big.toml')
  writeFileSync(big, '#'.repeat(2 << 20))
  t.throws(() => readTomlFile(DaemonSchema, big), { code: 'ERR_CONFIG_FILE', message: /no configuration/ })
  t.end()
})

t.test('a file with a secret must be closed to others, and no message shows the secret', (t) => {
  const schema = v.strictObject({
    psk: key(v.pipe(v.string(), v.minLength(20, 'must have at least 20 characters')), '-'.repeat(20), {
      doc: '',
      applies: 'restart',
      isSecret: () => true,
    }),
    name: key(v.string(), 'n', { doc: '', applies: 'restart' }),
  })
  const path = join(dir, 'secret.toml')
  writeFileSync(path, 'psk = "0123456789abcdefghij"\n', { mode: 0o644 })
  chmodSync(path, 0o644)
  t.throws(() => readTomlFile(schema, path), {
    code: 'ERR_CONFIG_SECRET',
    message: `mode 0644), and it holds a secret (psk): chmod 0640 ${path}`,
  })
  chmodSync(path, 0o640)
  t.same(readTomlFile(schema, path), { psk: '0123456789abcdefghij' })
  writeFileSync(path, 'name = "x"\n')
  chmodSync(path, 0o644)
  t.same(readTomlFile(schema, path), { name: 'x' }, 'control: without the secret it may be open')
  for (const toml of ['psk = "hunter2"\n', 'psk = hunter2\n', 'psk = ["hunter2"]\n']) {
    try {
      parseToml(schema, toml, 'f')
      t.fail('accepted')
    } catch (error) {
      t.notMatch((error as Error).message, /hunter2/)
      t.match((error as Error).message, /f:1:/)
    }
  }
  t.end()
})

t.test('detours in a file: mistakes by line, tokens only in files closed to others', (t) => {
  const nat = `[[detour]]\ntype = "nat"\ntoken = "mptcp-detour://${'a'.repeat(11)}.${'S'.repeat(43)}@192.0.2.7"\n`
  const path = join(dir, 'detours.toml')
  writeFileSync(path, nat)
  chmodSync(path, 0o644)
  t.throws(() => readTomlFile(DaemonSchema, path), { code: 'ERR_CONFIG_SECRET', message: `(detour): chmod 0640 ${path}` })
  chmodSync(path, 0o600)
  t.equal((readTomlFile(DaemonSchema, path).detour as unknown[]).length, 1)
  chmodSync(path, 0o644)
  writeFileSync(path, '[[detour]]\ntype = "interface"\ndevice = "wlan0"\n')
  t.ok(readTomlFile(DaemonSchema, path), 'control: without a token it may be open')
  const message = messageOf(`log = "info"\n${nat}costs = 3\n\n[[detour]]\ntype = "openvpn"\nbackup = 1\n`)
  t.match(message.split('\n'), [
    /^f\.toml:5: detour\[0\]: unknown key 'costs': did you mean 'cost'\?$/,
    /^f\.toml:7: detour\[1\] needs file$/,
    /^f\.toml:9: detour\[1\]\.backup = 1: must be true or false$/,
  ])
  t.end()
})

t.test('values are located: tables, lists of tables, inline tables, multi-line text', (t) => {
  const toml = `a = 1
text = """
a = 2
[x]
"""

# comment
[x]
b = [
  1,
  # comment
  2, 3,
]
[[y]]
c = { d = 1, e = { f = 2 } }
[[y]]
c = 'x' # g = 2
"q r".s = 1
`
  const paths = [['a'], ['text'], ['x'], ['x', 'b', 0], ['x', 'b', 2], ['y', 0, 'c', 'e', 'f'], ['y', 1], ['y', 1, 'q r', 's'], ['g']]
  t.same(locate(toml, paths), [1, 2, 8, 10, 12, 15, 16, 18, null])
  t.same(locate(toml.replaceAll('\n', '\r\n'), [['x', 'b', 2]]), [12])
  t.end()
})

t.test('a reload takes what is live and names what needs a restart', (t) => {
  const from = daemonConfig({})
  const to = daemonConfig({ log: 'debug', checksum: true, memory: 8 << 20, paths: ['eth1'], heldConnects: 9, tun: 'tun3' })
  t.same(diffConfig(from, to), { atOnce: ['paths', 'held-connects', 'log'], newConnections: ['checksum'], restart: ['tun', 'memory'] })
  t.same(reloadedConfig(from, to), { ...to, memory: from.memory, tun: from.tun })
  t.same(diffConfig(from, daemonConfig({})), { atOnce: [], newConnections: [], restart: [] })
  t.end()
})
