import { readFileSync } from 'node:fs'
import t from 'tap'
import { CERTIFICATES, clientConf, SERVER_CONF, SERVER_CONF6, SERVER_KERNEL, SERVER_KERNEL6 } from '../../e2e/lib/openvpn.js'

t.test('docs/openvpn.md shows what the end-to-end test runs', (t) => {
  const text = readFileSync(new URL('../../../docs/openvpn.md', import.meta.url), 'utf8')
  for (const piece of [CERTIFICATES, SERVER_CONF, SERVER_CONF6, SERVER_KERNEL, SERVER_KERNEL6, clientConf('198.51.100.7')])
    t.ok(text.includes(`\n${piece}\`\`\`\n`), piece.split('\n')[0] ?? '')
  t.end()
})
