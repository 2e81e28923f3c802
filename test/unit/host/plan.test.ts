import t from 'tap'
import { MptcpError } from '../../../src/base/errors.js'
import { applyPlan, formatPlan, type Plan, type PlanRunner } from '../../../src/host/plan.js'
import { batchFailures } from '../../../src/host/runner.js'

class RecordingRunner implements PlanRunner {
  readonly log: string[] = []
  private readonly failing: string
  private readonly message: string

  constructor(failing = '', message = 'no') {
    this.failing = failing
    this.message = message
  }

  async ipBatch(family: 4 | 6, lines: readonly string[]): Promise<ReadonlyMap<number, string>> {
    this.log.push(`ip -${family}: ${lines.join('; ')}`)
    const at = lines.findIndex((line) => this.failing !== '' && line.startsWith(this.failing))
    return at < 0 ? new Map() : new Map([[at, this.message]])
  }

  async exec(argv: readonly string[]): Promise<void> {
    this.note(argv.join(' '))
  }

  async writeSysctl(key: string, value: string): Promise<void> {
    this.note(`${key}=${value}`)
  }

  async nft(lines: readonly string[]): Promise<void> {
    this.note(`nft ${lines.length}`)
  }

  private note(what: string): void {
    this.log.push(what)
    if (this.failing !== '' && what.startsWith(this.failing)) throw new MptcpError('ERR_HOST_COMMAND', this.message)
  }
}

const PLAN: Plan = [
  { kind: 'exec', argv: ['a', 'b c'] },
  { kind: 'nft', lines: ['add table x', 'add chain x y'] },
  { kind: 'route', family: 4, words: ['add', 'default', 'dev', 'v0'], mayFail: true },
  { kind: 'rule', family: 4, words: ['add', 'pref', '1'] },
  { kind: 'rule', family: 6, words: ['del', 'pref', '2'] },
  { kind: 'sysctl', key: 'net/ipv4/conf/eth0.7/forwarding', value: '1', old: '0' },
  { kind: 'rule', family: 4, words: ['add', 'pref', '3'] },
]

t.test('a plan is applied in its order, neighbours of one family by one process', async (t) => {
  const runner = new RecordingRunner()
  t.same(await applyPlan(PLAN, runner), [])
  t.same(runner.log, [
    'a b c',
    'nft 2',
    'ip -4: route add default dev v0; rule add pref 1',
    'ip -6: rule del pref 2',
    'net/ipv4/conf/eth0.7/forwarding=1',
    'ip -4: rule add pref 3',
  ])
})

t.test('a failure is named by its command, and ends a strict plan unless it does not matter', async (t) => {
  const lax = new RecordingRunner('rule add pref 1', 'Invalid argument')
  t.match(await applyPlan(PLAN, lax), [{ message: 'ip -4 rule add pref 1: Invalid argument' }])
  t.equal(lax.log.length, 6)
  const strict = new RecordingRunner('rule add pref 1', 'Invalid argument')
  t.equal((await applyPlan(PLAN, strict, true)).length, 1)
  t.equal(strict.log.length, 3, 'nothing after it')
  const harmless = new RecordingRunner('route add', 'Nexthop has invalid gateway')
  t.equal((await applyPlan(PLAN, harmless, true)).length, 1)
  t.equal(harmless.log.length, 6)
})

t.test('what is there already, or gone already, is no failure', async (t) => {
  t.same(await applyPlan(PLAN, new RecordingRunner('rule add pref 1', 'File exists')), [])
  t.same(await applyPlan(PLAN, new RecordingRunner('rule del pref 2', 'No such file or directory')), [])
  t.equal((await applyPlan(PLAN, new RecordingRunner('rule del pref 2', 'Operation not permitted'))).length, 1)
})

t.test('a plan prints as commands', (t) => {
  t.same(formatPlan(PLAN), [
    "a 'b c'",
    "nft 'add table x'",
    "nft 'add chain x y'",
    'ip -4 route add default dev v0',
    'ip -4 rule add pref 1',
    'ip -6 rule del pref 2',
    'sysctl -w net.ipv4.conf.eth0/7.forwarding=1',
    'ip -4 rule add pref 3',
  ])
  t.end()
})

t.test('failures of a batch are told by their line', (t) => {
  const { failures, rest } = batchFailures(
    'RTNETLINK answers: File exists\nCommand failed -:2\nError: Nexthop has invalid gateway.\nCommand failed -:5\nUsage: nonsense\n',
  )
  t.same(
    [...failures],
    [
      [1, 'File exists'],
      [4, 'Nexthop has invalid gateway.'],
    ],
  )
  t.equal(rest, 'Usage: nonsense')
  t.end()
})
