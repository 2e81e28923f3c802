import t from 'tap'
import { chainsOf, type Dropper, dropperOf, dropperText, policyDropper, remedyFor, traceLines } from '../../../src/host/firewall.js'
import { dropsOf, legacyDropper } from '../../../src/host/legacy.js'

const TRACE = `trace id d629aa82 inet mptcpd_user_tun0 trace_out packet: iif "tun0" ip saddr 198.18.0.2
trace id d629aa82 inet mptcpd_user_tun0 trace_out policy accept
trace id d629aa82 ip filter FORWARD rule counter packets 0 bytes 0 jump DOCKER-USER (verdict jump DOCKER-USER)
trace id d629aa82 ip filter DOCKER-USER rule counter packets 0 bytes 0 return (verdict return)
`

const chain = (family: string, table: string, name: string, hook?: string, policy?: string) => ({
  chain: { family, table, name, ...(hook === undefined ? {} : { hook, policy }) },
})
const ruleset = (...chains: object[]) => chainsOf(JSON.stringify({ nftables: [{ metainfo: {} }, ...chains] }))
const none = () => false
const all = () => true

t.test('the trace names the chain that dropped, by policy or by a rule, and never our own', (t) => {
  t.equal(dropperOf(TRACE, 'tun0'), null)
  const policy = dropperOf(`${TRACE}trace id d629aa82 ip filter FORWARD policy drop \n`, 'tun0')
  t.same(policy, { family: 'ip', table: 'filter', chain: 'FORWARD', rule: null })
  const rule = dropperOf(
    `${TRACE}trace id 1 inet firewalld filter_FORWARD rule reject with icmpx admin-prohibited (verdict drop)\n`,
    'tun0',
  )
  t.match(rule, { table: 'firewalld', rule: 'reject with icmpx admin-prohibited' })
  t.equal(rule === null ? '' : dropperText(rule), 'table inet firewalld, chain filter_FORWARD (rule `reject with icmpx admin-prohibited`)')
  t.equal(dropperOf('trace id 1 inet mptcpd_user_tun0 forward rule drop (verdict drop)\n', 'tun0'), null)
  t.end()
})

t.test('without a trace, a forward chain whose policy drops is named', (t) => {
  const chains = ruleset(chain('ip', 'filter', 'INPUT', 'input', 'drop'), chain('ip6', 'filter', 'FORWARD', 'forward', 'drop'))
  t.equal(policyDropper(chains, 4, 'tun0'), null)
  t.match(policyDropper(chains, 6, 'tun0'), { chain: 'FORWARD' })
  t.end()
})

t.test('the remedy is in the words of who manages the rules', (t) => {
  const forward = { family: 'ip', table: 'filter', chain: 'FORWARD', rule: null }
  const base = chain('ip', 'filter', 'FORWARD', 'forward', 'drop')
  const docker = remedyFor(forward, ruleset(base, chain('ip', 'filter', 'DOCKER-USER')), 'tun0', all)
  t.match(docker, { manager: 'Docker', commands: [['iptables', '-I', 'DOCKER-USER', '-i', 'tun0', '-j', 'ACCEPT'], ['iptables']] })
  t.same(docker.undo[1], { kind: 'exec', argv: ['iptables', '-D', 'DOCKER-USER', '-o', 'tun0', '-j', 'ACCEPT'] })
  const bare = remedyFor(forward, ruleset(base, chain('ip', 'filter', 'DOCKER-USER')), 'tun0', none)
  t.same(
    bare.commands[0],
    ['nft', 'insert rule ip filter DOCKER-USER iifname "tun0" counter accept comment "mptcpd-user tun0"'],
    'without iptables',
  )
  t.same(bare.undo, [{ kind: 'nft', family: 'ip', table: 'filter', chain: 'DOCKER-USER', comment: 'mptcpd-user tun0' }])
  const ufw = remedyFor(forward, ruleset(base, chain('ip', 'filter', 'ufw-user-forward')), 'tun0', all)
  t.match(ufw, { manager: 'ufw', commands: [['ufw', 'route', 'allow', 'in', 'on', 'tun0'], ['ufw']] })
  t.match(remedyFor(forward, ruleset(base), 'tun0', all), { manager: 'iptables', commands: [['iptables', '-I', 'FORWARD'], ['iptables']] })
  const firewalld = remedyFor({ family: 'inet', table: 'firewalld', chain: 'filter_FORWARD', rule: 'x' }, [], 'tun0', all)
  t.match(firewalld, { manager: 'firewalld', commands: [['firewall-cmd', '--zone=trusted', '--add-interface=tun0']] })
  const jumped = { family: 'inet', table: 'fw', chain: 'deny', rule: 'drop' }
  const plain = remedyFor(jumped, ruleset(chain('inet', 'fw', 'deny'), chain('inet', 'fw', 'f', 'forward', 'accept')), 'tun0', all)
  t.match(plain, { manager: 'nftables', undo: [{ chain: 'f' }] }, 'into the chain at the hook, before the jump')
  t.end()
})

t.test('the trace looks at one probe only', (t) => {
  const { start, stop } = traceLines('tun0', 6, 'fd00:198:18::/64', 4711)
  t.equal(start.length, 5)
  t.ok(start.slice(2).every((line) => line.includes('ip6 ') && line.includes('nftrace')))
  t.equal(stop.length, 2)
  t.end()
})

t.test('iptables-legacy: whoever counted the probe is named, and admits us before its other rules', (t) => {
  const save = (policy: number, rule: number) => `# Generated
*filter
:INPUT ACCEPT [9:900]
:FORWARD DROP [${policy}:40]
:DOCKER-USER - [0:0]
[3:120] -A FORWARD -j DOCKER-USER
[${rule}:40] -A DOCKER-USER -i tun0 -m comment --comment "a b" -j REJECT --reject-with icmp-port-unreachable
COMMIT
`
  const before = dropsOf(save(1, 7))
  t.equal(legacyDropper(before, before, 4), null)
  const policy = legacyDropper(before, dropsOf(save(2, 7)), 4)
  t.same(policy, { family: 'ip', table: 'filter', chain: 'FORWARD', rule: null, isLegacy: true })
  t.match(legacyDropper(before, dropsOf(save(1, 8)), 6), { family: 'ip6', chain: 'DOCKER-USER', rule: /-j REJECT/ })
  const remedy = remedyFor(policy as Dropper, [], 'tun0', () => true)
  t.same(remedy.commands, [
    ['iptables-legacy', '-I', 'FORWARD', '-i', 'tun0', '-j', 'ACCEPT'],
    ['iptables-legacy', '-I', 'FORWARD', '-o', 'tun0', '-j', 'ACCEPT'],
  ])
  t.match(dropperText(policy as Dropper), /^iptables-legacy, table ip filter, chain FORWARD \(policy drop\)$/)
  t.end()
})
