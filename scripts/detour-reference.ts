/** Writes packaging/detour.toml, and the table of keys in docs/detour-daemon.md, from the daemon's key table: `npm run docs`. */
import { readFileSync, writeFileSync } from 'node:fs'
import * as v from 'valibot'
import { fileName, keyInfo } from '../src/config/key.js'
import { ServeSchema } from '../src/detour/daemon/config.js'
import { fold } from './config-reference.js'

export const MANUAL = new URL('../docs/detour-daemon.md', import.meta.url)
export const SAMPLE = new URL('../packaging/detour.toml', import.meta.url)

const HEAD = `# Configuration of mptcpd-user detour serve: every key with its default. Copy to /etc/mptcpd-user/detour.toml and uncomment what
# you change. mptcpd-user detour serve --check checks it, docs/detour-daemon.md says more.
`
const TABLE = /(?<=<!-- keys: .* -->\n)[\s\S]*(?=<!-- end of keys -->)/

function keys() {
  return Object.entries(ServeSchema.entries).map(([name, entry]) => {
    const fallback: unknown = v.getDefault(entry)
    return { name: fileName(name), fallback: fallback === undefined ? null : JSON.stringify(fallback), ...keyInfo(ServeSchema, name) }
  })
}

export function sampleFile(): string {
  const entries = keys().map(({ name, fallback, doc, example }) => {
    const more = example === undefined || fallback === null ? '' : `${fold(`For example ${name} = ${example}`, '# ')}\n`
    return `\n${fold(doc.replaceAll('`', ''), '# ')}\n${more}#${name} = ${fallback ?? example}\n`
  })
  return HEAD + entries.join('')
}

/** The manual with its table of keys up to date. */
export function manual(): string {
  const rows = keys().map(
    ({ name, flag = '', fallback, doc }) => `| \`${name}\` | \`${flag}\` | ${fallback === null ? '' : `\`${fallback}\``} | ${doc} |\n`,
  )
  return readFileSync(MANUAL, 'utf8').replace(TABLE, `\n| key | flag | default | |\n|---|---|---|---|\n${rows.join('')}\n`)
}

if (process.argv[1] === new URL(import.meta.url).pathname) {
  writeFileSync(MANUAL, manual())
  writeFileSync(SAMPLE, sampleFile())
}
