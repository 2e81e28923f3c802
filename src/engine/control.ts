import { chmodSync, mkdirSync, rmSync } from 'node:fs'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { dirname } from 'node:path'
import { MptcpError } from '../base/errors.js'

/** Where the daemons' control sockets are. */
export const CONTROL_DIR = '/run/mptcpd-user'

/** How long a client may take to read its last answer. */
const CLOSE_MS = 500

/** A request line longer than this is no request of ours. */
const MAX_LINE = 64 << 10

/** The control socket of the daemon on interface `tun`. */
export function controlPath(tun: string): string {
  return `${CONTROL_DIR}/${tun}.sock`
}

/** One line of JSON from the client. */
export interface ControlRequest {
  readonly command: string
  readonly args?: Readonly<Record<string, unknown>>
}

/** One line of JSON back. */
export type ControlReply =
  | { readonly ok: true; readonly result: unknown }
  | { readonly ok: false; readonly code: string; readonly message: string }

export type ControlHandler = (args: Readonly<Record<string, unknown>>) => unknown

/**
 * Answers requests on a unix socket, mode 0660: one JSON object per line, `{"command": "status"}`, answered in order by
 * `{"ok": true, "result": ...}` or `{"ok": false, "code": "ERR_...", "message": "..."}`.
 */
export class ControlServer {
  private readonly server: Server
  private readonly sockets = new Set<Socket>()
  private readonly path: string

  private constructor(path: string, handlers: Readonly<Record<string, ControlHandler>>) {
    this.path = path
    this.server = createServer((socket) => {
      this.sockets.add(socket)
      socket.on('close', () => this.sockets.delete(socket))
      socket.on('error', () => socket.destroy())
      serve(socket, handlers)
    })
  }

  /** Listens at `path`; what a killed daemon left there is replaced. @throws {MptcpError} ERR_CONTROL_IN_USE when somebody answers there. */
  static async open(path: string, handlers: Readonly<Record<string, ControlHandler>>): Promise<ControlServer> {
    if (await isAnswered(path))
      throw new MptcpError('ERR_CONTROL_IN_USE', `another daemon answers at ${path}: stop it or use another --tun`)
    const control = new ControlServer(path, handlers)
    try {
      mkdirSync(dirname(path), { recursive: true, mode: 0o755 })
      rmSync(path, { force: true })
      await control.listen()
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code ?? ''
      if (!['EACCES', 'EPERM', 'EROFS'].includes(code)) throw error
      const remedy = `run as root, or let this user write to ${dirname(path)} (RuntimeDirectory in a systemd unit)`
      throw new MptcpError('ERR_CONTROL_PRIVILEGE', `no control socket can be made at ${path} (${code}): ${remedy}`, { cause: error })
    }
    chmodSync(path, 0o660)
    return control
  }

  private async listen(): Promise<void> {
    const umask = process.umask(0o117)
    try {
      await new Promise<void>((resolve, reject) => {
        this.server.once('error', reject)
        this.server.listen(this.path, resolve)
      })
    } finally {
      process.umask(umask)
    }
  }

  /** No more requests; answers that were written still get out. */
  async close(): Promise<void> {
    const closed = new Promise((resolve) => this.server.close(resolve))
    for (const socket of this.sockets) socket.end()
    const timer = setTimeout(() => {
      for (const socket of this.sockets) socket.destroy()
    }, CLOSE_MS)
    await closed
    clearTimeout(timer)
    rmSync(this.path, { force: true })
  }
}

function serve(socket: Socket, handlers: Readonly<Record<string, ControlHandler>>): void {
  let text = ''
  let isBusy = false
  const next = async (): Promise<void> => {
    if (isBusy) return
    isBusy = true
    for (let at = text.indexOf('\n'); at >= 0; at = text.indexOf('\n')) {
      const line = text.slice(0, at)
      text = text.slice(at + 1)
      const reply = await answer(line, handlers)
      if (socket.writable) socket.write(`${JSON.stringify(reply)}\n`)
    }
    isBusy = false
    if (text.length > MAX_LINE) socket.destroy()
    else socket.resume()
  }
  socket.setEncoding('utf8')
  socket.on('data', (chunk: string) => {
    text += chunk
    if (isBusy && text.length > MAX_LINE) socket.pause() // who does not wait for answers is not read any more
    void next()
  })
}

async function answer(line: string, handlers: Readonly<Record<string, ControlHandler>>): Promise<ControlReply> {
  try {
    const request = JSON.parse(line) as ControlRequest
    const handler = Object.hasOwn(handlers, request.command) ? handlers[request.command] : undefined
    if (handler === undefined) return { ok: false, code: 'ERR_CONTROL_COMMAND', message: `unknown command '${String(request.command)}'` }
    return { ok: true, result: (await handler(request.args ?? {})) ?? null }
  } catch (error) {
    const code = error instanceof MptcpError ? error.code : error instanceof SyntaxError ? 'ERR_CONTROL_SYNTAX' : 'ERR_INTERNAL'
    return { ok: false, code, message: error instanceof Error ? error.message : String(error) }
  }
}

function isAnswered(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path)
    socket.on('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.on('error', () => resolve(false))
  })
}

/**
 * Asks the daemon at `path` for one thing. @throws {MptcpError} ERR_DAEMON_NOT_RUNNING, ERR_CONTROL_PRIVILEGE, or the code that it answered.
 */
export function ask(path: string, command: string, args: Readonly<Record<string, unknown>> = {}): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const socket = connect(path)
    let text = ''
    socket.setEncoding('utf8')
    socket.on('connect', () => socket.write(`${JSON.stringify({ command, args })}\n`))
    socket.on('data', (chunk: string) => {
      text += chunk
      const at = text.indexOf('\n')
      if (at < 0) return
      socket.destroy()
      const reply = JSON.parse(text.slice(0, at)) as ControlReply
      if (reply.ok) resolve(reply.result)
      else reject(new MptcpError(reply.code, reply.message))
    })
    socket.on('close', () => reject(new MptcpError('ERR_DAEMON_ENDED', `the daemon at ${path} ended before it answered: its log says why`)))
    socket.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EACCES' || error.code === 'EPERM') {
        reject(new MptcpError('ERR_CONTROL_PRIVILEGE', `no access to ${path}: run as root or as a member of its group`))
      } else reject(new MptcpError('ERR_DAEMON_NOT_RUNNING', `no daemon answers at ${path}: start it by \`mptcpd-user\``, { cause: error }))
    })
  })
}
