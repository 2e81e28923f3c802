/**
 * Both sides of the flood in the client's namespace: `node flood-client.ts flood|legitimate ADDRESS SECONDS RATE TOKEN [TOKEN]`.
 * Prints one JSON object at the end.
 */
import { randomBytes, randomInt } from 'node:crypto'
import { createSocket } from 'node:dgram'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseAddress } from '../../src/config/address-text.js'
import { DETOUR_PORT } from '../../src/config/detour-config.js'
import type { DetourKeys } from '../../src/detour/protocol/keys.js'
import { DetourToken } from '../../src/detour/protocol/token.js'
import { makeNonce, openReply, sealRequest } from '../../src/detour/protocol/v2.js'

const REMOTE = parseAddress('10.77.2.2')
/** A client asks again after that (detour-protocol, "Client behaviour"). */
const RESEND_MS = 200
const ASK_MS = 20
/** Of 40 datagrams; a quarter names a valid key. Sealing costs the sender what it costs the daemon, so that few of them are sealed anew. */
const MIX = [
  ...Array<string>(8).fill('forged, valid key id'),
  'over quota',
  'wrong clock',
  ...Array<string>(15).fill('forged, unknown key id'),
  ...Array<string>(5).fill('truncated'),
  ...Array<string>(5).fill('replayed'),
  ...Array<string>(5).fill('reflected'),
]

const [role = '', address = '', seconds = '', rate = '', ...tokens] = process.argv.slice(2)
const keys = tokens.map((text) => DetourToken.parse(text).keys())
const socket = createSocket({ type: 'udp4', recvBufferSize: 4 << 20, lookup: (name, _options, found) => found(null as never, name, 4) })
let received = 0
let receivedBytes = 0
socket.on('message', (datagram) => {
  received++
  receivedBytes += datagram.length
})
await new Promise<void>((resolve) => socket.bind(() => resolve()))
let lastUs = 0

function request(by: DetourKeys, mapId: string, offsetUs = 0): { nonce: string; datagram: Buffer } {
  lastUs = Math.max(lastUs + 1, Date.now() * 1000)
  const nonce = makeNonce(lastUs + offsetUs, randomInt(2 ** 32))
  const op = { op: 'map', mapId, leaseS: 3600, remote: REMOTE, remotePort: 443, detourPort: 0, flags: 0 } as const
  return { nonce: Buffer.from(nonce).toString('latin1'), datagram: sealRequest(by, nonce, [op]) as Buffer }
}

async function flood(victim: DetourKeys, greedy: DetourKeys): Promise<object> {
  const sent: Record<string, number> = {}
  let sentBytes = 0
  const once = request(victim, '00000000000000aa').datagram
  const send = (datagram: Uint8Array) => {
    sentBytes += datagram.length
    socket.send(datagram, DETOUR_PORT, address)
  }
  const reply = new Promise<Buffer>((resolve) => socket.once('message', resolve))
  send(once)
  const answer = await reply
  const forged = Buffer.from(once)
  const unknown = Buffer.from(once)
  const make: Record<string, (n: number) => Uint8Array> = {
    'forged, valid key id': (n) => {
      forged.writeUInt32BE(n, 20)
      return Buffer.from(forged)
    },
    'forged, unknown key id': (n) => {
      unknown.writeUInt32BE(n, 4)
      return Buffer.from(unknown)
    },
    'over quota': () => request(greedy, randomBytes(8).toString('hex')).datagram,
    'wrong clock': () => request(victim, '00000000000000bb', 3600e6).datagram,
    truncated: (n) => once.subarray(0, n % once.length),
    replayed: () => once,
    reflected: () => answer,
  }
  const beganAt = performance.now()
  let n = 0
  for (let now = beganAt; now - beganAt < Number(seconds) * 1000; now = performance.now()) {
    // What was missed because this process did not run comes later, not all at once.
    const due = Math.min(Math.floor(((now - beganAt) * Number(rate)) / 1000), n + Number(rate) / 100)
    for (; n < due; n++) {
      const kind = MIX[n % MIX.length] as string
      sent[kind] = (sent[kind] ?? 0) + 1
      send((make[kind] as (n: number) => Uint8Array)(n))
    }
    await sleep(1)
  }
  const tookMs = performance.now() - beganAt
  await sleep(500)
  return { sent, sentTotal: n, sentBytes, perSecond: Math.round((n * 1000) / tookMs), received, receivedBytes }
}

async function legitimate(by: DetourKeys): Promise<object> {
  const tookMs: number[] = []
  let resent = 0
  let unanswered = 0
  let failed = 0
  const waiting = new Map<string, (ok: boolean) => void>()
  socket.on('message', (datagram) => {
    const [op] = openReply(by, datagram) ?? []
    if (op?.op === 'mapped') waiting.get(datagram.toString('latin1', 12, 24))?.(op.result === 0)
  })
  const until = performance.now() + Number(seconds) * 1000
  while (performance.now() < until) {
    const mapId = randomBytes(8).toString('hex')
    const askedAt = performance.now()
    let ok: boolean | null = null
    for (let tries = 0; ok === null && tries < 5; tries++) {
      if (tries > 0) resent++
      const { nonce, datagram } = request(by, mapId)
      const answered = new Promise<boolean>((resolve) => waiting.set(nonce, resolve))
      socket.send(datagram, DETOUR_PORT, address)
      ok = await Promise.race([answered, sleep(RESEND_MS, null)])
    }
    if (ok === null) unanswered++
    else if (!ok) failed++
    else tookMs.push(performance.now() - askedAt)
    await sleep(ASK_MS)
  }
  tookMs.sort((a, b) => a - b)
  const at = (share: number) => Number((tookMs[Math.floor(tookMs.length * share)] ?? Number.NaN).toFixed(2))
  return { answered: tookMs.length, failed, unanswered, resent, p50: at(0.5), p90: at(0.9), p99: at(0.99), max: at(0.9999) }
}

const [first, second] = keys as [DetourKeys, DetourKeys]
process.stdout.write(`${JSON.stringify(role === 'flood' ? await flood(first, second) : await legitimate(first))}\n`)
socket.close()
