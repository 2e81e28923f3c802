import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { type HostState, isRunning, readStates, removeState, startTimeOf, statePath, writeState } from '../../../src/host/state-file.js'
import { leftStates } from '../../../src/host/undo.js'

const dir = mkdtempSync(join(tmpdir(), 'mptcpd-state-'))
t.teardown(() => rmSync(dir, { recursive: true }))

const state = (over: Partial<HostState>): HostState => ({
  version: 1,
  tun: 'tun0',
  pid: process.pid,
  startTime: startTimeOf(process.pid),
  netns: '7',
  switches: [],
  displaced: { 4: [], 6: [] },
  firewall: [],
  addresses: [],
  failClosed: false,
  ...over,
})

t.test('states are read back for their network namespace only; others cannot read them', (t) => {
  writeState(state({ tun: 'a' }), dir)
  writeState(state({ tun: 'b', netns: '8' }), dir)
  writeFileSync(join(dir, 'c.state.json'), '{"version":1')
  t.same(readStates('7', dir), [state({ tun: 'a' })])
  t.equal(statSync(statePath('a', dir)).mode & 0o777, 0o600)
  removeState('a', dir)
  removeState('a', dir)
  t.same(readStates('7', dir), [])
  t.same(readStates('7', join(dir, 'missing')), [])
  t.end()
})

t.test('a daemon that runs is told from one whose pid is used again', (t) => {
  t.ok(isRunning(state({})))
  t.notOk(isRunning(state({ startTime: '1' })))
  t.notOk(isRunning(state({ pid: 2 ** 22 + 1 })))
  t.end()
})

t.test('two daemons in one namespace would undo each other', (t) => {
  const other = process.ppid
  writeState(state({ tun: 'x', pid: other, startTime: startTimeOf(other), netns: '9' }), dir)
  t.throws(() => leftStates('9', dir), { code: 'ERR_ALREADY_RUNNING', message: /x, pid/ })
  writeState(state({ tun: 'x', pid: other, startTime: '1', netns: '9' }), dir)
  t.equal(leftStates('9', dir).length, 1, 'what a killed one left is taken over')
  t.end()
})
