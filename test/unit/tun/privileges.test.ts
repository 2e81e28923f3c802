import { spawnSync } from 'node:child_process'
import t from 'tap'
import { native } from '../../../src/tun/native.js'

const NATIVE = new URL('../../../src/tun/native.ts', import.meta.url).href
const isRoot = process.getuid?.() === 0
const asRoot = isRoot ? {} : { skip: 'needs root' }

/** Runs a program that reduces itself to `mask`, and prints what is left, per thread. */
function reduced(mask: number, more = '') {
  const program = `
    import { readFileSync, readdirSync } from 'node:fs'
    import { native } from '${NATIVE}'
    const sets = (tid) => /CapInh[^]*?NoNewPrivs:\\s*\\d/.exec(readFileSync('/proc/self/task/' + tid + '/status', 'utf8'))[0].replaceAll(/\\s+/g, ' ')
    if (process.env.AGAIN) console.log(JSON.stringify({ pid: process.pid, env: process.env.KEPT, sets: [...new Set(readdirSync('/proc/self/task').map(sets))], caps: native().capabilities() }))
    else {
      process.env.AGAIN = '1'
      ${more}
      native().execWithCapabilities(${mask}, process.execPath, [process.execPath, ...process.execArgv])
    }`
  return spawnSync(process.execPath, ['--import', 'tsx', '--input-type=module', '--eval', program], {
    encoding: 'utf8',
    env: { ...process.env, KEPT: 'yes' },
  })
}

t.test('capabilities are read as masks', (t) => {
  const { effective, permitted, bounding } = native().capabilities()
  for (const mask of [effective, permitted, bounding]) t.ok(Number.isSafeInteger(mask) && mask >= 0)
  t.equal(Number(BigInt(effective) & ~BigInt(permitted)), 0, 'what is in effect is permitted')
  t.end()
})

t.test('a program that starts anew has only the capabilities that were left to it, in every thread', asRoot, (t) => {
  const { status, stdout, stderr } = reduced(2 ** 12)
  t.equal(status, 0, stderr)
  const { env, sets, caps } = JSON.parse(stdout) as { env: string; sets: string[]; caps: object }
  t.same(sets.length, 1, 'all threads alike')
  t.match(sets[0], /CapInh: 0+ CapPrm: 0+1000 CapEff: 0+1000 CapBnd: 0+1000 CapAmb: 0+ NoNewPrivs: 1/)
  t.same(caps, { effective: 4096, permitted: 4096, bounding: 4096 })
  t.equal(env, 'yes', 'the environment stays')
  t.end()
})

t.test('nothing can be won back', asRoot, (t) => {
  const { status, stdout, stderr } = reduced(0)
  t.equal(status, 0, stderr)
  t.match(JSON.parse(stdout), { caps: { effective: 0, permitted: 0, bounding: 0 } })
  t.end()
})

t.test('wrong arguments are refused before anything is given up', (t) => {
  const before = native().capabilities()
  const exec = native().execWithCapabilities as (...args: unknown[]) => void
  t.throws(() => exec('all', '/bin/true', []), TypeError)
  t.throws(() => exec(0, '/bin/true', 'x'), TypeError)
  t.throws(() => exec(0, '/bin/true', [7]))
  t.same(native().capabilities(), before)
  t.end()
})

t.test('offloads of a device, and the state of the clock', (t) => {
  t.ok((native().offloads('lo') & 4) !== 0, 'lo has GSO')
  t.throws(() => native().offloads('no-such-dev'), { code: 'ENODEV' })
  t.throws(() => native().offloads('much-too-long-a-name'), { code: 'ENAMETOOLONG' })
  t.type(native().isClockSynchronised(), 'boolean')
  t.end()
})
