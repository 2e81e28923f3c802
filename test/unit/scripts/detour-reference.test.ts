import { readFileSync } from 'node:fs'
import t from 'tap'
import * as v from 'valibot'
import { MANUAL, manual, SAMPLE, sampleFile } from '../../../scripts/detour-reference.js'
import { parseToml } from '../../../src/config/toml-file.js'
import { loadServeConfig, ServeSchema } from '../../../src/detour/daemon/config.js'

t.test("the manual and the sample file are those of the detour daemon's key table (npm run docs)", (t) => {
  t.equal(readFileSync(MANUAL, 'utf8'), manual())
  t.equal(readFileSync(SAMPLE, 'utf8'), sampleFile())
  t.end()
})

t.test('the sample file is valid as it is, and with every key uncommented it says the defaults', (t) => {
  const text = readFileSync(SAMPLE, 'utf8')
  t.same(parseToml(ServeSchema, text, 'sample'), {})
  const given = parseToml(ServeSchema, text.replaceAll(/^#(?=[a-z0-9-]+ = )/gm, ''), 'sample')
  t.equal(Object.keys(given).length, Object.keys(ServeSchema.entries).length)
  const { attribution: _none, ...rest } = v.parse(ServeSchema, given)
  t.same(rest, loadServeConfig(null, {}), 'all but the file that there is none of by default')
  t.end()
})

t.test('bad values name the key and what is expected', (t) => {
  for (const [flags, message] of [
    [{ ports: '80-79' }, /ports.*like 443/],
    [{ maxLease: 0 }, /max-lease.*at least 1/],
    [{ allowV1: ['10.0.0.0/40'] }, /allow-v1/],
    [{ listen: ['eth0'] }, /listen.*address/],
  ] as const)
    t.throws(() => loadServeConfig(null, flags), { code: 'ERR_CONFIG', message })
  t.end()
})
