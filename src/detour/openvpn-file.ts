import { readFileSync, statSync } from 'node:fs'
import { MptcpError } from '../base/errors.js'

/** A larger file is no configuration. */
const MAX_LEN = 1 << 20

/** Programs that openvpn would run as root. */
const SCRIPTS = new Set([
  'up',
  'down',
  'ipchange',
  'route-up',
  'route-pre-down',
  'auth-user-pass-verify',
  'client-connect',
  'client-disconnect',
  'client-crresponse',
  'learn-address',
  'tls-verify',
  'tls-crypt-v2-verify',
  'plugin',
])

/** Needs a server's ear; a client's file that has one of these is none. */
const SERVER = new Set(['server', 'server-ipv6', 'mode', 'port-share'])

/**
 * What we decide ourselves: the device and its addresses, routes, who it runs as (it has no capability to change that), where it says
 * what, its management interface, restarts.
 */
const OURS = new Set([
  'dev',
  'dev-type',
  'dev-node',
  'ifconfig-noexec',
  'route-noexec',
  'route-nopull',
  'redirect-gateway',
  'redirect-private',
  'user',
  'group',
  'chroot',
  'setcon',
  'daemon',
  'inetd',
  'log',
  'log-append',
  'syslog',
  'status',
  'writepid',
  'verb',
  'mute',
  'mark',
  'mktun',
  'rmtun',
  'persist-tun',
  'script-security',
  'auth-nocache',
  'connect-retry',
  'connect-retry-max',
  'single-session',
  'cd',
  'up-delay',
  'up-restart',
  'down-pre',
])

/** Bytes that each packet grows by, behind the IP header: UDP header, opcode and peer id, and by the data channel. */
const UDP = 8
const TCP = 22 // header with timestamps excluded, and the length before each packet
const OPCODE = 4
const PACKET_ID = 4
const AEAD_TAG = 16
/** IV, padding, HMAC-SHA256 at most. */
const CBC = 16 + 16 + 32
const IPV4 = 20
const IPV6 = 40

/** An .ovpn file, ready to be given to openvpn. */
export interface VpnFile {
  readonly path: string
  /** For its standard input: the file without what we decide ourselves. */
  readonly text: string
  /** Bytes that a packet through it grows by at most. */
  readonly overhead: number
}

/**
 * Reads an .ovpn file, and leaves out what would touch the host. Files that it names are relative to its own directory.
 * @param allowScripts keep the programs that it wants to run
 * @throws {MptcpError} ERR_DETOUR_FILE naming the file, the line and what to do
 */
export function readVpnFile(path: string, allowScripts: boolean): VpnFile {
  return parseVpnFile(path, readText(path), allowScripts)
}

/** The same from its text. @throws {MptcpError} ERR_DETOUR_FILE */
export function parseVpnFile(path: string, given: string, allowScripts: boolean): VpnFile {
  const options: string[][] = []
  const kept: string[] = []
  let block: string | null = null
  for (const [i, line] of given.split(/\r?\n/).entries()) {
    const fail = (why: string): never => {
      throw new MptcpError('ERR_DETOUR_FILE', `${path}:${i + 1}: ${why}`)
    }
    if (line.includes('\0')) fail('is not text: name the .ovpn file itself')
    if (block !== null) {
      if (line.trim() === `</${block}>`) block = null
      kept.push(line)
      continue
    }
    block = /^\s*<([\w-]+)>\s*$/.exec(line)?.[1] ?? null
    const words = line.trim().split(/\s+/)
    const name = (words[0] ?? '').replace(/^--/, '')
    if (block !== null || name === '' || /^[#;]/.test(name)) {
      kept.push(line)
      continue
    }
    options.push([name, ...words.slice(1)])
    if (SERVER.has(name)) fail(`'${name}' makes it a server's file: name a client's`)
    if (name === 'config') fail("'config' would read another file: put its lines here")
    if (SCRIPTS.has(name) && !allowScripts)
      fail(`'${name}' runs a program as root: remove the line, or allow it by scripts = true in the [[detour]]`)
    // A comment in its place, so that the line numbers of openvpn's messages stay those of the file.
    kept.push(OURS.has(name) || name.startsWith('management') ? `# ${name}` : line)
  }
  if (!options.some(([name]) => name === 'remote') && !given.includes('<connection>'))
    throw new MptcpError('ERR_DETOUR_FILE', `${path} names no server (remote HOST PORT): it is no .ovpn file of a client`)
  const dev = options.find(([name]) => name === 'dev' || name === 'dev-type')?.[1] ?? 'tun'
  if (dev.startsWith('tap'))
    throw new MptcpError(
      'ERR_DETOUR_FILE',
      `${path}: 'dev ${dev}' is a bridge (layer 2): only tun can carry a detour; ask the server's operator for one`,
    )
  return { path, text: `${kept.join('\n')}\n`, overhead: overheadOf(options) }
}

/** The most that the ciphers, protocols and servers which the file admits can need. */
function overheadOf(options: readonly (readonly string[])[]): number {
  const all = (...names: string[]) => options.filter(([name]) => names.includes(name as string))
  const ciphers = all('data-ciphers', 'ncp-ciphers', 'cipher', 'data-ciphers-fallback').flatMap(([, value = '']) => value.split(':'))
  const isNone = ciphers.length > 0 && ciphers.every((cipher) => cipher === 'none')
  const hasCbc = ciphers.some((cipher) => cipher !== 'none' && !/GCM|POLY1305/i.test(cipher))
  const data = isNone ? 0 : hasCbc ? CBC : AEAD_TAG
  const auth = isNone && !all('auth').some(([, value]) => value === 'none') ? 32 : 0
  const remotes = all('remote', 'proto')
  const isTcp = remotes.some((words) => words.some((word) => word.startsWith('tcp')))
  const isV6 = remotes.some((words) => words.some((word) => word.endsWith('6') || word.includes(':')))
  return (isV6 ? IPV6 : IPV4) + (isTcp ? TCP : UDP) + OPCODE + PACKET_ID + data + auth
}

function readText(path: string): string {
  try {
    const { size } = statSync(path)
    if (size > MAX_LEN) throw new MptcpError('ERR_DETOUR_FILE', `${path} has ${size} bytes: it is no .ovpn file`)
    return readFileSync(path, 'utf8')
  } catch (error) {
    if (error instanceof MptcpError) throw error
    const code = (error as NodeJS.ErrnoException).code
    const remedy =
      code === 'ENOENT'
        ? 'there is no such file: put the .ovpn file there, or mend file = in the [[detour]]'
        : code === 'EACCES'
          ? 'it may not be read; with CAP_NET_ADMIN alone root reads files of root only: chown root it'
          : code === 'EISDIR'
            ? 'it is a directory: name the .ovpn file in it'
            : (error as Error).message
    throw new MptcpError('ERR_DETOUR_FILE', `${path}: ${remedy}`, { cause: error })
  }
}
