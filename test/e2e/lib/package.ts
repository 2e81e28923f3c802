import { cpSync, existsSync, mkdirSync, readdirSync, symlinkSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { execOk } from './exec.js'

/** What the package is made from; a copy of it is packed, so that nothing else in the tree is touched. */
const SOURCES = [
  'src',
  'native',
  'packaging',
  'docs',
  'binding.gyp',
  'package.json',
  'tsconfig.json',
  'tsconfig.build.json',
  'README.md',
  'LICENSE',
]

export interface Packed {
  readonly tarball: string
  /** Paths in it, without the leading `package/`. */
  readonly files: readonly string[]
}

/** `npm pack` of the project at `root`, into `dir`. Needs a compiler, no network. */
export async function packProject(root: string, dir: string): Promise<Packed> {
  const copy = join(dir, 'source')
  mkdirSync(copy)
  for (const name of SOURCES) cpSync(join(root, name), join(copy, name), { recursive: true })
  symlinkSync(join(root, 'node_modules'), join(copy, 'node_modules'))
  const prefix = dirname(dirname(process.execPath))
  // Headers beside the interpreter need no download.
  const headers = existsSync(join(prefix, 'include/node/node_api.h')) ? { npm_config_nodedir: prefix } : {}
  const env = { npm_config_offline: 'true', npm_config_update_notifier: 'false', ...headers }
  await execOk(['npm', 'pack', copy, '--pack-destination', dir, '--silent'], { timeoutMs: 120_000, env })
  const name = readdirSync(dir).find((file) => file.endsWith('.tgz'))
  if (name === undefined) throw new Error('npm pack made no tarball')
  const tarball = join(dir, name)
  const { stdout } = await execOk(['tar', '-tzf', tarball])
  return { tarball, files: stdout.split('\n').flatMap((line) => (line === '' ? [] : [line.replace(/^package\//, '')])) }
}
