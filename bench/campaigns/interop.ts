import { createHash } from 'node:crypto'
import { appendFileSync, readFileSync } from 'node:fs'
import { Daemon } from '../../test/e2e/lib/daemon.js'
import { bytesOnLinks, limitLinks, SERVE_PORT, Serving, setUpKernelClient, widenReceiveBuffer } from '../../test/e2e/lib/interop.js'
import { ADDRESS, Lab } from '../../test/e2e/lib/lab.js'
import { curlDownload, curlUpload, PORT, runClient, startServers } from '../../test/e2e/lib/peers.js'
import { PAYLOAD_LEN } from '../../test/e2e/lib/payload.js'
import { errorsIn, FALLBACK_COUNTERS, nstat } from '../../test/e2e/lib/stats.js'
import type { Campaign } from './campaign.js'

/** Payload files one after the other: 1 GB. */
const REPEATS = 10
const TIMEOUT_MS = 120_000

/** Moves the bytes there and back; true: byte-exact. */
type Transfers = Readonly<Record<string, () => Promise<boolean>>>

async function measure(lab: Lab, role: string, transfers: Transfers): Promise<boolean> {
  let isFine = true
  for (const [name, transfer] of Object.entries(transfers)) {
    const before = await bytesOnLinks(lab)
    const startedAt = performance.now()
    const isExact = await transfer()
    const seconds = (performance.now() - startedAt) / 1000
    const moved = (await bytesOnLinks(lab)).map((bytes, i) => bytes - (before[i] as number))
    const byLink = [0, 1].map((n) => Math.max(moved[2 * n] as number, moved[2 * n + 1] as number))
    const areBothUsed = Math.min(...byLink) > (REPEATS * PAYLOAD_LEN) / 50
    const links = byLink.map((bytes) => `${(bytes / 1e6).toFixed(0)} MB`).join(' + ')
    process.stdout.write(`${role} ${name}: ${isExact ? 'byte-exact' : 'DIFFERENT'}, ${links}, ${seconds.toFixed(1)} s\n`)
    isFine &&= isExact && areBothUsed
  }
  return isFine
}

/** 1 GB each way, IPv4 and IPv6, two subflows, with stock Linux as server and as client. */
export const campaign: Campaign = {
  summary: '1 GB each way with Linux as server and as client, both families, two subflows; about two minutes, root',
  async run() {
    let isFine = true
    const hosts = [ADDRESS.server4, ADDRESS.server6]
    for (const role of ['client', 'server'] as const) {
      const lab = await Lab.create('mptcpd-camp')
      try {
        const { payloadPath } = await startServers(lab)
        const payload = readFileSync(payloadPath)
        const path = `${lab.dir}/long`
        const digest = createHash('sha256')
        for (let i = 0; i < REPEATS; i++) {
          appendFileSync(path, payload)
          digest.update(payload)
        }
        const sha256 = digest.digest('hex')
        const len = REPEATS * PAYLOAD_LEN
        await limitLinks(lab)
        await widenReceiveBuffer(lab.server)
        const transfers: Record<string, () => Promise<boolean>> = {}
        if (role === 'client') {
          const links = [`wan2@${ADDRESS.serverLink4[1]}`, `wan2@${ADDRESS.serverLink6[1]}`]
          await Daemon.start(lab, { args: links.flatMap((link) => ['--path', link]) })
          for (const host of hosts) {
            transfers[`${host} down`] = async () =>
              (await curlDownload(lab.client, host, PORT.http, lab.dir, len, TIMEOUT_MS)).sha256 === sha256
            transfers[`${host} up`] = async () => (await curlUpload(lab.client, host, PORT.http, path, TIMEOUT_MS)).sha256 === sha256
          }
        } else {
          await setUpKernelClient(lab)
          await Serving.start(lab)
          const options = { mptcp: true, timeoutMs: TIMEOUT_MS }
          for (const host of hosts) {
            transfers[`${host} down`] = async () => {
              const { results } = await runClient(lab.client, ['many', host, SERVE_PORT.http, 1, len], options)
              return (results as { sha256: string }[])[0]?.sha256 === sha256
            }
            transfers[`${host} up`] = async () => {
              const args = ['write-then-read', host, SERVE_PORT.digest]
              const { answer } = await runClient(lab.client, args, { ...options, input: readFileSync(path) })
              return answer === `${len} ${sha256}`
            }
          }
        }
        isFine &&= await measure(lab, `as ${role}:`, transfers)
        const counters = await nstat(role === 'client' ? lab.server : lab.client)
        const errors = { ...errorsIn(counters), ...errorsIn(counters, FALLBACK_COUNTERS) }
        process.stdout.write(`as ${role}: errors that Linux counts: ${JSON.stringify(errors)}\n`)
        isFine &&= Object.keys(errors).length === 0
      } finally {
        await lab.close()
      }
    }
    return isFine
  },
}
