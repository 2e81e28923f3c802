import { cpSync, truncateSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  DAEMON_KILLED,
  type Fault,
  FaultLab,
  hostUnreachable,
  INTERFACE_REMOVED,
  LTE,
  NAT,
  TABLE_FLUSHED,
  VPN,
  VPN_KILLED,
} from '../../test/e2e/lib/detour-faults.js'
import { ADDRESS } from '../../test/e2e/lib/lab.js'
import { curlDownload, curlUpload, PORT, runClient } from '../../test/e2e/lib/peers.js'
import { payloadSha256 } from '../../test/e2e/lib/payload.js'
import { errorsIn, nstat } from '../../test/e2e/lib/stats.js'
import type { Campaign } from './campaign.js'

const MBIT = 10
/** Of one download; the next one begins when it has come. */
const LEN = 20_000_000
const UPLOAD_LEN = 5_000_000
const ECHO_ROUNDS = 50
const VPN_PERIOD_MS = 5_000
const BACK_MS = 12_000

/** What happens to detours, again and again, while downloads, uploads and short exchanges go on. */
export const campaign: Campaign = {
  summary:
    'detours that are killed, cut off, flushed and removed under transfers [ROUNDS=2] [SECONDS=60, in which the VPN is killed every 5 s]: 3 min; root',
  async run([rounds = '2', seconds = '60']) {
    const ends: (() => unknown)[] = []
    const faults = await FaultLab.create({ teardown: (end) => ends.push(end as () => unknown) }, MBIT)
    try {
      const traffic = new Traffic(faults)
      if (!(await faults.carries([NAT, VPN, LTE], 10_000))) throw new Error('not all detours are in use')
      let isGood = true
      for (let i = 0; i < Number(rounds); i++)
        for (const fault of [DAEMON_KILLED, TABLE_FLUSHED, hostUnreachable(5), VPN_KILLED, INTERFACE_REMOVED])
          isGood = (await suffer(faults, fault)) && isGood
      for (const until = performance.now() + Number(seconds) * 1000; performance.now() < until; ) {
        const next = sleep(VPN_PERIOD_MS)
        isGood = (await suffer(faults, VPN_KILLED)) && isGood
        await next
      }
      await traffic.stop()
      const errors = errorsIn(await nstat(faults.lab.server))
      const { codes, now, before } = await faults.end()
      const isRestored = JSON.stringify(now) === JSON.stringify(before)
      process.stdout.write(
        `${traffic.downloads} downloads of ${LEN / 1e6} MB and ${traffic.exchanges} uploads and exchanges, all byte-exact; ` +
          `${JSON.stringify({ codes, errors, isRestored })}\n`,
      )
      return isGood && traffic.downloads > 0 && codes.every((code) => code === 0) && Object.keys(errors).length === 0 && isRestored
    } finally {
      for (const end of ends.reverse()) await end()
    }
  },
}

/** @returns whether the fault took place and its paths came back */
async function suffer(faults: FaultLab, fault: Fault): Promise<boolean> {
  const isInjected = await fault.inject(faults)
  const since = performance.now()
  const isBack = await faults.carries(fault.paths, BACK_MS)
  const ms = Math.round(performance.now() - since)
  const verdict = !isInjected ? 'DID NOT TAKE PLACE' : isBack ? `back after ${ms} ms` : `NOT BACK within ${BACK_MS} ms`
  process.stdout.write(`${fault.name}: ${fault.paths.join(', ')} ${verdict}\n`)
  return isInjected && isBack
}

/** Downloads, and beside them uploads and exchanges in turn, until it is stopped. */
class Traffic {
  downloads = 0
  exchanges = 0
  private isStopped = false
  private readonly done: Promise<unknown>

  constructor({ lab }: FaultLab) {
    const sha256 = payloadSha256(LEN)
    const uploadPath = join(lab.dir, 'upload')
    const uploadSha256 = payloadSha256(UPLOAD_LEN)
    cpSync(join(lab.dir, 'payload'), uploadPath)
    truncateSync(uploadPath, UPLOAD_LEN)
    const download = async (): Promise<void> => {
      const transfer = await curlDownload(lab.client, ADDRESS.server4, PORT.http, lab.dir, LEN)
      if (transfer.sha256 !== sha256) throw new Error('the bytes that arrived are not those that were sent')
      this.downloads++
    }
    const exchange = async (): Promise<void> => {
      const { sha256: received } = await curlUpload(lab.client, ADDRESS.server4, PORT.http, uploadPath)
      if (received !== uploadSha256) throw new Error('the bytes that the server got are not those that were sent')
      await runClient(lab.client, ['echo', ADDRESS.server4, PORT.echo, ECHO_ROUNDS]) // fails when an answer differs
      this.exchanges++
    }
    const repeat = async (step: () => Promise<void>): Promise<void> => {
      while (!this.isStopped) await step()
    }
    this.done = Promise.all([repeat(download), repeat(exchange)])
    this.done.catch(() => {}) // `stop` tells
  }

  /** Ends after what is under way. @throws whatever went wrong for an application */
  async stop(): Promise<void> {
    this.isStopped = true
    await this.done
  }
}
