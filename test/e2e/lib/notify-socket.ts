import type { Background } from './exec.js'
import type { Lab } from './lab.js'

/** Prints each datagram of a unix socket as one JSON string a line. */
const RECEIVER = `
import json, socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1])
print("listening", flush=True)
while True:
    print(json.dumps(s.recv(4096).decode()), flush=True)
`

/** What a service manager hears: give `env` to the daemon. */
export interface NotifySocket {
  readonly env: Readonly<Record<string, string>>
  /** The next message, from the one with index `from` on, that has `word` at the beginning of a line. */
  message(word: string, from?: number): Promise<string>
  /** Messages so far. */
  count(word: string): number
}

export async function listenNotify(lab: Lab, watchdogMs: number): Promise<NotifySocket> {
  const path = `${lab.dir}/notify`
  const receiver: Background = lab.client.spawn(['/usr/bin/python3', '-c', RECEIVER, path])
  await receiver.waitLine(/^listening$/)
  const has = (line: string, word: string) =>
    line.startsWith('"') && (JSON.parse(line) as string).split('\n').some((l) => l.startsWith(word))
  return {
    env: { NOTIFY_SOCKET: path, WATCHDOG_USEC: String(watchdogMs * 1000) },
    message: async (word, from = 0) => JSON.parse(await receiver.waitLine((line) => has(line, word), 10_000, from + 1)) as string,
    count: (word) => receiver.lines.filter((line) => has(line, word)).length,
  }
}
