import t from 'tap'
import { MptcpError } from '../../../src/base/errors.js'
import { applyPlan, formatPlan, type Plan, type PlanRunner } from '../../../src/host/plan.js'

class RecordingRunner implements PlanRunner {
  readonly log: string[] = []
  private readonly failing: string
  private readonly message: string

  constructor(failing = '', message = 'no') {
    this.failing = failing
    this.message = message
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

  async endNft(): Promise<void> {
    this.note('nft end')
  }

  private note(what: string): void {
    this.log.push(what)
    if (this.failing !== '' && what.startsWith(this.failing)) throw new MptcpError('ERR_HOST_COMMAND', this.message)
  }
}

const PLAN: Plan = [
  { kind: 'exec', apply: ['a', '1'], undo: ['a', 'undo'] },
  { kind: 'exec', apply: ['b'], undo: null },
  { kind: 'nft', lines: ['add table x', 'add chain x y'] },
  { kind: 'sysctl', key: 'net/x', value: '1', old: '0' },
  { kind: 'sysctl', key: 'net/y', value: '1', old: '1' },
  { kind: 'exec', apply: ['c'], undo: ['c', 'undo'], mayExist: true },
]

t.test('a plan is applied in its order and undone in the other', async (t) => {
  const runner = new RecordingRunner()
  const applied = await applyPlan(PLAN, runner)
  t.same(runner.log, ['a 1', 'b', 'nft 2', 'net/x=1', 'c'])
  runner.log.length = 0
  t.same(await applied.rollback(), [])
  t.same(runner.log, ['c undo', 'net/x=0', 'nft end', 'a undo'], 'what stood there already is not touched')
  runner.log.length = 0
  await applied.rollback()
  t.same(runner.log, [], 'a second rollback does nothing')
})

t.test('a failing step undoes the earlier ones and only those', async (t) => {
  const runner = new RecordingRunner('net/x=1')
  await t.rejects(applyPlan(PLAN, runner), { code: 'ERR_HOST_SETUP' })
  t.same(runner.log, ['a 1', 'b', 'nft 2', 'net/x=1', 'nft end', 'a undo'])
})

t.test('what a killed run left is taken over and undone in the end', async (t) => {
  const runner = new RecordingRunner('c', 'RTNETLINK answers: File exists')
  const applied = await applyPlan(PLAN, runner)
  runner.log.length = 0
  const failures = await applied.rollback()
  t.equal(runner.log[0], 'c undo')
  t.equal(failures.length, 1, 'a failure to undo is reported')
  t.equal(runner.log.length, 4, 'and the rest undone all the same')
})

t.test('a plan prints as commands', (t) => {
  t.same(formatPlan(PLAN), ['a 1', 'b', "nft 'add table x'", "nft 'add chain x y'", 'sysctl -w net.x=1', 'c'])
  t.end()
})
