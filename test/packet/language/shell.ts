/** A kernel setting that a command changes, by its name with dots. */
export interface Assignment {
  readonly name: string
  readonly value: string
}

/** What a command comes to: settings in order, and everything that sets none. */
export interface ShellEffects {
  readonly assignments: readonly Assignment[]
  readonly rest: readonly string[]
}

/** Text of a file that a command runs, by its path as the command has it; null: there is none. */
export type FileReader = (path: string) => string | null

/** Files that run files that run files. */
const DEPTH_MAX = 3

const ASSIGNMENT = /([\w./]+)\s*=\s*(?:\\?"([^"\\]*)\\?"|\\?'([^'\\]*)\\?'|(\S+))/g
const PROC = '/proc/sys/'

/**
 * Reads what shell lines set, without running anything: `sysctl NAME=VALUE`, `echo VALUE > /proc/sys/...`, and any command that has
 * `/proc/sys/...=VALUE` among its arguments. A command that is a file of such lines counts as if they stood there.
 */
export function readShell(text: string, read: FileReader, depth = 0): ShellEffects {
  const assignments: Assignment[] = []
  const rest: string[] = []
  for (const line of text.replace(/\\\n/g, ' ').split('\n')) {
    for (const statement of line.replace(/(^|\s)#.*/, '').split(/&&|\|\||;/)) {
      const command = calculated(statement.trim())
      if (command === '') continue
      const found = settingsOf(command)
      assignments.push(...found)
      if (found.length > 0) continue
      const [path = ''] = command.split(/\s+/)
      const script = /[./]/.test(path) && depth < DEPTH_MAX ? read(path) : null
      if (script === null) rest.push(command)
      else {
        const inner = readShell(script, read, depth + 1)
        assignments.push(...inner.assignments)
        rest.push(...inner.rest)
      }
    }
  }
  return { assignments, rest }
}

function settingsOf(command: string): Assignment[] {
  const [, value, path] = /^echo\s+["']?([^"'>]*?)["']?\s*>\s*(\S+)$/.exec(command) ?? []
  if (value !== undefined && path?.startsWith(PROC) === true) return [{ name: nameOf(path), value }]
  const isSysctl = /^(?:sudo\s+)?(?:\S*\/)?sysctl\s/.test(command)
  const found: Assignment[] = []
  for (const [, name = '', double, single, plain] of command.replace(/\s\d?>.*/, '').matchAll(ASSIGNMENT)) {
    if (isSysctl || name.startsWith(PROC)) found.push({ name: nameOf(name), value: double ?? single ?? plain ?? '' })
  }
  return found
}

function nameOf(path: string): string {
  return (path.startsWith(PROC) ? path.slice(PROC.length) : path).replaceAll('/', '.')
}

/** `$((15*1024*1024))`: products of numbers become a number. */
function calculated(text: string): string {
  return text.replace(/\$\(\(([\d*\s]+)\)\)/g, (_, product: string) =>
    String(product.split('*').reduce((n, factor) => n * Number(factor), 1)),
  )
}
