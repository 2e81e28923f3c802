import { execFileSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import t from 'tap'

interface Round {
  readonly before: string
  readonly during: string
  readonly after: string
  readonly byHand: string
  readonly table: string
  readonly failures: readonly string[]
  readonly files: readonly string[]
  readonly warnings: readonly string[]
}

const isRoot = process.getuid?.() === 0
t.test('set up and taken back in a network namespace, nothing is left', { skip: isRoot ? false : 'needs root' }, (t) => {
  const fixture = fileURLToPath(new URL('netns-round.fixture.ts', import.meta.url))
  const out = execFileSync('unshare', ['-n', process.execPath, '--import', 'tsx', fixture], {
    encoding: 'utf8',
    env: { ...process.env, TAP: '' },
  })
  const round = JSON.parse(out) as Round
  t.same(round.failures, [])
  t.same(round.warnings, [])
  t.not(round.during, round.before, 'positive control: something was changed')
  t.match(round.table, /masquerade/)
  t.equal(round.after, round.before, 'rules, routes, nftables and sysctls as before')
  t.same(round.files, [], 'and no state file')
  // What is not in the printed plan: what the kernel adds by itself to a device that a process holds open.
  const facts = (text: string) =>
    text
      .slice(0, text.indexOf('table inet') < 0 ? text.length : text.indexOf('table inet'))
      .split('\n')
      .map((line) => line.replace(/ linkdown/, '').trim())
      .filter((line) => line !== '' && !/fe80::|ff00::|^net\./.test(line))
  t.same(facts(round.byHand), facts(round.during), 'what --dry-run prints leads to the same')
  t.end()
})
