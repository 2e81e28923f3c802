/** Writes docs/configuration.md and packaging/mptcpd-user.toml from the key table: `npm run docs`. A test checks that they are up to date. */
import { writeFileSync } from 'node:fs'
import * as v from 'valibot'
import { DaemonSchema } from '../src/config/daemon-config.js'
import { fileName, keyInfo, type KeySchema } from '../src/config/key.js'

export const REFERENCE = new URL('../docs/configuration.md', import.meta.url)
export const EXAMPLE = new URL('../packaging/mptcpd-user.toml', import.meta.url)

const LINE_LEN = 120

const HEAD = `# Configuration

<!-- Made by \`npm run docs\` from src/config/daemon-config.ts. -->

\`mptcpd-user up\` reads \`/etc/mptcpd-user/mptcpd-user.toml\` when it exists, another file with \`--config FILE\`, none with
\`--no-config\`. Everything has a default, so no file is needed. A flag overrides the file.

The file is [TOML](https://toml.io). Unknown keys and bad values are errors, named with their line; \`mptcpd-user check-config FILE\`
checks a file without touching anything. \`packaging/mptcpd-user.toml\` has every key with its default, to start from.

**Reload.** \`mptcpd-user reload\`, or SIGHUP, reads the file again and applies what has changed. Keys differ in what then happens:
*at once*; for *new connections*, while those that are there stay as they are; or not before a *restart*, which the reload names.
On any error, in the file or while it is applied, the old configuration stays whole.

**Secrets.** A file that sets a secret must not be open to every user: it is refused, and the message says which \`chmod\` mends that.
The daemon gives up all capabilities but CAP_NET_ADMIN, so as root it reads files of root only: \`chown root\` the file.

| key | flag | default | reload |
|---|---|---|---|
`

const EXAMPLE_HEAD = `# Configuration of mptcpd-user: every key with its default. Copy to /etc/mptcpd-user/mptcpd-user.toml and uncomment what you change.
# mptcpd-user check-config FILE checks it, docs/configuration.md says more.
`

interface Key {
  readonly name: string
  readonly fallback: string
}

function keys(): Key[] {
  return Object.entries(DaemonSchema.entries).map(([name, entry]) => ({ name, fallback: JSON.stringify(v.getDefault(entry)) }))
}

export function reference(): string {
  const rows = keys().map(({ name, fallback }) => {
    const { flag, applies } = keyInfo(DaemonSchema, name)
    const shown = flag ?? (name.startsWith('address') ? `--address <prefix>, --no-ipv${name.slice(-1)}` : '')
    return `| [\`${fileName(name)}\`](#${fileName(name)}) | ${shown === '' ? '' : `\`${shown.replaceAll('|', '\\|')}\``} | \`${fallback}\` | ${applies} |\n`
  })
  const sections = keys().map(({ name }) => {
    const { doc, example, exampleToml, tables = [] } = keyInfo(DaemonSchema, name)
    const toml = exampleToml ?? (example === undefined ? '' : `${fileName(name)} = ${example}\n`)
    const more = `${tables.map(tableOf).join('')}${toml === '' ? '' : `\n\`\`\`toml\n${toml}\`\`\`\n`}`
    return `\n## ${fileName(name)}\n\n${fold(doc, '')}\n${more}`
  })
  return HEAD + rows.join('') + sections.join('')
}

/** The keys of one kind of table. */
function tableOf(table: { readonly name: string; readonly entries: KeySchema['entries'] }): string {
  const rows = Object.keys(table.entries).filter((name) => name !== 'type')
  const row = (name: string): string => {
    const fallback = JSON.stringify(v.getDefault(table.entries[name] as Parameters<typeof v.getDefault>[0]))
    return `| \`${name}\` | ${fallback === undefined ? '' : `\`${fallback}\``} | ${keyInfo(table, name).doc} |\n`
  }
  return `\n\`type = "${table.name}"\`:\n\n| key | default | |\n|---|---|---|\n${rows.map(row).join('')}`
}

export function exampleFile(): string {
  const entries = keys().map(({ name, fallback }) => {
    const { doc, example, exampleToml } = keyInfo(DaemonSchema, name)
    // Two characters before each line: whoever uncomments the defaults by a pattern leaves examples alone.
    const whole = exampleToml === undefined ? '' : `${exampleToml.trim().replaceAll(/^/gm, '# ').replaceAll(/^# $/gm, '#')}\n`
    const more = example === undefined ? whole : `${fold(`For example ${fileName(name)} = ${example}`, '# ')}\n`
    return `\n${fold(doc.replaceAll('`', ''), '# ')}\n${more}#${fileName(name)} = ${fallback}\n`
  })
  return EXAMPLE_HEAD + entries.join('')
}

/** Text in lines of at most LINE_LEN. */
export function fold(text: string, prefix: string): string {
  const lines: string[] = []
  let line = ''
  for (const word of text.split(' ')) {
    if (line !== '' && prefix.length + line.length + 1 + word.length > LINE_LEN) {
      lines.push(prefix + line)
      line = word
    } else line = line === '' ? word : `${line} ${word}`
  }
  return [...lines, prefix + line].join('\n')
}

if (process.argv[1] === new URL(import.meta.url).pathname) {
  writeFileSync(REFERENCE, reference())
  writeFileSync(EXAMPLE, exampleFile())
}
