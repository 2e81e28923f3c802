import { createHash } from 'node:crypto'
import { createReadStream, rmSync } from 'node:fs'
import { pipeline } from 'node:stream/promises'
import { fileURLToPath } from 'node:url'
import type { Background, ExecOptions } from './exec.js'
import type { Namespace } from './lab.js'
import { PAYLOAD_LEN, writePayload } from './payload.js'

const SERVER = fileURLToPath(new URL('server.py', import.meta.url))
const CLIENT = fileURLToPath(new URL('client.py', import.meta.url))

// Debian's own interpreter where there is one: version managers put slow wrappers in front of others.
const PYTHON = '/usr/bin/python3'

const CURL = ['curl', '--silent', '--show-error', '--fail', '--noproxy', '*'] as const
/** Its exit code when --max-time has passed. */
const CURL_TIMEOUT = 28
let downloads = 0

/** Ports of the lab's servers; `Tcp` ones do not speak MPTCP. Nothing listens on `closed`. */
export const PORT = {
  http: 8080,
  httpTcp: 8081,
  echo: 7001,
  halfClose: 7002,
  digest: 7003,
  echoTcp: 7011,
  halfCloseTcp: 7012,
  digestTcp: 7013,
  iperf: 5201,
  ssh: 2222,
  closed: 9,
} as const

/** The running servers, and the file whose bytes they send. */
export interface Servers {
  readonly process: Background
  readonly payloadPath: string
  /** The next event of this name that the servers report after the first `skip` lines of their output. */
  event(name: string, skip?: number, timeoutMs?: number): Promise<Record<string, unknown>>
}

/** Starts the lab's HTTP, echo, half-closing and digest servers in the server's namespace, over kernel MPTCP and over TCP. */
export async function startServers(lab: { readonly dir: string; readonly server: Pick<Namespace, 'spawn'> }): Promise<Servers> {
  const payloadPath = `${lab.dir}/payload`
  writePayload(payloadPath)
  const process = lab.server.spawn([
    PYTHON,
    SERVER,
    payloadPath,
    `http:mptcp:${PORT.http}`,
    `http:tcp:${PORT.httpTcp}`,
    `echo:mptcp:${PORT.echo}`,
    `halfclose:mptcp:${PORT.halfClose}`,
    `digest:mptcp:${PORT.digest}`,
    `echo:tcp:${PORT.echoTcp}`,
    `halfclose:tcp:${PORT.halfCloseTcp}`,
    `digest:tcp:${PORT.digestTcp}`,
  ])
  const event = async (name: string, skip = 0, timeoutMs = 20_000): Promise<Record<string, unknown>> => {
    const line = await process.waitLine((text) => text.includes(`"event": "${name}"`), timeoutMs, skip)
    return JSON.parse(line) as Record<string, unknown>
  }
  await event('ready')
  return { process, payloadPath, event }
}

/** Runs a command of client.py in a namespace and returns the object that it prints last. */
export async function runClient(
  ns: Namespace,
  args: readonly (string | number)[],
  options: ExecOptions & { readonly mptcp?: boolean } = {},
): Promise<Record<string, unknown>> {
  const { stdout } = await ns.ok([PYTHON, CLIENT, ...(options.mptcp ? ['--mptcp'] : []), ...args.map(String)], options)
  return JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as Record<string, unknown>
}

/** Starts a command of client.py, for tests that look at it while it runs. */
export function spawnClient(ns: Namespace, args: readonly (string | number)[], mptcp = false): Background {
  return ns.spawn([PYTHON, CLIENT, ...(mptcp ? ['--mptcp'] : []), ...args.map(String)])
}

/** What curl said about a transfer. */
export interface Transfer {
  readonly bytes: number
  readonly sha256: string
  readonly seconds: number
  /** Payload bits per second, from the first byte of the connection to the last. */
  readonly bitsPerSecond: number
}

/** A host for a URL: IPv6 addresses in brackets. */
export function urlHost(host: string): string {
  return host.includes(':') ? `[${host}]` : host
}

/** Downloads `len` bytes of the payload by curl into a file; the SHA-256 is taken of that file, outside of the measured time. */
export async function curlDownload(
  ns: Pick<Namespace, 'ok'>,
  host: string,
  port: number,
  dir: string,
  len: number,
  timeoutMs = 60_000,
): Promise<Transfer> {
  const path = `${dir}/download-${downloads++}`
  const url = `http://${urlHost(host)}:${port}/bytes/${len}`
  try {
    const { stdout } = await ns.ok([...CURL, '--output', path, '--write-out', '%{size_download} %{time_total}', url], { timeoutMs })
    const [bytes, seconds] = stdout.split(' ')
    return transfer(Number(bytes), await fileSha256(path), Number(seconds))
  } finally {
    rmSync(path, { force: true })
  }
}

/** Uploads a file by curl; the SHA-256 is the server's answer. */
export async function curlUpload(ns: Namespace, host: string, port: number, path: string, timeoutMs = 60_000): Promise<Transfer> {
  const url = `http://${urlHost(host)}:${port}/upload`
  const { stdout } = await ns.ok([...CURL, '--upload-file', path, '--write-out', '\n%{time_total}', url], { timeoutMs })
  const [answer = '', seconds] = stdout.trim().split('\n')
  const { received, sha256 } = JSON.parse(answer) as { received: number; sha256: string }
  return transfer(received, sha256, Number(seconds))
}

/**
 * Downloads by curl for so many seconds, whatever comes. @param path file that is written, and stays
 * @returns payload bytes and their SHA-256
 */
export async function curlFor(ns: Pick<Namespace, 'exec'>, host: string, port: number, path: string, seconds: number): Promise<Transfer> {
  const url = `http://${urlHost(host)}:${port}/bytes/${PAYLOAD_LEN}`
  const argv = [...CURL, '--max-time', String(seconds), '--output', path, '--write-out', '%{size_download} %{time_total}', url]
  const { stdout, stderr, code } = await ns.exec(argv, { timeoutMs: (seconds + 30) * 1000 })
  if (code !== 0 && code !== CURL_TIMEOUT) throw new Error(`curl ended with ${code}: ${stderr}`)
  const [bytes, time] = stdout.split(' ')
  return transfer(Number(bytes), await fileSha256(path), Number(time))
}

async function fileSha256(path: string): Promise<string> {
  const digest = createHash('sha256')
  await pipeline(createReadStream(path), digest)
  return digest.digest('hex')
}

function transfer(bytes: number, sha256: string, seconds: number): Transfer {
  return { bytes, sha256, seconds, bitsPerSecond: (bytes * 8) / seconds }
}
