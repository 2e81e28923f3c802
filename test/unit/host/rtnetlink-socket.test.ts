import { execFileSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import type { Change } from '../../../src/host/rtnetlink.js'
import { native } from '../../../src/tun/native.js'

const isRoot = process.getuid?.() === 0
t.test('the kernel announces changes, on the main thread and in a worker', { skip: isRoot ? false : 'needs root' }, (t) => {
  const fixture = fileURLToPath(new URL('rtnetlink-socket.fixture.ts', import.meta.url))
  const out = execFileSync('unshare', ['-n', '-m', process.execPath, '--import', 'tsx', fixture], {
    encoding: 'utf8',
    env: { ...process.env, TAP: '' },
  })
  const heard = JSON.parse(out) as { main: Change[]; worker: Change[]; cookie: string }
  t.not(heard.cookie, native().netnsCookie(), 'another network namespace has another number')
  for (const where of ['main', 'worker'] as const) {
    const has = (wanted: Partial<Change> & { key?: string }, what: string) =>
      t.ok(
        heard[where].some((change) =>
          Object.entries(wanted).every(([key, value]) => (change as unknown as Record<string, unknown>)[key] === value),
        ),
        `${where}: ${what}`,
      )
    has({ kind: 'address', isDelete: false }, 'an address')
    has({ kind: 'route', isDelete: false, key: 'unicast 10.8.0.0/16  7 v0 10.7.0.9' }, 'a route that came')
    has({ kind: 'route', isDelete: true, key: 'unicast 10.8.0.0/16  7 v0 10.7.0.9' }, 'and went')
    has({ kind: 'table', isDelete: true, isOwn: true }, 'a route of ours in a table of ours')
    has({ kind: 'rule', isDelete: true, isOwn: true }, 'a rule of ours')
    has({ kind: 'netconf' }, 'forwarding')
    has({ kind: 'route', key: 'unicast 2001:db8::/32  1024 v0 ' }, 'an IPv6 route')
    has({ kind: 'link' }, 'a link')
  }
  t.end()
})
