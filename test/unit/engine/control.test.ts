import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { MptcpError } from '../../../src/base/errors.js'
import { ask, ControlServer } from '../../../src/engine/control.js'

const dir = mkdtempSync(join(tmpdir(), 'mptcpd-user-'))
t.teardown(() => rmSync(dir, { recursive: true }))

const HANDLERS = {
  echo: (args: Readonly<Record<string, unknown>>) => args,
  nothing: () => undefined,
  slow: () => new Promise((resolve) => setImmediate(() => resolve('done'))),
  broken: () => {
    throw new MptcpError('ERR_SAMPLE', 'no')
  },
}

t.test('requests are answered by name, errors keep their code', async (t) => {
  const path = join(dir, 'sub', 'a.sock')
  const server = await ControlServer.open(path, HANDLERS)
  t.equal(statSync(path).mode & 0o777, 0o660)
  t.same(await ask(path, 'echo', { x: 1 }), { x: 1 })
  t.equal(await ask(path, 'nothing'), null)
  t.equal(await ask(path, 'slow'), 'done')
  await t.rejects(ask(path, 'broken'), { code: 'ERR_SAMPLE', message: 'no' })
  await t.rejects(ask(path, 'toString'), { code: 'ERR_CONTROL_COMMAND' })
  await t.rejects(ControlServer.open(path, HANDLERS), { code: 'ERR_CONTROL_IN_USE' })
  await server.close()
  t.notOk(existsSync(path))
  await t.rejects(ask(path, 'echo'), { code: 'ERR_DAEMON_NOT_RUNNING' })
})

t.test('what a killed daemon left is replaced', async (t) => {
  const path = join(dir, 'b.sock')
  writeFileSync(path, '')
  const server = await ControlServer.open(path, HANDLERS)
  t.same(await ask(path, 'echo'), {})
  await server.close()
})

t.test('garbage and several requests in one piece are answered line by line', async (t) => {
  const path = join(dir, 'c.sock')
  const server = await ControlServer.open(path, HANDLERS)
  const socket = connect(path)
  socket.write('{]\n{"command":"slow"}\n{"command":"echo","args":{"n":2}}\nnull\n')
  let text = ''
  for await (const chunk of socket.setEncoding('utf8')) {
    text += chunk as string
    if (text.split('\n').length === 5) break
  }
  const replies = text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { ok: boolean; code?: string; result?: unknown })
  t.match(replies[0], { ok: false, code: 'ERR_CONTROL_SYNTAX' })
  t.match(replies[1], { ok: true, result: 'done' })
  t.match(replies[2], { ok: true, result: { n: 2 } })
  t.match(replies[3], { ok: false })
  const flood = connect(path)
  flood.on('error', () => {})
  flood.write('x'.repeat(100_000))
  await new Promise((resolve) => flood.on('close', resolve))
  t.pass('a line without end is cut off')
  await server.close()
})
