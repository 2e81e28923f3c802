import { readFileSync } from 'node:fs'
import t from 'tap'
import { EXAMPLE, exampleFile, REFERENCE, reference } from '../../../scripts/config-reference.js'
import { daemonConfig, DaemonSchema } from '../../../src/config/daemon-config.js'
import { fileName, keyInfo } from '../../../src/config/key.js'
import { parseToml } from '../../../src/config/toml-file.js'

t.test('the reference and the example file are those of the key table (npm run docs)', (t) => {
  t.equal(readFileSync(REFERENCE, 'utf8'), reference())
  t.equal(readFileSync(EXAMPLE, 'utf8'), exampleFile())
  t.end()
})

t.test('every key is documented', (t) => {
  const text = reference()
  for (const name of Object.keys(DaemonSchema.entries)) {
    t.ok(keyInfo(DaemonSchema, name).doc.length > 20, name)
    t.match(text, new RegExp(`^## ${fileName(name)}$`, 'm'))
  }
  t.end()
})

t.test('the example file is valid as it is, and with every key uncommented it says the defaults', (t) => {
  const text = readFileSync(EXAMPLE, 'utf8')
  t.same(parseToml(DaemonSchema, text, 'example'), {})
  const given = parseToml(DaemonSchema, text.replaceAll(/^#(?=[a-z0-9-]+ = )/gm, ''), 'example')
  t.equal(Object.keys(given).length, Object.keys(DaemonSchema.entries).length)
  t.same(daemonConfig(given), daemonConfig({}))
  t.end()
})

t.test('the examples of the reference are valid', (t) => {
  for (const [, toml = ''] of reference().matchAll(/```toml\n([^`]*)```/g)) {
    t.ok(daemonConfig(parseToml(DaemonSchema, toml, 'reference')), toml)
  }
  t.end()
})
