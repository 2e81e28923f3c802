import { appendFileSync, chmodSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { appendKey, newKeyLine, parseKeys, readKeys, removeKeys } from '../../../../src/detour/daemon/key-file.js'
import { KeyRing } from '../../../../src/detour/daemon/keys.js'

const DEFAULTS = { leases: 10, rate: 5, flows: 20 }

function fileOf(t: Test): string {
  const dir = mkdtempSync(join(tmpdir(), 'mptcpd-keys-'))
  t.teardown(() => rmSync(dir, { recursive: true }))
  return join(dir, 'keys')
}

t.test('keys are appended to a file of mode 0600, read, and removed by name or id; comments stay', (t) => {
  const path = fileOf(t)
  const alice = newKeyLine({
    name: 'alice',
    expires: '2030-01-31',
    allow: ['10.0.0.0/8'],
    only: ['10.1.0.0/16'],
    ports: ['443', '8000-8100'],
    leases: 3,
  })
  appendKey(path, alice)
  t.equal(statSync(path).mode & 0o777, 0o600)
  appendFileSync(path, '# somebody wrote this')
  appendKey(path, newKeyLine({ name: 'bob' }))
  t.match(readKeys(path), [
    {
      name: 'alice',
      id: alice.id,
      expiresAt: Date.parse('2030-01-31'),
      leases: 3,
      rules: {
        ports: [
          { from: 443, to: 443 },
          { from: 8000, to: 8100 },
        ],
      },
    },
    { name: 'bob', expiresAt: null, leases: undefined },
  ])
  t.equal(readKeys(path)[0]?.secret.length, 32)
  t.same(removeKeys(path, 'nobody'), [])
  t.match(removeKeys(path, alice.id), [{ name: 'alice' }])
  t.match(readKeys(path), [{ name: 'bob' }])
  t.match(readFileSync(path, 'utf8'), /^# Clients[\s\S]*# somebody wrote this\n\{/)
  t.equal(statSync(path).mode & 0o777, 0o600)
  t.end()
})

t.test('a file that is open to others is refused, with the chmod that mends it', (t) => {
  const path = fileOf(t)
  appendKey(path, newKeyLine({ name: 'alice' }))
  for (const mode of [0o640, 0o604, 0o660, 0o601, 0o777]) {
    chmodSync(path, mode)
    t.throws(() => readKeys(path), { code: 'ERR_KEY_FILE_MODE', message: `chmod 0600 ${path}` })
    t.throws(() => appendKey(path, newKeyLine({ name: 'bob' })), { code: 'ERR_KEY_FILE_MODE' })
    t.throws(() => removeKeys(path, 'alice'), { code: 'ERR_KEY_FILE_MODE' })
  }
  chmodSync(path, 0o400)
  t.equal(readKeys(path).length, 1)
  t.end()
})

t.test('what is wrong is named by line, and no message holds a secret', (t) => {
  const good = newKeyLine({ name: 'alice' })
  const bad = [
    ['{', 'JSON'],
    [JSON.stringify({ ...good, name: 'a b' }), 'name'],
    [JSON.stringify({ ...good, secret: `${good.secret}A` }), 'secret'],
    [JSON.stringify({ ...good, colour: 'red' }), "unknown field 'colour'"],
    [JSON.stringify({ ...good, ports: ['80-79'] }), 'port'],
    [JSON.stringify({ ...good, allow: ['10.0.0.0/33'] }), 'prefix'],
    [JSON.stringify({ ...good, expires: 'tomorrow' }), 'date'],
    [JSON.stringify({ name: 'x', secret: good.secret }), "'id' is missing"],
    [JSON.stringify(good), 'twice'],
  ] as const
  for (const [line, why] of bad) {
    try {
      parseKeys(`${JSON.stringify(good)}\n\n${line}\n`, 'keys')
      t.fail(line)
    } catch (error) {
      const { message } = error as Error
      t.match(message, why)
      t.match(message, /^keys:3: /)
      t.notMatch(message, good.secret.slice(0, 20))
    }
  }
  t.throws(() => newKeyLine({ name: '' }), { code: 'ERR_KEY_FILE' })
  t.end()
})

t.test('the key ring follows the file: added, removed, changed, expired; a new secret is another key', (t) => {
  let slot = 0
  const ring = new KeyRing(DEFAULTS, () => ++slot)
  const keysOf = (...lines: object[]) => parseKeys(lines.map((line) => JSON.stringify(line)).join('\n'), 'keys')
  const alice = newKeyLine({ name: 'alice' })
  const bob = newKeyLine({ name: 'bob', expires: new Date(5000).toISOString() })
  t.equal(ring.update(keysOf(alice, bob), 0, 0).added.length, 2)
  const state = ring.find(Buffer.from(alice.id, 'base64url').toString('latin1'))
  t.match(state, { name: 'alice', maxLeases: 10, maxFlows: 20 })
  t.same(ring.update(keysOf(alice, bob), 0, 0), { added: [], removed: [], changed: [] })
  t.match(ring.update(keysOf({ ...alice, leases: 2, ports: ['80'] }, bob), 0, 0), { added: [], removed: [], changed: [state] })
  t.match(state, { maxLeases: 2, key: { rules: { ports: [{ from: 80, to: 80 }] } } })
  t.same(ring.expire(4999), [])
  t.match(ring.expire(5000), [{ name: 'bob' }])
  t.equal(ring.update(keysOf(alice, bob), 0, 5000).added.length, 0, 'an expired key is none')
  const stolen = ring.update(keysOf({ ...alice, secret: newKeyLine({ name: 'x' }).secret }), 0, 0)
  t.match([stolen.removed, stolen.added], [[state], [{ name: 'alice' }]])
  t.match(ring.update([], 0, 0).removed, [{ name: 'alice' }])
  t.equal(ring.size, 0)
  t.end()
})

t.test('a missing file says how it is made', (t) => {
  t.throws(() => readKeys('/nonexistent/keys'), { code: 'ERR_KEY_FILE', message: /keygen/ })
  const path = fileOf(t)
  writeFileSync(path, '', { mode: 0o600 })
  t.same(readKeys(path), [])
  t.end()
})
