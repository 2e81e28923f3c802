import { Daemon } from '../../test/e2e/lib/daemon.js'
import { ADDRESS, Lab } from '../../test/e2e/lib/lab.js'
import { curlDownload, curlUpload, PORT, startServers } from '../../test/e2e/lib/peers.js'
import { PAYLOAD_LEN, payloadSha256 } from '../../test/e2e/lib/payload.js'
import type { Campaign } from './campaign.js'

const MAX_RSS = 150e6
const MAX_HEAP_GROWTH = 2e6
const ROUNDS = 10

/** Runs in the daemon's process: on SIGUSR2 a full collection, then the heap that is left, as a line on standard error. */
const PROBE = "process.on('SIGUSR2', () => { gc(); gc(); console.error('heap ' + process.memoryUsage().heapUsed) })"

/** 1 GB each way, in transfers of 100 MB: resident memory, and what the heap keeps after a forced collection. */
export const campaign: Campaign = {
  summary: '1 GB each way: RSS and heap of the daemon, about 30 s',
  async run() {
    const lab = await Lab.create('mptcpd-bench')
    try {
      const servers = await startServers(lab)
      const daemon = await Daemon.start(lab, { nodeArgs: ['--expose-gc', '--import', `data:text/javascript,${encodeURIComponent(PROBE)}`] })
      const expected = payloadSha256(PAYLOAD_LEN)
      const heaps: number[] = []
      let maxRss = 0
      let isExact = true
      for (let round = 0; round < ROUNDS; round++) {
        const down = await curlDownload(lab.client, ADDRESS.server4, PORT.http, lab.dir, PAYLOAD_LEN)
        const up = await curlUpload(lab.client, ADDRESS.server4, PORT.http, servers.payloadPath)
        isExact &&= down.sha256 === expected && up.sha256 === expected
        maxRss = Math.max(maxRss, daemon.rss())
        heaps.push(await heapOf(daemon))
      }
      const growth = (heaps.at(-1) ?? 0) - (heaps[0] ?? 0)
      process.stdout.write(`after each 100 MB each way, heap in MB: ${heaps.map((heap) => (heap / 1e6).toFixed(2)).join(' ')}\n`)
      process.stdout.write(
        `RSS at most ${(maxRss / 1e6).toFixed(1)} MB (allowed 150), heap grew by ${(growth / 1e6).toFixed(2)} MB (allowed 2)\n`,
      )
      process.stdout.write(`bytes exact: ${isExact}\n`)
      return isExact && maxRss <= MAX_RSS && growth <= MAX_HEAP_GROWTH
    } finally {
      await lab.close()
    }
  },
}

async function heapOf(daemon: Daemon): Promise<number> {
  const from = daemon.process.lines.length
  daemon.process.kill('SIGUSR2')
  const line = await daemon.process.waitLine(/^heap \d+$/, 10_000, from)
  return Number(line.slice('heap '.length))
}
